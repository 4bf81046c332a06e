/// \file
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "lenet/predictor.h"

namespace lenet::bindings {

/// What an operator gave.
struct Layer {
  std::string op_type;
  std::string name;
  Tensor output;
};

/// A predictor that several Python threads may hold: they take turns. Throws what Predictor throws.
class SharedPredictor {
 public:
  explicit SharedPredictor(Predictor predictor) : predictor_(std::move(predictor)) {}

  Tensor run(const TensorView& input) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return predictor_.run(input);
  }

  std::vector<Tensor> run_outputs(const TensorView& input, const std::vector<std::string>& names) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return predictor_.run_outputs(input, names);
  }

  /// Of the run that has the turn: waits for none.
  void cancel() { predictor_.cancel(); }

  Predictor clone() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return predictor_.clone();
  }

  std::vector<Layer> run_layers(const TensorView& input) {
    const std::lock_guard<std::mutex> lock(mutex_);
    struct Recording {
      Predictor& predictor;
      ~Recording() { predictor.set_layer_callback({}); }
    } recording{predictor_};
    std::vector<Layer> layers;
    predictor_.set_layer_callback(
        [&](const std::string& op_type, const std::string& name, const TensorView& output) {
          const float* end = output.data + element_count(output.shape);
          layers.push_back({op_type, name, {{output.data, end}, output.shape}});
        });
    predictor_.run(input);
    return layers;
  }

  Profile profile(std::int64_t images, int runs) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return predictor_.profile(images, runs);
  }

  // run_layers may exchange the engine.
  Accelerator accelerator(std::int64_t images) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return predictor_.accelerator(images);
  }

  Config config() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return predictor_.config();
  }

  /// For what never changes.
  const Predictor& get() const { return predictor_; }

 private:
  mutable std::mutex mutex_;
  Predictor predictor_;
};

}  // namespace lenet::bindings

/// What needs no Python, so that the C++ tests have it too.
#pragma once

#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "layer_values.h"
#include "lenet/predictor.h"

namespace lenet::bindings {

/// A predictor that several Python threads may hold: they take turns.
class SharedPredictor {
 public:
  explicit SharedPredictor(Predictor predictor) : predictor_(std::move(predictor)) {}

  /// What `use` gives of the predictor, and throws.
  template <typename Use>
  auto in_turn(const Use& use) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return use(predictor_);
  }
  /// As NanOrigin::find.
  std::string nan_origin(const TensorView& image) {
    const std::lock_guard<std::mutex> lock(mutex_);
    return origin_.find(predictor_, image);
  }
  /// For what never changes, and to cancel the run that has the turn.
  Predictor& at_once() { return predictor_; }

 private:
  std::mutex mutex_;
  Predictor predictor_;
  NanOrigin origin_;
};

/// What each operator gave: its type, its name and the output.
using Layers = std::vector<std::tuple<std::string, std::string, Tensor>>;

inline Layers run_layers(Predictor& predictor, const TensorView& input) {
  struct Recording {
    Predictor& predictor;
    ~Recording() { predictor.set_layer_callback({}); }
  } recording{predictor};
  Layers layers;
  predictor.set_layer_callback(
      [&](const std::string& op_type, const std::string& name, const TensorView& output) {
        const float* end = output.data + element_count(output.shape);
        layers.emplace_back(op_type, name, Tensor{{output.data, end}, output.shape});
      });
  predictor.run(input);
  return layers;
}

}  // namespace lenet::bindings

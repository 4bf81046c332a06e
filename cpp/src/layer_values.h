/// \file
/// What operators give, for an engine that has no hook into a run.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lenet/predictor.h"

namespace lenet {

/// Computes every value for an input once more, and shows them in the order of the program.
class LayerValues {
 public:
  /// \param config of a model in files
  /// \throws Error as Predictor
  LayerValues(Config config, LayerCallback callback);

  void run(const TensorView& input);
  void cancel() { predictor_.cancel(); }

 private:
  Predictor predictor_;
  LayerCallback callback_;
  std::vector<std::pair<std::string, std::size_t>> layers_;  // types and outputs
};

/// Finds the layer that gives the first NaN of an image, for messages. It holds what that takes, so
/// that one object serves all images of a predictor.
class NanOrigin {
 public:
  NanOrigin() = default;
  NanOrigin(const NanOrigin&) = delete;
  NanOrigin& operator=(const NanOrigin&) = delete;

  /// \param predictor the same one each time
  /// \param image one, as the predictor takes it
  /// \returns a clause with a semicolon before it, such as "; the first NaN is of Conv 'name'"; of
  ///   the first infinity where no layer gives NaN. Nothing where that is not known: the engine
  ///   does not give any value of the program, the model is in memory, or float32 gives no NaN.
  std::string find(const Predictor& predictor, const TensorView& image) noexcept;

 private:
  void look(const std::string& type, const std::string& name, const TensorView& values);

  std::unique_ptr<LayerValues> layers_;
  bool failed_ = false;   // to be made
  std::string nan_;       // of the image
  std::string infinite_;  // likewise
};

}  // namespace lenet

/// \file
/// What operators give, for an engine that has no hook into a run.
#pragma once

#include <cstddef>
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

}  // namespace lenet

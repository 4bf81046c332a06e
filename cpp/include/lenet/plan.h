/// \file
/// How an engine computes a network: its steps, and what each costs. From `Predictor::explain`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lenet/tensor.h"

namespace lenet {

/// Layers that are computed together.
struct PlanStep {
  std::string name;          ///< operators and what they give; or what is done besides
  std::string kernel;        ///< of each of them; empty for what is no layer
  Shape output;              ///< of one image: channels, height, width
  double multiply_adds = 0;  ///< for one image
  double microseconds = 0;   ///< for the images of the part together, the median of the runs
};

/// Images that are computed in the same way.
struct PlanPart {
  std::string layout;        ///< "one by one", or "16 side by side"
  std::int64_t images = 0;   ///< of the batch
  std::int64_t at_once = 0;  ///< of them; the steps' times are for so many
  std::vector<PlanStep> steps;
};

struct Plan {
  std::string engine;
  std::string reason;        ///< why it is this engine
  std::string instructions;  ///< the instruction set of its kernels
  std::int64_t images = 0;   ///< of the batch
  int runs = 0;              ///< that were measured
  double multiply_adds = 0;  ///< for one image
  double microseconds = 0;   ///< for the batch, without a clock between the steps; the median
  /// What one core of this processor could do: multiply-adds a second, in the precision that the
  /// model is computed in, float32 or int8.
  double limit = 0;
  std::vector<PlanPart> parts;
};

}  // namespace lenet

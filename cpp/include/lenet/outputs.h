/// \file
/// What the outputs of a model mean.
#pragma once

#include <cstddef>
#include <cstdint>

#include "lenet/export.h"

namespace lenet {

/// What the numbers of an output are, by the operators that they come from.
enum class OutputRole {
  Unknown,        ///< none of these, or the program does not tell
  Logits,         ///< a softmax makes probabilities of them
  Probabilities,  ///< of a softmax: they add up to 1
  Scores,         ///< of a sigmoid: each class for itself, from 0 to 1
  Features,       ///< from which a product computes another output
  ClassNumbers,   ///< the numbers of classes, without scores, such as of an argmax
  Indices,        ///< class numbers that belong to another output, such as the second of a top-k
  MultiHot,       ///< 1 for each class that holds, else 0, such as of a threshold
};
/// "unknown", "logits", "probabilities", "scores", "features", "class_numbers", "indices" or
/// "multi_hot".
LENET_API const char* to_string(OutputRole role);

inline constexpr std::size_t kNoOutput = SIZE_MAX;

/// What an output of a model is, as far as its program tells.
struct OutputMeaning {
  OutputRole role = OutputRole::Unknown;
  /// The values are those of some classes only, such as of a top-k or a maximum: their places are
  /// no class numbers.
  bool picked = false;
  bool ranked = false;  ///< several picked values or class numbers for each image, the best first
  /// Index in `Predictor::output_specs`: of picked values the output that has their class numbers,
  /// of Indices that of the values. kNoOutput: there is none.
  std::size_t partner = kNoOutput;
  std::int64_t num_classes = 0;  ///< from which they were picked; 0: not known, or all are there
  int class_axis = -1;           ///< of the output's shape; -1: not known, mostly the last one
  /// Outputs of one source are the same numbers in another form, such as logits and probabilities.
  std::size_t source = 0;
  /// Outputs of one family are products of the same features, such as the attributes of an image.
  std::size_t family = 0;
};

}  // namespace lenet

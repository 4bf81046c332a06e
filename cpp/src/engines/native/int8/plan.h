/// \file
/// Which tensors of a quantized network are whole numbers, and which layers give them.
#pragma once

#include <cstddef>
#include <vector>

#include "engines/native/network.h"

namespace lenet::native::int8 {

/// 127 is the largest whole number of 8 bits; what it is worth is a tensor's range.
constexpr double kMostInteger = 127;
constexpr double kLeastInteger = -128;

struct PlannedLayer {
  Layer layer;  ///< a convolution of whole numbers has `integers`, others `weights`
  /// Its result is rounded to whole numbers of this range; 0: it is float32, or that of its input.
  float range = 0;
  bool pool = false;         ///< the largest of each 2 x 2 results is given
  double multiply_adds = 0;  ///< for one image
};

struct Plan {
  std::vector<TensorShape> tensors;
  std::vector<float> ranges;  ///< of each tensor; 0: float32
  std::vector<PlannedLayer> layers;
  std::size_t input = 0;
  std::size_t output = 0;
};

/// Rounding goes before max-pooling, which it does not change, and into the layer whose result it
/// rounds; convolutions whose input is not rounded get the weights that their integers stand for.
/// \throws Error Unsupported: a sum that 32 bits might not hold.
Plan make_plan(Network network);

}  // namespace lenet::native::int8

/// Which tensors of a quantized network are integers, and which layers compute them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engines/native/network.h"

namespace lenet::native::int8 {

/// Elements are from -128 to 127: what is rounded to 0 to 255 less this.
constexpr std::int32_t kShift = 128;

/// What is to be added to the elements of a tensor.
inline std::int32_t shift_of(const QuantParams& quant) { return quant.is_unsigned ? kShift : 0; }
inline float least_of(const QuantParams& quant, bool relu) {
  return quant.is_unsigned || relu ? 0 : -128;
}
inline float most_of(const QuantParams& quant) { return quant.is_unsigned ? 255 : 127; }

/// A rounding of what a layer gives, or of what the rounding before gave.
struct PlannedRounding {
  QuantParams quant;
  bool relu = false;
  // Of what the rounding before gave, by channel; empty: as it is.
  std::vector<float> scale;
  std::vector<float> bias;
};

struct PlannedLayer {
  Layer layer;  ///< a convolution of integers has `integers`, others `weights`
  /// Of its result, one after the other; without: it is float32, or rounded as its input.
  std::vector<PlannedRounding> roundings;
  bool pool = false;         ///< the largest of each 2 x 2 results is given
  double multiply_adds = 0;  ///< for one image
};

struct Plan {
  std::vector<TensorShape> tensors;
  std::vector<QuantParams> roundings;  ///< of each tensor; without: float32
  std::vector<PlannedLayer> layers;
  std::size_t input = 0;
  std::vector<OutputSource> outputs;
};

/// Rounding goes before max-pooling, which it does not change, and into the layer whose result it
/// rounds, as does what is done to each channel between two roundings; convolutions whose input is
/// not rounded get the weights that their integers stand for. A softmax is left to the outputs.
/// \throws Error Unsupported: a sum that 32 bits might not hold; a softmax that a layer reads.
Plan make_plan(Network network);

}  // namespace lenet::native::int8

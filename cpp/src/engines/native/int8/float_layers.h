/// \file
/// What a quantized network computes in float32: layers without quantization. Simple, and the same
/// bits on every processor.
#pragma once

#include <vector>

#include "engines/native/network.h"
#include "engines/native/pool_windows.h"

namespace lenet::native::int8 {

/// A convolution's weights [output channels][input channels][height][width] by
/// [group][height][width][input channels][output channels of the group].
std::vector<float> outputs_last(const Layer& layer);

// Tensors of one image, [height][width][channels]; `relu` is left to the caller.

/// \param weights as outputs_last gives them
void convolve(const Layer& layer, const std::vector<float>& weights, const TensorShape& from,
              const TensorShape& to, const float* input, float* output);
void average(const Windows& rows, const Windows& columns, const TensorShape& from,
             const float* input, float* output);
void largest(const Windows& rows, const Windows& columns, const TensorShape& from,
             const float* input, float* output);

}  // namespace lenet::native::int8

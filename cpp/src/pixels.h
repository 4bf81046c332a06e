/// The values of pixels.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "lenet/tensor.h"

namespace lenet {

/// What preprocessing makes of pixels [N, height, width, channels].
struct PixelTable {
  std::vector<std::array<float, 256>> channels;  ///< in the model's order
  bool reversed = false;                         ///< the order of the pixels is the opposite one
  bool finite = true;
};

/// \throws Error BadInput naming the input, where the model does not take it.
void require_shape(const TensorView& input, const TensorSpec& spec);

/// Writes the values of a row of an image.
/// \param input pixels of four dimensions
/// \param channel of the model
void read_row(const TensorView& input, std::int64_t image, std::int64_t channel, std::int64_t row,
              float* to);

/// Writes all values, in the model's order.
/// \param input values or pixels
/// \param to its memory is used again
void read_values(const TensorView& input, Tensor& to);

}  // namespace lenet

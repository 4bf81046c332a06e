/// The values of pixels.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "lenet/tensor.h"

namespace lenet {

/// What preprocessing makes of pixels [N, height, width, channels].
struct PixelTable {
  std::vector<std::array<float, 256>> channels;  ///< in the model's order
  bool reversed = false;                         ///< the order of the pixels is the opposite one
  bool channels_last = false;  ///< the model takes [N, height, width, channels] too
  bool finite = true;
};

/// \throws Error BadInput naming the input, where the model does not take it.
void require_shape(const TensorView& input, const TensorSpec& spec);

/// Refuses a preprocessing whose channels come last where those of the model come first, or the
/// other way round. It says nothing where the shape of the model does not tell, or where neither
/// fits.
/// \param input the shape that the model declares for its input
/// \param source what the message calls the preprocessing
/// \throws Error BadInput with both orders and the remedy.
void require_layout(const PixelTable& table, const Shape& input, const std::string& source);

/// Sets `to` to the shape of the values that the model gets.
void take_values_shape(const TensorView& input, Shape& to);

/// Writes the values of a row, which is the last of the three dimensions of an image.
/// \param input pixels of four dimensions
/// \param plane, row the place in the first and in the second dimension of the model's image:
///   channel and row, or row and column where its channels come last
void read_row(const TensorView& input, std::int64_t image, std::int64_t plane, std::int64_t row,
              float* to);

/// Writes all values, in the model's order.
/// \param input values or pixels
/// \param to its memory is used again
void read_values(const TensorView& input, Tensor& to);

}  // namespace lenet

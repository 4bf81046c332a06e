/// \file
/// What a convolution by its definition multiplies in bf16: pairs of numbers (kernels.h).
#pragma once

#include <array>
#include <cstdint>

#include "engines/native/ops/ops.h"
#include "engines/native/ops/tile_taps.h"

namespace lenet::native {

/// Two numbers, the first in the lower half, rounded as the kernels round.
std::uint32_t bf16_pair(float low, float high);
bool is_finite_pair(std::uint32_t pair);

/// The input of a convolution as pairs, in scratch memory: [row][plane][what windows in a row
/// read]. Of a blocked tensor a plane is a block of channels, and pairs are of two channels. Of a
/// planar one it is two channels, and the last of an odd number is paired with itself one pixel
/// further. For tiles the planes of a pixel lie side by side: [row][pixel][plane].
class Bf16Input {
 public:
  /// Whether the layer's input can be taken so.
  static bool suits(const FloatLayer& source);

  Bf16Input() = default;
  explicit Bf16Input(const FloatLayer& source);

  /// Whether it is for tiles: where the kernels have them, and the layer is large enough.
  bool is_for_tiles() const { return tiles_; }
  TileTaps tile_taps(const Layer& layer) const { return {layer, channels_, 2 * pixel_, 2}; }
  /// Of a chunk, in numbers, from the first tap.
  std::vector<std::int32_t> tile_offsets(const Layer& layer) const {
    return tile_taps(layer).offsets(2 * pixel_, 2 * line_);
  }

  std::int64_t column() const { return pixel_ * strides_[1]; }  ///< pairs from window to window
  std::int64_t row() const { return line_ * strides_[0]; }      ///< and from row to row of them
  /// Pairs from the first one of a window to that of a channel, even or that last one, at a tap.
  std::int64_t offset(std::int64_t channel, std::int64_t y, std::int64_t x) const;
  /// Whether the number after that of this channel in its pair is the one of the next pixel.
  bool pairs_pixels(std::int64_t channel) const;
  /// Pairs of so many rows of windows.
  std::int64_t size(std::int64_t rows) const;
  /// \param first the first tap of the first window
  void read(const float* first, std::int64_t rows, float* to) const;

 private:
  std::int64_t lines(std::int64_t rows) const { return (rows - 1) * strides_[0] + height_; }

  const Bf16Kernels* kernels_ = nullptr;
  std::array<std::int64_t, 2> strides_{};
  std::array<std::int64_t, 2> dilations_{};
  bool planar_ = false;
  bool tiles_ = false;
  std::int64_t channels_ = 0;  ///< of a group
  std::int64_t lanes_ = 1;
  std::int64_t height_ = 0;  ///< rows of the input that a window spans
  std::int64_t pixel_ = 0;   ///< pairs from a pixel to the next
  std::int64_t pixels_ = 0;  ///< of a row, or as many as are read
  std::int64_t plane_ = 0;   ///< and from a plane
  std::int64_t line_ = 0;
  std::int64_t planes_ = 0;
  std::int64_t from_row_ = 0;  ///< floats in the tensor
  std::int64_t from_plane_ = 0;
};

}  // namespace lenet::native

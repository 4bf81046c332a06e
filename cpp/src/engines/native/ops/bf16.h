/// \file
/// What a convolution by its definition multiplies in bf16: pairs of numbers (kernels.h).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "engines/native/ops/ops.h"
#include "engines/native/ops/tile_taps.h"

namespace lenet::native {

/// To the nearest, and to even in the middle; what is not a number stays so.
inline std::uint32_t bf16_bits(float value) {
  constexpr std::uint32_t kExponent = 0x7f800000;
  constexpr std::uint32_t kQuiet = 0x40;
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  if ((bits & ~(std::uint32_t{1} << 31U)) > kExponent) return bits >> 16U | kQuiet;
  return (bits + 0x7fff + (bits >> 16U & 1U)) >> 16U;
}

/// Two numbers, the first in the lower half, rounded as the kernels round.
inline std::uint32_t bf16_pair(float low, float high) {
  return bf16_bits(low) | bf16_bits(high) << 16U;
}
inline bool is_finite_pair(std::uint32_t pair) {
  constexpr std::uint32_t kLow = 0x7f80;
  constexpr std::uint32_t kHigh = kLow << 16U;
  return (pair & kLow) != kLow && (pair & kHigh) != kHigh;
}

/// The input of a convolution as pairs, in scratch memory: [row][plane][what windows in a row
/// read]. Of a blocked tensor a plane is a block of channels, and pairs are of two channels. Of a
/// planar one it is two channels, and the last of an odd number is paired with itself one pixel
/// further. For tiles the planes of a pixel lie side by side: [row][pixel][plane].
class Bf16Input {
 public:
  Bf16Input() = default;
  explicit Bf16Input(const PlacedLayer& source)
      : kernels_(source.bf16),
        strides_(source.layer.convolution().window.strides),
        dilations_(source.layer.convolution().window.dilations) {
    const Placement& from = source.inputs[0];
    const Window& window = source.layer.convolution().window;
    const std::int64_t vector = source.kernels.lanes;
    const auto span = [&](std::size_t direction) {
      return (window.kernel[direction] - 1) * dilations_[direction] + 1;
    };
    planar_ = from.lanes == 1;
    lanes_ = from.lanes;
    channels_ = static_cast<std::int64_t>(source.layer.view_weights().count) /
                (source.shape.channels() * window.kernel[0] * window.kernel[1]);
    height_ = span(0);
    pixel_ = planar_ ? 1 : lanes_ / 2;
    read_pixels_ = (source.shape.width() - 1) * strides_[1] + span(1);
    plane_ = planar_ ? round_up(read_pixels_, vector) : read_pixels_ * pixel_;
    const std::int64_t channels_of_plane = planar_ ? 2 : lanes_;
    planes_ = (channels_ + channels_of_plane - 1) / channels_of_plane;
    line_ = plane_ * planes_;
    pixels_ = plane_ / pixel_;
    if (source.method == Method::TilesBf16) {
      tiles_ = true;
      plane_ = pixel_;
      pixel_ *= planes_;
    }
    from_row_ = from.row;
    from_plane_ = planar_ ? 2 * from.block : from.block;
  }

  /// Whether it is for the method of tiles.
  bool is_for_tiles() const { return tiles_; }
  TileTaps tile_taps(const Layer& layer) const {
    return {layer, layer.convolution().window, channels_, 2 * pixel_, 2};
  }
  /// How far each chunk lies from the first tap, in numbers.
  std::vector<std::int32_t> tile_offsets(const Layer& layer) const {
    return tile_taps(layer).offsets(2 * pixel_, 2 * line_);
  }

  std::int64_t column() const { return pixel_ * strides_[1]; }  ///< pairs from window to window
  std::int64_t row() const { return line_ * strides_[0]; }      ///< and from row to row of them
  /// Pairs from the first one of a window to that of a channel, even or that last one, at a tap.
  std::int64_t offset(std::int64_t channel, std::int64_t y, std::int64_t x) const {
    const std::int64_t plane = channel / (planar_ ? 2 : lanes_);
    return y * dilations_[0] * line_ + plane * plane_ + x * dilations_[1] * pixel_ +
           (planar_ ? 0 : channel % lanes_ / 2);
  }
  /// Whether the number after that of this channel in its pair is the one of the next pixel.
  bool pairs_pixels(std::int64_t channel) const {
    return planar_ && channel + 1 == channels_ && channels_ % 2 != 0;
  }
  /// Pairs of so many rows of windows.
  std::int64_t size(std::int64_t rows) const { return lines(rows) * line_ + (tiles_ ? kChunk : 0); }
  /// \param first the first tap of the first window
  void read(const float* first, std::int64_t rows, float* to) const {
    const std::int64_t count = lines(rows);
    for (std::int64_t y = 0; y < count; ++y, to += line_) {
      if (y % strides_[0] >= height_ && !tiles_) continue;  // which no window reads
      for (std::int64_t p = 0; p < planes_; ++p) {
        const float* const from = first + y * from_row_ + p * from_plane_;
        if (planar_) {
          const bool alone = pairs_pixels(2 * p);
          kernels_->pair_rows(from, from + (alone ? 1 : from_plane_ / 2), pixels_, to + p * plane_,
                              tiles_ ? pixel_ : 1);
          if (alone) clear_partner(to + p * plane_ + (read_pixels_ - 1) * (tiles_ ? pixel_ : 1));
        } else {
          kernels_->pair_neighbours(from, lanes_ * pixels_, to + p * plane_, pixel_);
        }
      }
      if (tiles_) std::fill(to + read_pixels_ * pixel_, to + line_, 0.0F);
    }
    if (tiles_) std::fill_n(to, kChunk, 0.0F);  // weights of 0 multiply them
  }

 private:
  /// Floats' places of a chunk of taps, which may reach so far beyond the last one.
  static constexpr std::int64_t kChunk =
      TileTaps::kChunkBytes / static_cast<std::int64_t>(sizeof(float));

  /// Sets the second number of the last pair in a row to 0. It lies behind what the windows read, a
  /// weight of 0 multiplies it, and what an earlier run left there could be a NaN.
  static void clear_partner(float* pair) {
    constexpr std::uint32_t kFirst = 0xffff;
    std::uint32_t bits = 0;
    std::memcpy(&bits, pair, sizeof(bits));
    bits &= kFirst;
    std::memcpy(pair, &bits, sizeof(bits));
  }
  std::int64_t lines(std::int64_t rows) const { return (rows - 1) * strides_[0] + height_; }

  const Bf16Kernels* kernels_ = nullptr;
  std::array<std::int64_t, 2> strides_{};
  std::array<std::int64_t, 2> dilations_{};
  bool planar_ = false;
  bool tiles_ = false;
  std::int64_t channels_ = 0;  ///< of a group
  std::int64_t lanes_ = 1;
  std::int64_t height_ = 0;       ///< rows of the input that a window spans
  std::int64_t pixel_ = 0;        ///< pairs from a pixel to the next
  std::int64_t pixels_ = 0;       ///< of a row, with what fills whole vectors
  std::int64_t read_pixels_ = 0;  ///< of these, from the first on, that windows read
  std::int64_t plane_ = 0;        ///< and from a plane
  std::int64_t line_ = 0;
  std::int64_t planes_ = 0;
  std::int64_t from_row_ = 0;  ///< floats in the tensor
  std::int64_t from_plane_ = 0;
};

}  // namespace lenet::native

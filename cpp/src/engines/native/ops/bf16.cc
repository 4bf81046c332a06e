#include "engines/native/ops/bf16.h"

#include <algorithm>
#include <cstring>

namespace lenet::native {
namespace {

/// To the nearest, and to even in the middle; what is not a number stays so.
std::uint32_t bf16_bits(float value) {
  constexpr std::uint32_t kExponent = 0x7f800000;
  constexpr std::uint32_t kQuiet = 0x40;
  std::uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  if ((bits & ~(std::uint32_t{1} << 31U)) > kExponent) return bits >> 16U | kQuiet;
  return (bits + 0x7fff + (bits >> 16U & 1U)) >> 16U;
}

/// Floats' places of a chunk of taps, which may reach so far beyond the last one.
constexpr std::int64_t kChunk = TileTaps::kChunkBytes / static_cast<std::int64_t>(sizeof(float));

bool suits_tiles(const FloatLayer& source, const TileTaps& taps) {
  return source.bf16->conv_tiles != nullptr && source.layer.groups == 1 && taps.pays() &&
         source.shape.channels >= source.kernels.lanes &&
         source.output.lanes == source.kernels.lanes &&
         !is_whole_image(source.inputs[0].shape, source.layer, source.shape);
}

}  // namespace

std::uint32_t bf16_pair(float low, float high) { return bf16_bits(low) | bf16_bits(high) << 16U; }

bool is_finite_pair(std::uint32_t pair) {
  constexpr std::uint32_t kLow = 0x7f80;
  constexpr std::uint32_t kHigh = kLow << 16U;
  return (pair & kLow) != kLow && (pair & kHigh) != kHigh;
}

bool Bf16Input::suits(const FloatLayer& source) {
  const Placement& from = source.inputs[0];
  const bool planar = from.lanes == 1 && from.column == 1 && source.tap_lanes == 1;
  const bool blocked = from.lanes == source.kernels.lanes && source.tap_lanes == from.lanes;
  return source.bf16 != nullptr && source.method == ConvMethod::Channels &&
         (planar ? source.layer.groups == 1
                 : blocked && source.layer.first_channel % from.lanes == 0);
}

Bf16Input::Bf16Input(const FloatLayer& source)
    : kernels_(source.bf16),
      strides_(source.layer.window.strides),
      dilations_(source.layer.window.dilations) {
  const Placement& from = source.inputs[0];
  const Window& window = source.layer.window;
  const std::int64_t vector = source.kernels.lanes;
  const auto span = [&](std::size_t direction) {
    return (window.kernel[direction] - 1) * dilations_[direction] + 1;
  };
  planar_ = from.lanes == 1;
  lanes_ = from.lanes;
  channels_ = static_cast<std::int64_t>(source.layer.view_weights().count) /
              (source.shape.channels * window.kernel[0] * window.kernel[1]);
  height_ = span(0);
  pixel_ = planar_ ? 1 : lanes_ / 2;
  const std::int64_t pixels = (source.shape.width - 1) * strides_[1] + span(1);
  plane_ = planar_ ? round_up(pixels, vector) : pixels * pixel_;
  const std::int64_t channels_of_plane = planar_ ? 2 : lanes_;
  planes_ = (channels_ + channels_of_plane - 1) / channels_of_plane;
  line_ = plane_ * planes_;
  pixels_ = plane_ / pixel_;
  if (suits_tiles(source, TileTaps(source.layer, channels_, channels_of_plane * planes_, 2))) {
    tiles_ = true;
    plane_ = pixel_;
    pixel_ *= planes_;
  }
  from_row_ = from.row;
  from_plane_ = planar_ ? 2 * from.block : from.block;
}

std::int64_t Bf16Input::offset(std::int64_t channel, std::int64_t y, std::int64_t x) const {
  const std::int64_t plane = channel / (planar_ ? 2 : lanes_);
  return y * dilations_[0] * line_ + plane * plane_ + x * dilations_[1] * pixel_ +
         (planar_ ? 0 : channel % lanes_ / 2);
}

bool Bf16Input::pairs_pixels(std::int64_t channel) const {
  return planar_ && channel + 1 == channels_ && channels_ % 2 != 0;
}

std::int64_t Bf16Input::size(std::int64_t rows) const {
  return lines(rows) * line_ + (tiles_ ? kChunk : 0);
}

void Bf16Input::read(const float* first, std::int64_t rows, float* to) const {
  const std::int64_t count = lines(rows);
  for (std::int64_t y = 0; y < count; ++y, to += line_) {
    if (y % strides_[0] >= height_ && !tiles_) continue;  // which no window reads
    for (std::int64_t p = 0; p < planes_; ++p) {
      const float* const from = first + y * from_row_ + p * from_plane_;
      if (planar_) {
        const bool alone = pairs_pixels(2 * p);
        kernels_->pair_rows(from, from + (alone ? 1 : from_plane_ / 2), pixels_, to + p * plane_,
                            tiles_ ? pixel_ : 1);
      } else {
        kernels_->pair_neighbours(from, lanes_ * pixels_, to + p * plane_, pixel_);
      }
    }
  }
  if (tiles_) std::fill_n(to, kChunk, 0.0F);  // weights of 0 multiply them
}

}  // namespace lenet::native

#include <algorithm>
#include <utility>

#include "images/steps.h"

namespace lenet {
namespace {

/// A way over the pixels of an image.
struct Walk {
  const std::uint8_t* first;
  std::int64_t to_next_row;  ///< of the result, in bytes
  std::int64_t to_next_column;
};

/// Copies the pixels on a walk. It goes by tiles, because a walk along columns touches another line
/// of the cache with each pixel.
template <int kChannels>
void copy_along(const Walk& walk, Image& result) {
  constexpr std::int64_t kTile = 64;
  for (std::int64_t top = 0; top < result.height; top += kTile) {
    const std::int64_t bottom = std::min(top + kTile, result.height);
    for (std::int64_t left = 0; left < result.width; left += kTile) {
      const std::int64_t count = std::min(kTile, result.width - left);
      for (std::int64_t row = top; row < bottom; ++row) {
        const std::uint8_t* from = walk.first + row * walk.to_next_row + left * walk.to_next_column;
        std::uint8_t* to = result.pixels.data() + (row * result.width + left) * kChannels;
        for (std::int64_t i = 0; i < count; ++i, from += walk.to_next_column) {
          to = std::copy_n(from, kChannels, to);
        }
      }
    }
  }
}

}  // namespace

Turn::Turn(int orientation)
    : swaps(orientation >= 5 && orientation <= 8),
      from_right(orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8),
      from_bottom(orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) {}

Extent upright(const Extent& image, const Turn& turn) {
  return turn.swaps ? Extent{image.width, image.height} : image;
}

Image upright(Image image, const Turn& turn) {
  if (!turn) return image;
  const std::int64_t row_bytes = image.width * image.channels;
  const std::int64_t down = turn.from_bottom ? -row_bytes : row_bytes;
  const std::int64_t right = turn.from_right ? -image.channels : image.channels;
  const std::uint8_t* const first = image.pixels.data() +
                                    (turn.from_bottom ? (image.height - 1) * row_bytes : 0) +
                                    (turn.from_right ? row_bytes - image.channels : 0);
  const Extent extent = upright(Extent{image.height, image.width}, turn);
  Image result = filled_image(extent.height, extent.width, image.channels);
  const Walk walk = turn.swaps ? Walk{first, right, down} : Walk{first, down, right};
  const auto copy = image.channels == 3 ? copy_along<3> : copy_along<1>;
  copy(walk, result);
  return result;
}

Scaling before(const Turn& turn, Scaling scaling) {
  if (turn.swaps) std::swap(scaling.height, scaling.width);
  scaling.turn = turn;
  return scaling;
}

Region before(const Turn& turn, Region region, const Extent& image) {
  if (turn.swaps) {
    std::swap(region.top, region.left);
    std::swap(region.height, region.width);
  }
  if (turn.from_bottom) region.top = image.height - region.top - region.height;
  if (turn.from_right) region.left = image.width - region.left - region.width;
  return region;
}

void mirror(std::vector<std::int32_t>& places, std::int64_t size) {
  std::reverse(places.begin(), places.end());
  for (std::int32_t& place : places) place = static_cast<std::int32_t>(size - 1) - place;
}

}  // namespace lenet

#include "images/decoders.h"

namespace lenet {

int exif_orientation(std::string_view tiff) {
  constexpr std::uint32_t kOrientationTag = 0x0112;
  constexpr std::uint32_t kShort = 3;
  constexpr std::uint32_t kLong = 4;
  constexpr std::size_t kEntryBytes = 12;
  const std::string_view order = tiff.substr(0, 2);
  const auto number = [&](std::size_t at, std::size_t size) {  // 0 beyond the end
    std::uint32_t value = 0;
    if (at > tiff.size() || size > tiff.size() - at) return value;
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t next = order == "II" ? at + size - 1 - i : at + i;
      value = value << 8 | static_cast<unsigned char>(tiff[next]);
    }
    return value;
  };
  if ((order != "II" && order != "MM") || number(2, 2) != 42) return 1;
  const std::size_t directory = number(4, 4);
  const std::size_t entries = number(directory, 2);
  for (std::size_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + i * kEntryBytes;
    if (number(entry, 2) != kOrientationTag) continue;
    const std::uint32_t type = number(entry + 2, 2);
    const std::uint32_t value = type == kShort  ? number(entry + 8, 2)
                                : type == kLong ? number(entry + 8, 4)
                                                : 0;
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  // From 5 on rows and columns change places; of the result, which coordinates run backwards.
  const bool swaps = orientation >= 5;
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image result = swaps ? empty_image(image.width, image.height, image.channels)
                       : empty_image(image.height, image.width, image.channels);
  for (std::int64_t row = 0; row < result.height; ++row) {
    for (std::int64_t column = 0; column < result.width; ++column) {
      std::int64_t y = swaps ? column : row;
      std::int64_t x = swaps ? row : column;
      if (from_bottom) y = image.height - 1 - y;
      if (from_right) x = image.width - 1 - x;
      const auto pixel = image.pixels.begin() + (y * image.width + x) * image.channels;
      result.pixels.insert(result.pixels.end(), pixel, pixel + image.channels);
    }
  }
  return result;
}

}  // namespace lenet

#include <algorithm>

#include "images/steps.h"

namespace lenet {
namespace {

constexpr unsigned kAlmostWhite = 240;  // as in python/lenet_cpp/data/images/reading.py

Image over(unsigned background, const Image& image) {
  Image result = empty_image(image.height, image.width, image.channels - 1);
  for (auto pixel = image.pixels.cbegin(); pixel != image.pixels.cend(); pixel += image.channels) {
    const unsigned alpha = pixel[result.channels];
    for (std::int64_t i = 0; i < result.channels; ++i) {
      result.pixels.push_back(divide_by_255(pixel[i] * alpha + background * (255U - alpha)));
    }
  }
  return result;
}

/// Whether something is drawn, and more than half is transparent.
bool is_mostly_transparent(const Image& image) {
  std::uint64_t alphas = 0;
  const auto step = static_cast<std::size_t>(image.channels);
  for (std::size_t i = step - 1; i < image.pixels.size(); i += step) alphas += image.pixels[i];
  return alphas > 0 && 2 * alphas < 255 * (image.pixels.size() / step);
}

}  // namespace

Image copy_of(Rows& rows, const Region& region) {
  Image result = empty_image(region.height, region.width, rows.channels);
  for (std::int64_t row = 0; row < region.height; ++row) {
    const std::uint8_t* const begin = rows.row(region.top + row) + region.left * result.channels;
    result.pixels.insert(result.pixels.end(), begin, begin + region.width * result.channels);
  }
  return result;
}

Image copy_of(const ImageView& image) {
  ImageRows rows(image);
  return copy_of(rows, {0, 0, image.height, image.width});
}

Image to_channels(const ImageView& image, std::int64_t channels) {
  Image result = filled_image(image.height, image.width, channels);
  std::uint8_t* to = result.pixels.data();
  const std::size_t red = image.format == PixelFormat::Bgr ? 2 : 0;
  for (std::int64_t row = 0; row < image.height; ++row) {
    const std::uint8_t* pixel = row_of(image, row);
    for (std::int64_t x = 0; x < image.width; ++x, pixel += image.channels()) {
      if (channels == 3) {
        to = std::fill_n(to, 3, *pixel);
      } else {
        const unsigned sum =
            19595U * pixel[red] + 38470U * pixel[1] + 7471U * pixel[2 - red] + 32768U;
        *to++ = static_cast<std::uint8_t>(sum >> 16);
      }
    }
  }
  return result;
}

Image opaque(Image image) {
  if (image.channels % 2 == 1) return image;
  Image result = over(255, image);
  // What is drawn in almost white, such as a digit on a transparent canvas, would be lost.
  if (*std::min_element(result.pixels.begin(), result.pixels.end()) >= kAlmostWhite &&
      is_mostly_transparent(image)) {
    result = over(0, image);
  }
  return result;
}

}  // namespace lenet

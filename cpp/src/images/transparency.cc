#include <algorithm>

#include "images/decoders.h"

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

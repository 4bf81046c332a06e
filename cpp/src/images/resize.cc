#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "images/steps.h"
#include "lenet/interruption.h"

namespace lenet {
namespace {

// Pillow's fixed point: of 32 bits 8 are a pixel's, and 2 are left for sums beyond 0 to 255.
constexpr int kFractionBits = 32 - 8 - 2;
constexpr std::int32_t kHalf = 1 << (kFractionBits - 1);

/// Which pixel each of `to` is taken from. Pillow adds up the step, so that it rounds as this does.
std::vector<std::int64_t> nearest_of(std::int64_t from, std::int64_t to) {
  const double step = static_cast<double>(from) / static_cast<double>(to);
  double at = step * 0.5;
  std::vector<std::int64_t> pixels;
  for (std::int64_t i = 0; i < to; ++i, at += step) {
    pixels.push_back(std::min(static_cast<std::int64_t>(at), from - 1));
  }
  return pixels;
}

/// What a new pixel is made of, along one axis.
struct Window {
  std::int64_t first;  ///< old pixel
  std::vector<std::int32_t> weights;
};

double filter(Interpolation interpolation, double x) {
  x = std::abs(x);
  if (interpolation == Interpolation::Bilinear) return x < 1 ? 1 - x : 0;
  // Cubic convolution with a = -0.5.
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
}

std::vector<Window> windows_of(std::int64_t from, std::int64_t to, Interpolation interpolation) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double stretch = std::max(scale, 1.0);
  const double inverse = 1.0 / stretch;
  const double support = (interpolation == Interpolation::Bilinear ? 1.0 : 2.0) * stretch;
  std::vector<Window> windows;
  for (std::int64_t i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<std::int64_t>(0, static_cast<std::int64_t>(centre - support + 0.5));
    const auto end = std::min(from, static_cast<std::int64_t>(centre + support + 0.5));
    std::vector<double> exact;
    double sum = 0;
    for (std::int64_t x = first; x < end; ++x) {
      exact.push_back(filter(interpolation, (static_cast<double>(x) - centre + 0.5) * inverse));
      sum += exact.back();
    }
    std::vector<std::int32_t> weights;
    for (const double weight : exact) {
      const double fixed = weight / sum * (1 << kFractionBits);
      weights.push_back(static_cast<std::int32_t>(fixed + (fixed < 0 ? -0.5 : 0.5)));
    }
    windows.push_back({first, std::move(weights)});
  }
  return windows;
}

std::uint8_t to_level(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

template <int kChannels>
void resize_row(const std::uint8_t* row, const std::vector<Window>& windows, std::uint8_t* target) {
  for (const Window& window : windows) {
    std::array<std::int32_t, kChannels> sums;
    sums.fill(kHalf);
    const std::uint8_t* pixel = row + window.first * kChannels;
    for (const std::int32_t weight : window.weights) {
      for (std::int32_t& sum : sums) sum += weight * *pixel++;
    }
    for (const std::int32_t sum : sums) *target++ = to_level(sum);
  }
}

Image resize_rows(const ImageView& image, std::int64_t width, Interpolation interpolation) {
  const std::vector<Window> windows = windows_of(image.width, width, interpolation);
  const auto resize_one = image.channels() == 3 ? resize_row<3> : resize_row<1>;
  Image result{{}, image.height, width, image.channels()};
  result.pixels.resize(static_cast<std::size_t>(image.height * width * image.channels()));
  InterruptionPoint point;
  for (std::int64_t row = 0; row < image.height; ++row) {
    point.did(static_cast<std::size_t>((image.width + width) * image.channels()));
    resize_one(row_of(image, row), windows, result.pixels.data() + row * width * result.channels);
  }
  return result;
}

Image resize_columns(const ImageView& image, std::int64_t height, Interpolation interpolation) {
  const auto row_values = static_cast<std::size_t>(image.width * image.channels());
  Image result = empty_image(height, image.width, image.channels());
  std::vector<std::int32_t> sums(row_values);
  InterruptionPoint point;
  for (const Window& window : windows_of(image.height, height, interpolation)) {
    std::fill(sums.begin(), sums.end(), kHalf);
    const std::uint8_t* row = row_of(image, window.first);
    for (const std::int32_t weight : window.weights) {
      point.did(row_values);
      for (std::size_t x = 0; x < row_values; ++x) sums[x] += weight * row[x];
      row += image.row_bytes;
    }
    for (const std::int32_t sum : sums) result.pixels.push_back(to_level(sum));
  }
  return result;
}

}  // namespace

Image pick(const ImageView& image, const std::vector<std::int64_t>& rows,
           const std::vector<std::int64_t>& columns) {
  Image result = empty_image(static_cast<std::int64_t>(rows.size()),
                             static_cast<std::int64_t>(columns.size()), image.channels());
  for (const auto row : rows) {
    for (const auto column : columns) {
      const std::uint8_t* pixel = row_of(image, row) + column * result.channels;
      result.pixels.insert(result.pixels.end(), pixel, pixel + result.channels);
    }
  }
  return result;
}

Image resize(const ImageView& image, std::int64_t height, std::int64_t width,
             Interpolation interpolation, Library library) {
  if (height == image.height && width == image.width) return copy_of(image);
  if (height > kMaxImagePixels / std::max<std::int64_t>(width, 1)) {
    throw Error(ErrorCode::BadInput,
                "resizing " + size_text(image.height, image.width) + " pixels to " +
                    size_text(height, width) + " is over the limit of " +
                    std::to_string(kMaxImagePixels) + ": crop the image first");
  }
  if (library == Library::OpenCv) return resize_as_opencv(image, height, width, interpolation);
  if (interpolation == Interpolation::Nearest) {
    return pick(image, nearest_of(image.height, height), nearest_of(image.width, width));
  }
  if (height == image.height) return resize_rows(image, width, interpolation);
  if (width == image.width) return resize_columns(image, height, interpolation);
  // The order matters, as there is rounding between; this is Pillow's since version 13.
  if (image.height - height > 2 * (image.width - width) && height < image.height) {
    return resize_rows(resize_columns(image, height, interpolation), width, interpolation);
  }
  return resize_columns(resize_rows(image, width, interpolation), height, interpolation);
}

}  // namespace lenet

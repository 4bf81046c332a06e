#include "images/resize.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "images/stb.h"

namespace lenet {
namespace {

constexpr std::int64_t kBand = 64;  // rows or columns that are held as float32 at a time

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

Image resize_nearest(const Image& image, std::int64_t height, std::int64_t width) {
  const auto rows = nearest_of(image.height, height);
  const auto columns = nearest_of(image.width, width);
  Image result{{}, height, width, image.channels};
  result.pixels.reserve(static_cast<std::size_t>(height * width * image.channels));
  for (const auto row : rows) {
    for (const auto column : columns) {
      const auto pixel = image.pixels.begin() + (row * image.width + column) * image.channels;
      result.pixels.insert(result.pixels.end(), pixel, pixel + image.channels);
    }
  }
  return result;
}

/// `length` numbers resampled to `to`; a constant 1 shows how much weight lies inside the image.
std::vector<float> weight_inside(std::int64_t length, std::int64_t to, stb::Filter filter) {
  const std::vector<float> ones(static_cast<std::size_t>(length), 1.0F);
  std::vector<float> inside(static_cast<std::size_t>(to));
  stb::resample(ones.data(), 1, static_cast<int>(length), inside.data(), 1, static_cast<int>(to), 1,
                filter);
  return inside;
}

std::uint8_t to_level(float value) {
  constexpr float kMax = 255.0F;
  return static_cast<std::uint8_t>(std::clamp(std::floor(value + 0.5F), 0.0F, kMax));
}

Image resize_rows(const Image& image, std::int64_t width, stb::Filter filter) {
  const auto inside = weight_inside(image.width, width, filter);
  Image result{{}, image.height, width, image.channels};
  const std::int64_t from_row = image.width * image.channels;
  const std::int64_t to_row = width * image.channels;
  result.pixels.reserve(static_cast<std::size_t>(image.height * to_row));
  std::vector<float> band;
  std::vector<float> resampled(static_cast<std::size_t>(std::min(kBand, image.height) * to_row));
  for (std::int64_t row = 0; row < image.height; row += kBand) {
    const std::int64_t rows = std::min(kBand, image.height - row);
    const auto begin = image.pixels.begin() + row * from_row;
    band.assign(begin, begin + rows * from_row);
    stb::resample(band.data(), static_cast<int>(rows), static_cast<int>(image.width),
                  resampled.data(), static_cast<int>(rows), static_cast<int>(width),
                  static_cast<int>(image.channels), filter);
    for (std::int64_t i = 0; i < rows * to_row; ++i) {
      const auto column = static_cast<std::size_t>(i % to_row / image.channels);
      result.pixels.push_back(to_level(resampled[static_cast<std::size_t>(i)] / inside[column]));
    }
  }
  return result;
}

Image resize_columns(const Image& image, std::int64_t height, stb::Filter filter) {
  const auto inside = weight_inside(image.height, height, filter);
  Image result{{}, height, image.width, image.channels};
  const std::int64_t row_values = image.width * image.channels;
  result.pixels.resize(static_cast<std::size_t>(height * row_values));
  std::vector<float> band;
  std::vector<float> resampled;
  for (std::int64_t column = 0; column < image.width; column += kBand) {
    const std::int64_t columns = std::min(kBand, image.width - column);
    const std::int64_t band_values = columns * image.channels;
    band.clear();
    for (std::int64_t row = 0; row < image.height; ++row) {
      const auto begin = image.pixels.begin() + row * row_values + column * image.channels;
      band.insert(band.end(), begin, begin + band_values);
    }
    resampled.resize(static_cast<std::size_t>(height * band_values));
    stb::resample(band.data(), static_cast<int>(image.height), static_cast<int>(columns),
                  resampled.data(), static_cast<int>(height), static_cast<int>(columns),
                  static_cast<int>(image.channels), filter);
    auto value = resampled.cbegin();
    for (std::int64_t row = 0; row < height; ++row) {
      auto target = result.pixels.begin() + row * row_values + column * image.channels;
      const float weight = inside[static_cast<std::size_t>(row)];
      for (std::int64_t i = 0; i < band_values; ++i) *target++ = to_level(*value++ / weight);
    }
  }
  return result;
}

}  // namespace

Image resize(const Image& image, std::int64_t height, std::int64_t width,
             Interpolation interpolation) {
  if (height == image.height && width == image.width) return image;
  // The intermediate image too. By division: the products need not fit.
  const std::int64_t rows = std::max(height, image.height);
  if (rows > kMaxImagePixels / std::max<std::int64_t>(width, 1)) {
    throw Error(ErrorCode::BadInput, "an image of " + std::to_string(image.height) + " x " +
                                         std::to_string(image.width) + " would become one of " +
                                         std::to_string(height) + " x " + std::to_string(width) +
                                         "; more than " + std::to_string(kMaxImagePixels) +
                                         " pixels are refused");
  }
  if (interpolation == Interpolation::Nearest) return resize_nearest(image, height, width);
  const auto filter =
      interpolation == Interpolation::Bilinear ? stb::Filter::Triangle : stb::Filter::CatmullRom;
  Image result = width == image.width ? image : resize_rows(image, width, filter);
  if (height != result.height) result = resize_columns(result, height, filter);
  return result;
}

}  // namespace lenet

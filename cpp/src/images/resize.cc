#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "images/interruption_point.h"
#include "images/steps.h"

namespace lenet {
namespace {

// Pillow's fixed point: of 32 bits 8 are a pixel's, and 2 are left for sums beyond 0 to 255.
constexpr int kFractionBits = 32 - 8 - 2;
constexpr std::int32_t kHalf = 1 << (kFractionBits - 1);

/// Which pixel each of `to` is taken from. Pillow adds up the step, so that it rounds as this does.
std::vector<std::int32_t> nearest_of(std::int64_t from, std::int64_t to) {
  const double step = static_cast<double>(from) / static_cast<double>(to);
  double at = step * 0.5;
  std::vector<std::int32_t> pixels;
  pixels.reserve(static_cast<std::size_t>(to));
  for (std::int64_t i = 0; i < to; ++i, at += step) {
    pixels.push_back(static_cast<std::int32_t>(std::min(static_cast<std::int64_t>(at), from - 1)));
  }
  return pixels;
}

/// So many weights are held at once: those of a whole axis may take a hundred times the memory of
/// the picture.
constexpr std::size_t kHeldWeights = std::size_t{1} << 15;

/// What a new pixel is made of, along one axis.
struct Window {
  std::int64_t first;  ///< old pixel
  std::size_t count;   ///< of old pixels
  double centre;
  double sum = 0;  ///< of the filter, at all of them
};

/// How many old pixels a filter takes to each side where the size stays.
double reach(Interpolation interpolation) {
  return interpolation == Interpolation::Bilinear  ? 1
         : interpolation == Interpolation::Bicubic ? 2
                                                   : 3;
}

/// sin(pi x) / (pi x)
double sinc(double x) {
  constexpr double kPi = 3.14159265358979323846;
  return x == 0 ? 1 : std::sin(kPi * x) / (kPi * x);
}

/// Pillow's filter from one size of an axis to another.
class Filter {
 public:
  Filter(std::int64_t from, std::int64_t to, Interpolation interpolation)
      : from_(from),
        interpolation_(interpolation),
        scale_(static_cast<double>(from) / static_cast<double>(to)),
        inverse_(1.0 / std::max(scale_, 1.0)),
        support_(reach(interpolation) * std::max(scale_, 1.0)) {}

  Window window(std::int64_t i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale_;
    const auto first =
        std::max<std::int64_t>(0, static_cast<std::int64_t>(centre - support_ + 0.5));
    const auto end = std::min(from_, static_cast<std::int64_t>(centre + support_ + 0.5));
    Window window{first, static_cast<std::size_t>(end - first), centre};
    exact_.clear();
    for (std::int64_t x = first; x < end; ++x) {
      const double exact = exact_at(window, x);
      window.sum += exact;
      if (window.count <= kHeldWeights) exact_.push_back(exact);
    }
    return window;
  }

  /// Appends the weights of `count` pixels of the window that was asked for last.
  /// \param begin of them, counted from the window's first
  void append(const Window& window, std::size_t begin, std::size_t count,
              std::vector<std::int32_t>& weights) const {
    for (std::size_t k = begin; k < begin + count; ++k) {
      const double exact = exact_.empty()
                               ? exact_at(window, window.first + static_cast<std::int64_t>(k))
                               : exact_[k];
      const double fixed = exact / window.sum * (1 << kFractionBits);
      weights.push_back(static_cast<std::int32_t>(fixed + (fixed < 0 ? -0.5 : 0.5)));
    }
  }

 private:
  double exact_at(const Window& window, std::int64_t x) const {
    const double at = std::abs((static_cast<double>(x) - window.centre + 0.5) * inverse_);
    if (interpolation_ == Interpolation::Bilinear) return at < 1 ? 1 - at : 0;
    if (interpolation_ == Interpolation::Lanczos) return at < 3 ? sinc(at) * sinc(at / 3) : 0;
    // Cubic convolution with a = -0.5.
    if (at < 1) return (1.5 * at - 2.5) * at * at + 1;
    return at < 2 ? (((at - 5) * at + 8) * at - 4) * -0.5 : 0;
  }

  std::int64_t from_;
  Interpolation interpolation_;
  double scale_;
  double inverse_;
  double support_;
  std::vector<double> exact_;  // of the last window, unless it is too long to be held
};

/// Calls `action` with the first old pixel and the weights of each part of a window.
template <typename Action>
void each_part(const Filter& filter, const Window& window, std::vector<std::int32_t>& weights,
               const Action& action) {
  for (std::size_t begin = 0; begin < window.count; begin += kHeldWeights) {
    weights.clear();
    filter.append(window, begin, std::min(kHeldWeights, window.count - begin), weights);
    action(window.first + static_cast<std::int64_t>(begin));
  }
}

std::uint8_t to_level(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

/// \param weights of all windows, one after the other
template <int kChannels>
void resize_row(const std::uint8_t* row, const std::vector<Window>& windows,
                const std::int32_t* weights, std::uint8_t* target) {
  for (const Window& window : windows) {
    std::array<std::int32_t, kChannels> sums;
    sums.fill(kHalf);
    const std::uint8_t* pixel = row + window.first * kChannels;
    for (const std::int32_t* const end = weights + window.count; weights != end; ++weights) {
      for (std::int32_t& sum : sums) sum += *weights * *pixel++;
    }
    for (const std::int32_t sum : sums) *target++ = to_level(sum);
  }
}

/// One new column, whose weights are too many to be held at once.
/// \param weights memory for them
void resize_long(const ImageView& image, const Filter& filter, const Window& window,
                 std::vector<std::int32_t>& weights, Image& result, std::int64_t column) {
  const std::int64_t channels = image.channels();
  std::vector<std::int32_t> sums(static_cast<std::size_t>(image.height * channels), kHalf);
  InterruptionPoint point;
  each_part(filter, window, weights, [&](std::int64_t first) {
    for (std::int64_t row = 0; row < image.height; ++row) {
      point.did(weights.size() * static_cast<std::size_t>(channels));
      const std::uint8_t* pixel = row_of(image, row) + first * channels;
      std::int32_t* const sum = sums.data() + row * channels;
      for (const std::int32_t weight : weights) {
        for (std::int64_t channel = 0; channel < channels; ++channel) {
          sum[channel] += weight * *pixel++;
        }
      }
    }
  });
  const std::int32_t* sum = sums.data();
  for (std::int64_t row = 0; row < image.height; ++row) {
    std::uint8_t* const pixel = result.pixels.data() + (row * result.width + column) * channels;
    for (std::int64_t channel = 0; channel < channels; ++channel) pixel[channel] = to_level(*sum++);
  }
}

Image resize_rows(const ImageView& image, std::int64_t width, Interpolation interpolation) {
  Filter filter(image.width, width, interpolation);
  const auto resize_one = image.channels() == 3 ? resize_row<3> : resize_row<1>;
  Image result = filled_image(image.height, width, image.channels());
  std::vector<Window> windows;  // of the columns from `done` on, whose weights are held
  std::vector<std::int32_t> weights;
  std::int64_t done = 0;
  InterruptionPoint point;
  const auto resize_held = [&] {
    for (std::int64_t row = 0; row < image.height; ++row) {
      point.did(weights.size() * static_cast<std::size_t>(result.channels));
      resize_one(row_of(image, row), windows, weights.data(),
                 result.pixels.data() + (row * width + done) * result.channels);
    }
    done += static_cast<std::int64_t>(windows.size());
    windows.clear();
    weights.clear();
  };
  for (std::int64_t column = 0; column < width; ++column) {
    const Window window = filter.window(column);
    point.did(window.count);
    if (weights.size() + window.count > kHeldWeights) resize_held();
    if (window.count > kHeldWeights) {
      resize_long(image, filter, window, weights, result, column);
      weights.clear();
      ++done;
      continue;
    }
    filter.append(window, 0, window.count, weights);
    windows.push_back(window);
  }
  resize_held();
  return result;
}

/// Of its own, so that the compiler knows that the numbers do not overlap.
void add_row(const std::uint8_t* row, std::size_t count, std::int32_t weight, std::int32_t* sums) {
  for (std::size_t x = 0; x < count; ++x) sums[x] += weight * row[x];
}

Image resize_columns(const ImageView& image, std::int64_t height, Interpolation interpolation) {
  const std::int64_t row_bytes = image.width * image.channels();
  const auto row_values = static_cast<std::size_t>(row_bytes);
  Filter filter(image.height, height, interpolation);
  Image result = filled_image(height, image.width, image.channels());
  std::vector<std::int32_t> sums(row_values);
  std::vector<std::int32_t> weights;
  InterruptionPoint point;
  for (std::int64_t i = 0; i < height; ++i) {
    std::fill(sums.begin(), sums.end(), kHalf);
    each_part(filter, filter.window(i), weights, [&](std::int64_t first) {
      const std::uint8_t* row = row_of(image, first);
      for (const std::int32_t weight : weights) {
        point.did(row_values);
        add_row(row, row_values, weight, sums.data());
        row += image.row_bytes;
      }
    });
    std::transform(sums.begin(), sums.end(), result.pixels.data() + i * row_bytes, to_level);
  }
  return result;
}

}  // namespace

Image pick(const ImageView& image, const std::vector<std::int32_t>& rows,
           const std::vector<std::int32_t>& columns) {
  Image result = empty_image(static_cast<std::int64_t>(rows.size()),
                             static_cast<std::int64_t>(columns.size()), image.channels());
  for (const std::int64_t row : rows) {
    for (const std::int64_t column : columns) {
      const std::uint8_t* pixel = row_of(image, row) + column * result.channels;
      result.pixels.insert(result.pixels.end(), pixel, pixel + result.channels);
    }
  }
  return result;
}

void require_resized_pixels(std::int64_t old_height, std::int64_t old_width, std::int64_t height,
                            std::int64_t width) {
  if (height <= kMaxImagePixels / std::max<std::int64_t>(width, 1)) return;
  throw Error(ErrorCode::BadInput, "resizing " + size_text(old_height, old_width) + " pixels to " +
                                       size_text(height, width) + " is over the limit of " +
                                       std::to_string(kMaxImagePixels) + ": crop the image first");
}

Image resize(const ImageView& image, std::int64_t height, std::int64_t width,
             Interpolation interpolation, Library library) {
  if (height == image.height && width == image.width) return copy_of(image);
  require_resized_pixels(image.height, image.width, height, width);
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

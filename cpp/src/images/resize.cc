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

/// Returns the old pixel that each of `count` new ones is taken from, from the new pixel `first`
/// on. Pillow adds up the step, so that it rounds as this does.
std::vector<std::int32_t> nearest_of(std::int64_t from, std::int64_t to, std::int64_t first,
                                     std::int64_t count, bool backwards) {
  if (backwards) first = to - first - count;
  const double step = static_cast<double>(from) / static_cast<double>(to);
  double at = step * 0.5;
  std::vector<std::int32_t> pixels;
  pixels.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < first + count; ++i, at += step) {
    if (i < first) continue;
    pixels.push_back(static_cast<std::int32_t>(std::min(static_cast<std::int64_t>(at), from - 1)));
  }
  if (backwards) mirror(pixels, from);
  return pixels;
}

/// So many weights are held at once: those of a whole axis may take a hundred times the memory of
/// the picture.
constexpr std::size_t kHeldWeights = std::size_t{1} << 15;

/// What a new pixel is made of, along one axis.
struct Window {
  std::int64_t first;  ///< old pixel
  std::size_t count;   ///< of old pixels
  std::int64_t begin;  ///< the same place as Pillow counts it, which may be from the other end
  double centre;       ///< as Pillow counts
  double sum = 0;      ///< of the filter, at all of them
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
  /// \param backwards Pillow counts from what is the last pixel here, and rounds accordingly
  Filter(std::int64_t from, std::int64_t to, Interpolation interpolation, bool backwards)
      : from_(from),
        to_(to),
        interpolation_(interpolation),
        backwards_(backwards),
        scale_(static_cast<double>(from) / static_cast<double>(to)),
        inverse_(1.0 / std::max(scale_, 1.0)),
        support_(reach(interpolation) * std::max(scale_, 1.0)) {}

  /// The most old pixels that a window has.
  std::int64_t most() const noexcept {
    return std::min(from_, static_cast<std::int64_t>(2 * support_) + 2);
  }

  Window window(std::int64_t i) {
    const auto place = static_cast<double>(backwards_ ? to_ - 1 - i : i);
    const double centre = (place + 0.5) * scale_;
    const auto begin =
        std::max<std::int64_t>(0, static_cast<std::int64_t>(centre - support_ + 0.5));
    const auto end = std::min(from_, static_cast<std::int64_t>(centre + support_ + 0.5));
    const std::int64_t first = backwards_ ? from_ - end : begin;
    Window window{first, static_cast<std::size_t>(end - begin), begin, centre};
    exact_.clear();
    for (std::int64_t x = begin; x < end; ++x) {
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
    for (std::size_t i = begin; i < begin + count; ++i) {
      const std::size_t k = backwards_ ? window.count - 1 - i : i;
      const double exact = exact_.empty()
                               ? exact_at(window, window.begin + static_cast<std::int64_t>(k))
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
  std::int64_t to_;
  Interpolation interpolation_;
  bool backwards_;
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

/// Some new columns, and the weights of their windows.
struct Columns {
  std::int64_t first = 0;  ///< in the result
  std::vector<Window> windows;
  /// The weights of all windows, one window after the other. It is empty where a single window has
  /// too many to be held.
  std::vector<std::int32_t> weights;
};

/// Calls `action` with the columns from `left` on, as many at a time as weights are held.
template <typename Action>
void each_columns(std::int64_t width, std::int64_t left, Filter& filter, const Action& action) {
  Columns columns;
  InterruptionPoint point;
  const auto act = [&] {
    if (columns.windows.empty()) return;
    action(columns);
    columns.first += static_cast<std::int64_t>(columns.windows.size());
    columns.windows.clear();
    columns.weights.clear();
  };
  for (std::int64_t column = 0; column < width; ++column) {
    const Window window = filter.window(left + column);
    point.did(window.count);
    if (columns.weights.size() + window.count > kHeldWeights) act();
    columns.windows.push_back(window);
    if (window.count > kHeldWeights) {
      act();
    } else {
      filter.append(window, 0, window.count, columns.weights);
    }
  }
  act();
}

/// \param row from the old pixel `first` on
template <int kChannels>
void resize_row(const std::uint8_t* row, std::int64_t first, const Columns& columns,
                std::uint8_t* target) {
  const std::int32_t* weights = columns.weights.data();
  for (const Window& window : columns.windows) {
    std::array<std::int32_t, kChannels> sums;
    sums.fill(kHalf);
    const std::uint8_t* pixel = row + (window.first - first) * kChannels;
    for (const std::int32_t* const end = weights + window.count; weights != end; ++weights) {
      for (std::int32_t& sum : sums) sum += *weights * *pixel++;
    }
    for (const std::int32_t sum : sums) *target++ = to_level(sum);
  }
}

/// One new column of all rows, whose weights are too many to be held at once.
Image resize_long(Rows& image, const Filter& filter, const Window& window) {
  const std::int64_t channels = image.channels;
  std::vector<std::int32_t> sums(static_cast<std::size_t>(image.height * channels), kHalf);
  std::vector<std::int32_t> weights;
  InterruptionPoint point;
  each_part(filter, window, weights, [&](std::int64_t first) {
    for (std::int64_t row = 0; row < image.height; ++row) {
      point.did(weights.size() * static_cast<std::size_t>(channels));
      const std::uint8_t* pixel = image.row(row) + first * channels;
      std::int32_t* const sum = sums.data() + row * channels;
      for (const std::int32_t weight : weights) {
        for (std::int64_t channel = 0; channel < channels; ++channel) {
          sum[channel] += weight * *pixel++;
        }
      }
    }
  });
  Image result = filled_image(image.height, 1, channels);
  std::transform(sums.begin(), sums.end(), result.pixels.begin(), to_level);
  return result;
}

void resize_row(const std::uint8_t* row, std::int64_t first, std::int64_t channels,
                const Columns& columns, std::uint8_t* target) {
  const auto resize_one = channels == 3 ? resize_row<3> : resize_row<1>;
  resize_one(row, first, columns, target);
}

/// Old rows with their new width. As many are held as a new row is made of.
class ResizedRows {
 public:
  /// \param image has to outlive this
  /// \param most rows that a new one is made of
  ResizedRows(Rows& image, std::int64_t most)
      : image_(image), held_(static_cast<std::size_t>(most)) {}

  /// \param columns of the next rows, until it is called again
  void begin(const Columns& columns) {
    columns_ = &columns;
    row_bytes_ = columns.windows.size() * static_cast<std::size_t>(image_.channels);
    std::fill(held_.begin(), held_.end(), -1);
    pixels_.resize(held_.size() * row_bytes_);
  }

  const std::uint8_t* row(std::int64_t y) {
    const std::size_t slot = static_cast<std::size_t>(y) % held_.size();
    std::uint8_t* const pixels = pixels_.data() + slot * row_bytes_;
    if (std::exchange(held_[slot], y) != y) {
      point_.did(columns_->weights.size() * static_cast<std::size_t>(image_.channels));
      resize_row(image_.row(y), 0, image_.channels, *columns_, pixels);
    }
    return pixels;
  }

 private:
  Rows& image_;
  const Columns* columns_ = nullptr;
  std::size_t row_bytes_ = 0;
  std::vector<std::int64_t> held_;  ///< which row each slot has; -1: none
  std::vector<std::uint8_t> pixels_;
  InterruptionPoint point_;
};

/// Of its own, so that the compiler knows that the numbers do not overlap.
void add_row(const std::uint8_t* row, std::size_t count, std::int32_t weight, std::int32_t* sums) {
  for (std::size_t x = 0; x < count; ++x) sums[x] += weight * row[x];
}

/// Makes new rows of old ones.
class RowBlender {
 public:
  explicit RowBlender(Filter filter) : filter_(std::move(filter)) {}

  std::int64_t most() const noexcept { return filter_.most(); }

  /// \param values of a row
  /// \param row_at returns the values of an old row
  template <typename RowAt>
  void blend(std::int64_t i, std::size_t values, const RowAt& row_at, std::uint8_t* target) {
    sums_.assign(values, kHalf);
    each_part(filter_, filter_.window(i), weights_, [&](std::int64_t row) {
      for (const std::int32_t weight : weights_) {
        point_.did(sums_.size());
        add_row(row_at(row++), sums_.size(), weight, sums_.data());
      }
    });
    std::transform(sums_.begin(), sums_.end(), target, to_level);
  }

 private:
  Filter filter_;
  std::vector<std::int32_t> sums_;
  std::vector<std::int32_t> weights_;
  InterruptionPoint point_;
};

/// A region of what Pillow's filters make of an image. At most some rows are held beside both.
class Antialiased {
 public:
  Antialiased(Rows& image, const Scaling& scaling, const Region& region)
      : image_(image),
        scaling_(scaling),
        region_(region),
        result_(filled_image(region.height, region.width, image.channels)),
        blender_(
            Filter(image.height, scaling.height, scaling.interpolation, scaling.turn.from_bottom)),
        resized_(image, blender_.most()) {}

  Image make() {
    if (scaling_.width == image_.width) {
      blend_rows();
      return std::move(result_);
    }
    Filter filter(image_.width, scaling_.width, scaling_.interpolation, scaling_.turn.from_right);
    const bool blends_first = rows_are_blended_first();
    each_columns(region_.width, region_.left, filter, [&](const Columns& columns) {
      if (columns.weights.empty()) {
        make_long_column(columns, filter);
      } else if (scaling_.height == image_.height) {
        resize_rows(columns);
      } else if (blends_first) {
        blend_then_resize(columns);
      } else {
        resize_then_blend(columns);
      }
    });
    return std::move(result_);
  }

 private:
  /// The order matters, as there is rounding between; this is Pillow's since version 13.
  bool rows_are_blended_first() const {
    const Turn& turn = scaling_.turn;
    const Extent from = upright(Extent{image_.height, image_.width}, turn);
    const Extent to = upright(Extent{scaling_.height, scaling_.width}, turn);
    const bool upright_rows_are =
        from.height - to.height > 2 * (from.width - to.width) && to.height < from.height;
    return upright_rows_are != turn.swaps;
  }

  std::size_t values_of(std::size_t columns) const {
    return columns * static_cast<std::size_t>(result_.channels);
  }

  std::uint8_t* target(std::int64_t row, std::int64_t column = 0) {
    return result_.pixels.data() + (row * result_.width + column) * result_.channels;
  }

  void blend_rows() {
    const std::size_t values = values_of(static_cast<std::size_t>(region_.width));
    const auto old_row = [&](std::int64_t y) {
      return image_.row(y) + region_.left * result_.channels;
    };
    image_.keep(blender_.most());
    for (std::int64_t i = 0; i < region_.height; ++i) {
      blender_.blend(region_.top + i, values, old_row, target(i));
    }
  }

  void resize_rows(const Columns& columns) {
    InterruptionPoint point;
    for (std::int64_t i = 0; i < region_.height; ++i) {
      point.did(columns.weights.size() * static_cast<std::size_t>(result_.channels));
      resize_row(image_.row(region_.top + i), 0, image_.channels, columns,
                 target(i, columns.first));
    }
  }

  void resize_then_blend(const Columns& columns) {
    const std::size_t values = values_of(columns.windows.size());
    resized_.begin(columns);
    const auto old_row = [&](std::int64_t y) { return resized_.row(y); };
    for (std::int64_t i = 0; i < region_.height; ++i) {
      blender_.blend(region_.top + i, values, old_row, target(i, columns.first));
    }
  }

  void blend_then_resize(const Columns& columns) {
    const Window& last = columns.windows.back();
    const std::int64_t first = columns.windows.front().first;
    const std::size_t count = static_cast<std::size_t>(last.first - first) + last.count;
    // Only what these columns are made of is blended.
    blended_.resize(values_of(count));
    const auto old_row = [&](std::int64_t y) { return image_.row(y) + first * result_.channels; };
    image_.keep(blender_.most());
    for (std::int64_t i = 0; i < region_.height; ++i) {
      blender_.blend(region_.top + i, blended_.size(), old_row, blended_.data());
      resize_row(blended_.data(), first, result_.channels, columns, target(i, columns.first));
    }
  }

  /// An image so wide has few rows, so that the order of the two passes is always this one.
  void make_long_column(const Columns& columns, const Filter& filter) {
    const Image column = resize_long(image_, filter, columns.windows.front());
    const auto old_row = [&](std::int64_t y) { return column.pixels.data() + y * column.channels; };
    for (std::int64_t i = 0; i < region_.height; ++i) {
      std::uint8_t* const to = target(i, columns.first);
      if (scaling_.height == image_.height) {
        std::copy_n(old_row(region_.top + i), column.channels, to);
      } else {
        blender_.blend(region_.top + i, values_of(1), old_row, to);
      }
    }
  }

  Rows& image_;
  Scaling scaling_;
  Region region_;
  Image result_;
  RowBlender blender_;
  ResizedRows resized_;
  std::vector<std::uint8_t> blended_;  ///< a row of the old width
};

}  // namespace

Image pick(Rows& image, const std::vector<std::int32_t>& rows,
           const std::vector<std::int32_t>& columns) {
  Image result = empty_image(static_cast<std::int64_t>(rows.size()),
                             static_cast<std::int64_t>(columns.size()), image.channels);
  for (const std::int64_t y : rows) {
    const std::uint8_t* const row = image.row(y);
    for (const std::int64_t column : columns) {
      const std::uint8_t* pixel = row + column * result.channels;
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

Image resize(Rows& rows, const Scaling& scaling, const Region& region) {
  if (scaling.height == rows.height && scaling.width == rows.width) return copy_of(rows, region);
  require_resized_pixels(rows.height, rows.width, scaling.height, scaling.width);
  if (scaling.library == Library::OpenCv) return resize_as_opencv(rows, scaling, region);
  if (scaling.interpolation == Interpolation::Nearest) {
    const Turn& turn = scaling.turn;
    return pick(
        rows, nearest_of(rows.height, scaling.height, region.top, region.height, turn.from_bottom),
        nearest_of(rows.width, scaling.width, region.left, region.width, turn.from_right));
  }
  return Antialiased(rows, scaling, region).make();
}

Image resize(const ImageView& image, const Scaling& scaling) {
  ImageRows rows(image);
  return resize(rows, scaling, {0, 0, scaling.height, scaling.width});
}

bool takes_rows_in_order(std::int64_t width, const Scaling& scaling, const Region& region) {
  if (scaling.library == Library::OpenCv) {
    // The mean of an area is a sum of float32, which depends on the order of the pixels.
    const bool depends_on_order = scaling.interpolation == Interpolation::Area;
    return region.width <= kHeldColumns && !(depends_on_order && scaling.turn);
  }
  if (scaling.interpolation == Interpolation::Nearest || scaling.width == width) return true;
  const Filter filter(width, scaling.width, scaling.interpolation, scaling.turn.from_right);
  return filter.most() <= static_cast<std::int64_t>(kHeldWeights) / region.width;
}

ColumnRange columns_read(std::int64_t width, const Scaling& scaling, const Region& region) {
  const double scale = static_cast<double>(width) / static_cast<double>(scaling.width);
  const double around = reach(scaling.interpolation) * std::max(scale, 1.0) + 1;
  const auto left = static_cast<double>(region.left);
  const auto right = static_cast<double>(region.left + region.width);
  const auto first = static_cast<std::int64_t>(std::max(left * scale - around, 0.0));
  const auto end = static_cast<std::int64_t>(std::ceil(right * scale + around));
  return {first, std::min(end, width) - first};
}

}  // namespace lenet

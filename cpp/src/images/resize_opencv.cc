#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <utility>

#include "images/interruption_point.h"
#include "images/steps.h"

namespace lenet {
namespace {

// OpenCV's fixed point: weights have 11 bits, along one axis and then along the other.
constexpr int kWeightBits = 11;

/// Calls `action` with the first and the number of each part of `columns`.
template <typename Action>
void each_part(std::int64_t columns, const Action& action) {
  for (std::int64_t first = 0; first < columns; first += kHeldColumns) {
    action(first, std::min(kHeldColumns, columns - first));
  }
}

/// Old pixels for each new one, which OpenCV computes by way of the other ratio.
double ratio(std::int64_t from, std::int64_t to) {
  return 1.0 / (static_cast<double>(to) / static_cast<double>(from));
}

/// Returns the old pixel that each of `count` new ones is taken from, from the new pixel `first`
/// on.
std::vector<std::int32_t> nearest_of(std::int64_t from, std::int64_t to, std::int64_t first,
                                     std::int64_t count, bool backwards) {
  if (backwards) first = to - first - count;
  const double scale = ratio(from, to);
  std::vector<std::int32_t> pixels;
  pixels.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = first; i < first + count; ++i) {
    const double at = std::floor(static_cast<double>(i) * scale);
    pixels.push_back(static_cast<std::int32_t>(std::min(static_cast<std::int64_t>(at), from - 1)));
  }
  if (backwards) mirror(pixels, from);
  return pixels;
}

// ---- bilinear and bicubic: a fixed number of neighbours, however much the image shrinks

/// What a new pixel is made of, along one axis.
template <int kCount>
struct Taps {
  std::array<std::int64_t, kCount> pixels;
  std::array<std::int32_t, kCount> weights;
};

template <int kCount>
std::array<float, kCount> weights_at(float at) {
  if constexpr (kCount == 2) {
    return {1 - at, at};
  } else {  // cubic convolution with a = -0.75
    constexpr float kA = -0.75F;
    const auto near = [](float x) { return ((kA + 2) * x - (kA + 3)) * x * x + 1; };
    const float first = ((kA * (at + 1) - 5 * kA) * (at + 1) + 8 * kA) * (at + 1) - 4 * kA;
    const float second = near(at);
    const float third = near(1 - at);
    return {first, second, third, 1 - first - second - third};
  }
}

/// The old pixel before the new pixel `i`, and how far behind it that lies.
std::pair<std::int64_t, float> place_of(std::int64_t from, std::int64_t to, bool area,
                                        std::int64_t i) {
  const double scale = ratio(from, to);
  const auto index = static_cast<double>(i);
  if (!area) {
    const auto at = static_cast<float>((index + 0.5) * scale - 0.5);
    return {static_cast<std::int64_t>(std::floor(at)), at - std::floor(at)};
  }
  const double before = std::floor(index * scale);
  const double inverse = static_cast<double>(to) / static_cast<double>(from);
  const auto at = static_cast<float>((index + 1) - (before + 1) * inverse);
  return {static_cast<std::int64_t>(before), at <= 0 ? 0 : at - std::floor(at)};
}

/// \param area place new pixels as OpenCV's area does where it enlarges
/// \param backwards OpenCV counts from what is the last pixel here, and rounds accordingly
template <int kCount>
Taps<kCount> taps_of(std::int64_t from, std::int64_t to, bool area, bool backwards,
                     std::int64_t i) {
  const auto [before, at] = place_of(from, to, area, backwards ? to - 1 - i : i);
  Taps<kCount> taps;
  const std::array<float, kCount> weights = weights_at<kCount>(at);
  for (std::size_t k = 0; k < kCount; ++k) {
    const std::int64_t offset = before - (kCount / 2 - 1) + static_cast<std::int64_t>(k);
    const std::int64_t pixel = std::clamp<std::int64_t>(offset, 0, from - 1);
    const std::size_t to_k = backwards ? kCount - 1 - k : k;
    taps.pixels[to_k] = backwards ? from - 1 - pixel : pixel;
    taps.weights[to_k] = static_cast<std::int32_t>(std::nearbyint(weights[k] * (1 << kWeightBits)));
  }
  return taps;
}

template <int kCount, int kChannels>
void resize_row(const std::uint8_t* pixels, const std::vector<Taps<kCount>>& columns,
                std::int32_t* result) {
  for (const Taps<kCount>& taps : columns) {
    std::array<std::int32_t, kChannels> sums{};
    for (std::size_t k = 0; k < kCount; ++k) {
      const std::uint8_t* const pixel = pixels + taps.pixels[k] * kChannels;
      for (std::size_t channel = 0; channel < kChannels; ++channel) {
        sums[channel] += taps.weights[k] * pixel[channel];
      }
    }
    result = std::copy(sums.begin(), sums.end(), result);
  }
}

/// Makes a new value of those of the first axis along the second.
template <int kCount>
std::uint8_t blend(const std::array<std::int32_t, kCount>& values,
                   const std::array<std::int32_t, kCount>& weights) {
  std::int32_t level = 0;
  if constexpr (kCount == 2) {  // truncated as OpenCV does, whose vectors are of 16 bits
    const auto part = [&](std::size_t k) { return (weights[k] * (values[k] >> 4)) >> 16; };
    level = (part(0) + part(1) + 2) >> 2;
  } else {
    std::int32_t sum = 1 << (2 * kWeightBits - 1);
    for (std::size_t k = 0; k < kCount; ++k) sum += weights[k] * values[k];
    level = sum >> (2 * kWeightBits);
  }
  return static_cast<std::uint8_t>(std::clamp(level, 0, 255));
}

/// What is known of some columns, in memory that is used again for the next ones.
template <int kCount>
struct HeldColumns {
  std::vector<Taps<kCount>> taps;
  /// The old rows that a new one is made of, which follow each other, with their new width.
  std::array<std::vector<std::int32_t>, kCount> rows;
};

/// \param first, count of the columns of the region
template <int kCount>
void resize_columns(Rows& image, const Scaling& scaling, const Region& region, std::int64_t first,
                    std::int64_t count, HeldColumns<kCount>& columns_held, Image& result) {
  const bool area = scaling.interpolation == Interpolation::Area;
  std::vector<Taps<kCount>>& columns = columns_held.taps;
  columns.clear();
  for (std::int64_t i = first; i < first + count; ++i) {
    columns.push_back(taps_of<kCount>(image.width, scaling.width, area, scaling.turn.from_right,
                                      region.left + i));
  }
  const std::size_t row_values = columns.size() * static_cast<std::size_t>(result.channels);
  auto& resized = columns_held.rows;
  for (std::vector<std::int32_t>& row : resized) row.resize(row_values);
  const auto resize_one = result.channels == 3 ? resize_row<kCount, 3> : resize_row<kCount, 1>;
  std::array<std::int64_t, kCount> held;  // which old rows these are
  held.fill(-1);
  InterruptionPoint point;
  for (std::int64_t i = 0; i < region.height; ++i) {
    point.did(kCount * row_values);
    const auto taps = taps_of<kCount>(image.height, scaling.height, area, scaling.turn.from_bottom,
                                      region.top + i);
    std::array<const std::int32_t*, kCount> rows;
    for (std::size_t k = 0; k < kCount; ++k) {
      const std::int64_t row = taps.pixels[k];
      const auto slot = static_cast<std::size_t>(row % kCount);
      if (std::exchange(held[slot], row) != row) {
        resize_one(image.row(row), columns, resized[slot].data());
      }
      rows[k] = resized[slot].data();
    }
    std::uint8_t* const pixels =
        result.pixels.data() + (i * result.width + first) * result.channels;
    for (std::size_t x = 0; x < row_values; ++x) {
      std::array<std::int32_t, kCount> values;
      for (std::size_t k = 0; k < kCount; ++k) values[k] = rows[k][x];
      pixels[x] = blend<kCount>(values, taps.weights);
    }
  }
}

/// Makes a new row where the rows become columns: they are the first axis then.
/// \param rows the old ones that it is made of
template <int kCount, int kChannels>
void blend_columns(const std::array<const std::uint8_t*, kCount>& rows,
                   const std::array<std::int32_t, kCount>& row_weights,
                   const std::vector<Taps<kCount>>& columns, std::uint8_t* target) {
  for (const Taps<kCount>& taps : columns) {
    for (std::size_t channel = 0; channel < kChannels; ++channel) {
      std::array<std::int32_t, kCount> values{};
      for (std::size_t k = 0; k < kCount; ++k) {
        const auto at = static_cast<std::size_t>(taps.pixels[k]) * kChannels + channel;
        for (std::size_t row = 0; row < kCount; ++row) {
          values[k] += row_weights[row] * rows[row][at];
        }
      }
      *target++ = blend<kCount>(values, taps.weights);
    }
  }
}

/// Makes a region of an image whose rows become columns.
template <int kCount>
Image resize_swapped(Rows& image, const Scaling& scaling, const Region& region) {
  const Turn& turn = scaling.turn;
  std::vector<Taps<kCount>> columns;
  for (std::int64_t i = region.left; i < region.left + region.width; ++i) {
    columns.push_back(taps_of<kCount>(image.width, scaling.width, false, turn.from_right, i));
  }
  const auto blend_one = image.channels == 3 ? blend_columns<kCount, 3> : blend_columns<kCount, 1>;
  Image result = filled_image(region.height, region.width, image.channels);
  const std::int64_t row_values = result.width * result.channels;
  image.keep(kCount);
  InterruptionPoint point;
  for (std::int64_t i = 0; i < region.height; ++i) {
    point.did(static_cast<std::size_t>(kCount * kCount * row_values));
    const auto taps =
        taps_of<kCount>(image.height, scaling.height, false, turn.from_bottom, region.top + i);
    std::array<const std::uint8_t*, kCount> rows;
    for (std::size_t k = 0; k < kCount; ++k) rows[k] = image.row(taps.pixels[k]);
    blend_one(rows, taps.weights, columns, result.pixels.data() + i * row_values);
  }
  return result;
}

template <int kCount>
Image resize_taps(Rows& image, const Scaling& scaling, const Region& region) {
  if (scaling.turn.swaps) return resize_swapped<kCount>(image, scaling, region);
  Image result = filled_image(region.height, region.width, image.channels);
  HeldColumns<kCount> held;
  each_part(region.width, [&](std::int64_t first, std::int64_t count) {
    resize_columns<kCount>(image, scaling, region, first, count, held, result);
  });
  return result;
}

// ---- area: the mean of what a new pixel covers

std::uint8_t to_level(float value) {
  return static_cast<std::uint8_t>(std::clamp(std::nearbyint(value), 0.0F, 255.0F));
}

/// The number of old pixels for a new one where it is a whole one, to the last bit; otherwise 0.
std::int64_t whole_ratio(std::int64_t from, std::int64_t to) {
  const double scale = ratio(from, to);
  const double whole = std::nearbyint(scale);
  return std::abs(scale - whole) < DBL_EPSILON ? static_cast<std::int64_t>(whole) : 0;
}

Image mean_of_blocks(Rows& image, std::int64_t rows, std::int64_t columns, const Region& region) {
  const float part = 1.0F / static_cast<float>(rows * columns);
  Image result = empty_image(region.height, region.width, image.channels);
  std::vector<const std::uint8_t*> lines(static_cast<std::size_t>(rows));
  image.keep(rows);
  InterruptionPoint point;
  for (std::int64_t i = region.top; i < region.top + region.height; ++i) {
    point.did(static_cast<std::size_t>(rows * columns * region.width * result.channels));
    std::int64_t y = i * rows;
    for (const std::uint8_t*& line : lines) line = image.row(y++);
    for (std::int64_t j = region.left; j < region.left + region.width; ++j) {
      const std::int64_t x = j * columns;
      for (std::int64_t channel = 0; channel < result.channels; ++channel) {
        std::int64_t sum = 0;
        for (const std::uint8_t* const line : lines) {
          const std::uint8_t* const pixel = line + x * result.channels + channel;
          for (std::int64_t column = 0; column < columns; ++column) {
            sum += pixel[column * result.channels];
          }
        }
        result.pixels.push_back(rows == 2 && columns == 2
                                    ? static_cast<std::uint8_t>((sum + 2) >> 2)
                                    : to_level(static_cast<float>(sum) * part));
      }
    }
  }
  return result;
}

/// The old pixels that a new one covers along one axis, and how much of it each is. The first and
/// the last are covered in part.
struct Cover {
  std::int64_t first;  ///< that is covered whole
  std::int64_t last;   ///< the one behind these
  float head;          ///< of the one before `first`; 0: none
  float inner;         ///< of each that is covered whole
  float tail;          ///< of `last`; 0: none

  /// Calls `action` with each old pixel and how much of the new one it is.
  template <typename Action>
  void each(const Action& action) const {
    if (head > 0) action(first - 1, head);
    for (std::int64_t x = first; x < last; ++x) action(x, inner);
    if (tail > 0) action(last, tail);
  }
};

Cover cover_of(std::int64_t from, std::int64_t to, std::int64_t i) {
  constexpr double kLeast = 1e-3;  // a smaller part of a pixel is left out
  const double scale = ratio(from, to);
  const double begin = static_cast<double>(i) * scale;
  const double end = begin + scale;
  const double size = std::min(scale, static_cast<double>(from) - begin);
  const auto last = std::min(static_cast<std::int64_t>(std::floor(end)), from - 1);
  const auto first = std::min(static_cast<std::int64_t>(std::ceil(begin)), last);
  const double head = static_cast<double>(first) - begin;
  const double tail = end - static_cast<double>(last);
  return {first, last, head > kLeast ? static_cast<float>(head / size) : 0,
          static_cast<float>(1.0 / size),
          tail > kLeast ? static_cast<float>(std::min(std::min(tail, 1.0), size) / size) : 0};
}

/// The values of an old row in some columns of the new width.
template <std::size_t kChannels>
void shrink_row(const std::uint8_t* pixels, const std::vector<Cover>& columns, float* values) {
  for (const Cover& column : columns) {
    std::array<float, kChannels> sums{};
    column.each([&](std::int64_t x, float weight) {
      const std::uint8_t* const pixel = pixels + x * static_cast<std::int64_t>(kChannels);
      for (std::size_t channel = 0; channel < kChannels; ++channel) {
        sums[channel] += static_cast<float>(pixel[channel]) * weight;
      }
    });
    values = std::copy(sums.begin(), sums.end(), values);
  }
}

/// As HeldColumns.
struct ShrunkColumns {
  std::vector<Cover> covers;
  std::vector<float> row;   ///< an old one with its new width
  std::vector<float> sums;  ///< of those that a new one covers
};

void add_row(const std::vector<float>& row, float weight, std::vector<float>& sums) {
  for (std::size_t x = 0; x < row.size(); ++x) sums[x] += weight * row[x];
}

/// \param first, count of the columns of the region
void shrink_columns(Rows& image, const Scaling& scaling, const Region& region, std::int64_t first,
                    std::int64_t count, ShrunkColumns& held, Image& result) {
  auto& [columns, row, sums] = held;
  columns.clear();
  for (std::int64_t i = first; i < first + count; ++i) {
    columns.push_back(cover_of(image.width, scaling.width, region.left + i));
  }
  const std::int64_t channels = result.channels;
  const auto shrink_one = channels == 3 ? shrink_row<3> : shrink_row<1>;
  row.resize(columns.size() * static_cast<std::size_t>(channels));
  InterruptionPoint point;
  for (std::int64_t i = 0; i < result.height; ++i) {
    sums.assign(row.size(), 0.0F);
    cover_of(image.height, scaling.height, region.top + i).each([&](std::int64_t y, float of_row) {
      point.did(static_cast<std::size_t>(image.width * image.channels));
      shrink_one(image.row(y), held.covers, held.row.data());
      add_row(held.row, of_row, held.sums);
    });
    std::uint8_t* const target = result.pixels.data() + (i * result.width + first) * channels;
    std::transform(sums.begin(), sums.end(), target, to_level);
  }
}

Image resize_area(Rows& image, const Scaling& scaling, const Region& region) {
  if (ratio(image.height, scaling.height) < 1 || ratio(image.width, scaling.width) < 1) {
    return resize_taps<2>(image, scaling, region);
  }
  const std::int64_t rows = whole_ratio(image.height, scaling.height);
  const std::int64_t columns = whole_ratio(image.width, scaling.width);
  if (rows > 0 && columns > 0) return mean_of_blocks(image, rows, columns, region);
  Image result = filled_image(region.height, region.width, image.channels);
  ShrunkColumns held;
  each_part(region.width, [&](std::int64_t first, std::int64_t count) {
    shrink_columns(image, scaling, region, first, count, held, result);
  });
  return result;
}

}  // namespace

Image resize_as_opencv(Rows& image, const Scaling& scaling, const Region& region) {
  switch (scaling.interpolation) {
    case Interpolation::Nearest:
      return pick(image,
                  nearest_of(image.height, scaling.height, region.top, region.height,
                             scaling.turn.from_bottom),
                  nearest_of(image.width, scaling.width, region.left, region.width,
                             scaling.turn.from_right));
    case Interpolation::Bicubic:
      return resize_taps<4>(image, scaling, region);
    case Interpolation::Area:
      return resize_area(image, scaling, region);
    case Interpolation::Bilinear:
    case Interpolation::Lanczos:  // is Pillow's only (description.cc)
      break;
  }
  // Exactly half is the mean of four pixels.
  if (image.height == 2 * scaling.height && image.width == 2 * scaling.width) {
    return mean_of_blocks(image, 2, 2, region);
  }
  return resize_taps<2>(image, scaling, region);
}

}  // namespace lenet

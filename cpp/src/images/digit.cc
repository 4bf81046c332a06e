#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "images/steps.h"

// The steps in comments are those of cpp/src/images/digit.md.
namespace lenet {
namespace {

using Integer = std::int64_t;
/// Of a grid. None is above 255 * 2 * (2 * kWork)^2, in step 9.
using Value = std::int32_t;

constexpr Integer kWork = 256;  // longer side, in pixels, at which the digit is looked for
constexpr Value kLevels = 256;

/// Numbers in rows and columns; as a mask, 1 where something holds and else 0.
struct Grid {
  Integer height = 0;
  Integer width = 0;
  std::vector<Value> values;

  /// Zeros.
  Grid(Integer rows, Integer columns)
      : height(rows), width(columns), values(static_cast<std::size_t>(rows * columns)) {}
  /// \param value_at takes row and column
  template <typename ValueAt>
  Grid(Integer rows, Integer columns, const ValueAt& value_at) : Grid(rows, columns) {
    each([&](Integer y, Integer x) { at(y, x) = value_at(y, x); });
  }

  template <typename Action>
  void each(const Action& action) const {
    for (Integer y = 0; y < height; ++y) {
      for (Integer x = 0; x < width; ++x) action(y, x);
    }
  }
  Value& at(Integer y, Integer x) { return values[static_cast<std::size_t>(y * width + x)]; }
  const Value& at(Integer y, Integer x) const {
    return values[static_cast<std::size_t>(y * width + x)];
  }
  Value at_or_0(Integer y, Integer x) const {
    return y >= 0 && y < height && x >= 0 && x < width ? at(y, x) : 0;
  }
};

template <typename Function>
Grid mapped(Grid grid, const Function& function) {
  std::transform(grid.values.begin(), grid.values.end(), grid.values.begin(), function);
  return grid;
}

[[noreturn]] void no_digit() {
  throw Error(ErrorCode::BadInput,
              "found no digit: nothing stands out from the background; write it larger or take the "
              "photo nearer, in better light");
}

/// a / b, rounded down also below zero; b > 0.
Integer floor_divide(Integer a, Integer b) { return a / b - (a % b < 0 ? 1 : 0); }

/// a / b, rounded to the nearest, halves up; b > 0.
Integer divide(Integer a, Integer b) { return floor_divide(2 * a + b, 2 * b); }

/// The same for many numbers by one divisor: exact without a division for each of them.
class Divisor {
 public:
  explicit Divisor(Integer b)
      : half_(static_cast<double>(b) / 2), inverse_(1 / static_cast<double>(b)) {}
  /// \param a an integer, of at most 2^40, whose quotient is above -1024 and below 2^20
  Value round(double a) const {
    // A multiple of 1/2, to which 1/4 is added, stays 1 / (4 b) from the next integer or farther
    // when it is divided by b, and rounding errors are smaller than that.
    return static_cast<Value>((a + half_ + 0.25) * inverse_ + 1024) - 1024;
  }

 private:
  double half_;
  double inverse_;
};

/// Counts small integers, which orders them in linear time.
class Histogram {
 public:
  /// \param value of a pixel less two levels between those of pixels: from -510 to 510
  void add(Value value) {
    ++counts_[static_cast<std::size_t>(value + kLargest)];
    ++total_;
  }
  /// Of at least one value, in ascending order, the one at `quarters` / 4 of the last one's place.
  Value quartile(Integer quarters) const {
    Integer before = (total_ - 1) * quarters / 4;
    std::size_t bin = 0;
    for (; before >= counts_[bin]; ++bin) before -= counts_[bin];
    return static_cast<Value>(bin) - kLargest;
  }

 private:
  static constexpr Value kLargest = 2 * (kLevels - 1);
  std::array<Integer, 2 * kLargest + 1> counts_{};
  Integer total_ = 0;
};

Value median_magnitude(const Grid& grid) {
  Histogram magnitudes;
  for (const Value value : grid.values) magnitudes.add(std::abs(value));
  return magnitudes.quartile(2);
}

/// Step 1.
bool is_mnist(const ImageView& image, Integer size) {
  if (image.height != size || image.width != size) return false;
  Integer ring = 0;
  for (Integer y = 0; y < size; ++y) {
    for (Integer x = 0; x < size; ++x) {
      const bool edge = y == 0 || y == size - 1 || x == 0 || x == size - 1;
      if (edge) ring += row_of(image, y)[x];
    }
  }
  return ring < 64 * (4 * size - 4);
}

/// Step 2.
Grid reduced(const ImageView& image) {
  const Integer factor = (std::max(image.height, image.width) + kWork - 1) / kWork;
  const Integer rows = std::min(factor, image.height);
  const Integer columns = std::min(factor, image.width);
  Grid result(image.height / rows, image.width / columns);
  const Divisor pixels_of_block(rows * columns);
  // At most 255 * kMaxImagePixels / kWork.
  std::vector<std::uint32_t> sums(static_cast<std::size_t>(result.width * columns));
  for (Integer y = 0; y < result.height; ++y) {
    std::fill(sums.begin(), sums.end(), 0);
    for (Integer row = y * rows; row < (y + 1) * rows; ++row) {
      const std::uint8_t* const pixels = row_of(image, row);
      for (std::size_t x = 0; x < sums.size(); ++x) sums[x] += pixels[x];
    }
    auto sum = sums.begin();
    for (Integer x = 0; x < result.width; ++x, sum += columns) {
      const Integer total = std::accumulate(sum, sum + columns, Integer{0});
      result.at(y, x) = pixels_of_block.round(static_cast<double>(total));
    }
  }
  return result;
}

/// One axis of step 3: its nodes, their windows, and the cuts at which windows begin or end. What
/// lies between two cuts is counted once for all the windows that hold it.
struct Axis {
  Integer length;
  Integer nodes;
  Integer spacing;
  std::vector<Integer> cuts;
  std::vector<std::pair<std::size_t, std::size_t>> windows;  ///< the cuts of each node's window

  Axis(Integer size, Integer count, Integer part)
      : length(size), nodes(count), spacing(std::max<Integer>(1, size - 1)) {
    const Integer reach = length / part;
    const auto begin_of = [&](Integer center) { return std::max<Integer>(0, center - reach); };
    const auto end_of = [&](Integer center) { return std::min(length, center + reach + 1); };
    for (Integer node = 0; node < nodes; ++node) {
      cuts.push_back(begin_of(center_of(node)));
      cuts.push_back(end_of(center_of(node)));
    }
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    for (Integer node = 0; node < nodes; ++node) {
      windows.emplace_back(number_of(begin_of(center_of(node))),
                           number_of(end_of(center_of(node))));
    }
  }
  std::size_t segments() const { return cuts.size() - 1; }
  /// The first of the two nodes between which a pixel lies.
  Integer node_before(Integer at) const { return std::min(at * (nodes - 1) / spacing, nodes - 2); }
  /// `spacing` times the value of a pixel between those of its two nodes.
  Integer between(Integer at, Integer first, Integer second) const {
    return spacing * first + (at * (nodes - 1) - node_before(at) * spacing) * (second - first);
  }

 private:
  Integer center_of(Integer node) const { return node * (length - 1) / (nodes - 1); }
  std::size_t number_of(Integer cut) const {
    return static_cast<std::size_t>(std::lower_bound(cuts.begin(), cuts.end(), cut) - cuts.begin());
  }
};

/// Step 3: the medians of the values from `low` to `high` in the windows of all nodes.
Grid medians(const Grid& grid, const Axis& rows, const Axis& columns, Value low, Value high) {
  const auto bins = static_cast<std::size_t>(high - low + 1);
  std::vector<std::uint32_t> counts(rows.segments() * columns.segments() * bins);
  for (std::size_t i = 0; i < rows.segments(); ++i) {
    for (Integer y = rows.cuts[i]; y < rows.cuts[i + 1]; ++y) {
      std::uint32_t* counted = &counts[i * columns.segments() * bins];
      for (std::size_t j = 0; j < columns.segments(); ++j, counted += bins) {
        for (Integer x = columns.cuts[j]; x < columns.cuts[j + 1]; ++x) {
          const auto bin = static_cast<std::size_t>(Integer{grid.at(y, x)} - low);
          if (bin < bins) ++counted[bin];  // one below `low` wraps to a great number
        }
      }
    }
  }
  std::vector<std::uint32_t> sum(bins);
  return Grid(rows.nodes, columns.nodes, [&](Integer node_y, Integer node_x) -> Value {
    const auto [top, bottom] = rows.windows[static_cast<std::size_t>(node_y)];
    const auto [left, right] = columns.windows[static_cast<std::size_t>(node_x)];
    std::fill(sum.begin(), sum.end(), 0);
    for (std::size_t i = top; i < bottom; ++i) {
      for (std::size_t j = left; j < right; ++j) {
        const std::uint32_t* const counted = &counts[(i * columns.segments() + j) * bins];
        for (std::size_t bin = 0; bin < bins; ++bin) sum[bin] += counted[bin];
      }
    }
    const std::uint32_t total = std::accumulate(sum.begin(), sum.end(), std::uint32_t{0});
    if (total == 0) return 0;
    std::uint32_t before = (total - 1) / 2;
    std::size_t bin = 0;
    for (; before >= sum[bin]; ++bin) before -= sum[bin];
    return low + static_cast<Value>(bin);
  });
}

/// Step 3: subtracts a level, of the values from `low` to `high`.
void subtract_level(Grid& grid, Integer nodes, Integer part, Value low, Value high) {
  const Axis rows(grid.height, nodes, part);
  const Axis columns(grid.width, nodes, part);
  const Grid level = medians(grid, rows, columns, low, high);
  const Divisor whole(rows.spacing * columns.spacing);
  std::vector<Integer> starts;  // from each to the next, a row grows by the same in each pixel
  for (Integer x = 0; x < grid.width; ++x) {
    if (x == 0 || columns.node_before(x) != columns.node_before(x - 1)) starts.push_back(x);
  }
  starts.push_back(grid.width);
  for (Integer y = 0; y < grid.height; ++y) {
    const Integer above = rows.node_before(y);
    const auto at_node = [&](Integer node) {
      return rows.between(y, level.at(above, node), level.at(above + 1, node));
    };
    for (std::size_t i = 0; i + 1 < starts.size(); ++i) {
      const Integer node = columns.node_before(starts[i]);
      const Integer first = at_node(node);
      const Integer second = at_node(node + 1);
      const auto begin = static_cast<Value>(columns.between(starts[i], first, second));
      const auto growth = static_cast<Value>((second - first) * (columns.nodes - 1));
      Value* const values = &grid.at(y, starts[i]);
      const auto count = static_cast<Value>(starts[i + 1] - starts[i]);
      for (Value x = 0; x < count; ++x) values[x] -= whole.round(begin + growth * x);
    }
  }
}

/// Step 3.
Grid without_background(Grid grid) {
  subtract_level(grid, 5, 4, 0, kLevels - 1);
  const Value most = std::clamp<Value>(3 * median_magnitude(grid), 8, 2 * (kLevels - 1));
  subtract_level(grid, 9, 8, -most, most);
  return grid;
}

/// Step 4: how much each pixel stands out, 0 to 255.
Grid strength_of(Grid residual, Value noise) {
  const Value least = 2 * std::max(1, noise);
  Value sum = 0;
  for (const Value value : residual.values) sum += std::abs(value) > least ? value : 0;
  const Value sign = sum <= 0 ? -1 : 1;
  return mapped(std::move(residual), [&](Value value) {
    const Value strength = sign * value;
    return strength <= 2 * noise ? 0 : std::min(strength, kLevels - 1);
  });
}

/// Step 4: Otsu's threshold.
Grid ink_of(const Grid& strength) {
  std::array<Integer, kLevels> counts{};
  for (const Value value : strength.values) {
    if (value > 0) ++counts[static_cast<std::size_t>(value)];  // the zeros are many
  }
  const auto total = static_cast<Integer>(strength.values.size());
  counts[0] = total - std::accumulate(counts.begin(), counts.end(), Integer{0});
  const Integer whole = std::accumulate(strength.values.begin(), strength.values.end(), Integer{0});
  Value threshold = -1;
  double greatest = 0;
  Integer below = 0;
  Integer sum = 0;
  for (Value t = 0; t < kLevels - 1; ++t) {
    below += counts[static_cast<std::size_t>(t)];
    sum += counts[static_cast<std::size_t>(t)] * t;
    const Integer above = total - below;
    if (below == 0 || above == 0) continue;
    const auto difference = static_cast<double>(whole * below - total * sum);
    const double between =
        difference * difference / (static_cast<double>(below) * static_cast<double>(above));
    if (threshold < 0 || between > greatest) {
      threshold = t;
      greatest = between;
    }
  }
  if (threshold < 0) no_digit();
  return mapped(strength, [&](Value value) { return Value{value > threshold}; });
}

/// Pixels that hang together, and how many of them lie on the image's edge.
struct Part {
  std::vector<std::pair<Integer, Integer>> pixels;
  Integer on_edge = 0;
};

std::vector<Part> connected(Grid ink) {
  std::vector<Part> parts;
  const auto take = [&](Integer y, Integer x, Part& part) {
    ink.at(y, x) = 0;
    part.pixels.emplace_back(y, x);
    part.on_edge += y == 0 || y == ink.height - 1 || x == 0 || x == ink.width - 1;
  };
  ink.each([&](Integer first_y, Integer first_x) {
    if (ink.at(first_y, first_x) == 0) return;
    Part& part = parts.emplace_back();
    take(first_y, first_x, part);
    for (std::size_t i = 0; i < part.pixels.size(); ++i) {
      const auto [at_y, at_x] = part.pixels[i];
      const Integer bottom = std::min(at_y + 2, ink.height);
      const Integer right = std::min(at_x + 2, ink.width);
      for (Integer y = std::max<Integer>(0, at_y - 1); y < bottom; ++y) {
        for (Integer x = std::max<Integer>(0, at_x - 1); x < right; ++x) {
          if (ink.at(y, x) != 0) take(y, x, part);
        }
      }
    }
  });
  return parts;
}

/// Drops parts of less than 1 / `share` of the greatest one's pixels.
void drop_small(std::vector<Part>& parts, std::size_t share) {
  std::size_t greatest = 0;
  for (const Part& part : parts) greatest = std::max(greatest, part.pixels.size());
  const auto is_small = [&](const Part& part) { return share * part.pixels.size() < greatest; };
  parts.erase(std::remove_if(parts.begin(), parts.end(), is_small), parts.end());
}

/// Step 5.
Grid without_specks(const Grid& ink) {
  std::vector<Part> parts = connected(ink);
  drop_small(parts, 64);
  const Integer ring = 2 * (ink.height + ink.width) - 4;
  const auto within = std::stable_partition(
      parts.begin(), parts.end(), [ring](const Part& part) { return 16 * part.on_edge <= ring; });
  if (within != parts.begin()) parts.erase(within, parts.end());
  drop_small(parts, 16);
  Grid kept(ink.height, ink.width);
  for (const Part& part : parts) {
    for (const auto& [y, x] : part.pixels) kept.at(y, x) = 1;
  }
  return kept;
}

Grid transposed(const Grid& grid) {
  return Grid(grid.width, grid.height, [&](Integer y, Integer x) { return grid.at(x, y); });
}

/// The greatest of the values, which are not negative, within `reach` rows and columns of each.
Grid greatest_within(const Grid& grid, Integer reach) {
  const auto raise = [](Value* to, const Value* from, Integer count) {
    for (Integer i = 0; i < count; ++i) to[i] = std::max(to[i], from[i]);
  };
  Grid of_rows = grid;
  for (Integer y = 0; y < grid.height; ++y) {
    for (Integer by = 1; by <= std::min(reach, grid.width - 1); ++by) {
      raise(&of_rows.at(y, 0), &grid.at(y, by), grid.width - by);
      raise(&of_rows.at(y, by), &grid.at(y, 0), grid.width - by);
    }
  }
  Grid result = of_rows;
  for (Integer y = 0; y < grid.height; ++y) {
    const Integer end = std::min(grid.height, y + reach + 1);
    for (Integer other = std::max<Integer>(0, y - reach); other < end; ++other) {
      raise(&result.at(y, 0), &of_rows.at(other, 0), grid.width);
    }
  }
  return result;
}

/// Step 6.
Grid ink_values(const Grid& strength, const Grid& ink, Value noise) {
  Histogram inside;
  ink.each([&](Integer y, Integer x) {
    if (ink.at(y, x) != 0) inside.add(strength.at(y, x));
  });
  const Value top = inside.quartile(3);
  if (top < std::max(12, 4 * noise)) no_digit();
  const Value low = top / 4;
  std::array<Value, kLevels> stretched{};
  for (Value value = low; value < kLevels; ++value) {
    stretched[static_cast<std::size_t>(value)] = std::min((value - low) * 255 / (top - low), 255);
  }
  const Grid near = greatest_within(ink, 1);
  return Grid(ink.height, ink.width, [&](Integer y, Integer x) {
    return near.at(y, x) == 0 ? 0 : stretched[static_cast<std::size_t>(strength.at(y, x))];
  });
}

struct Box {
  Integer top;
  Integer left;
  Integer height;
  Integer width;
};

/// Step 7: where the digit is.
Box extent(const Grid& values) {
  constexpr Integer kSeen = 32;
  Integer top = values.height;
  Integer left = values.width;
  Integer bottom = -1;
  Integer right = -1;
  values.each([&](Integer y, Integer x) {
    if (values.at(y, x) < kSeen) return;
    top = std::min(top, y);
    bottom = std::max(bottom, y);
    left = std::min(left, x);
    right = std::max(right, x);
  });
  return {top, left, bottom - top + 1, right - left + 1};
}

Grid cropped(const Grid& grid, const Box& box) {
  return Grid(box.height, box.width,
              [&](Integer y, Integer x) { return grid.at(box.top + y, box.left + x); });
}

/// Step 8.
Grid thickened(const Grid& values, const Grid& ink) {
  Integer area = 0;
  Integer sides = 0;
  ink.each([&](Integer y, Integer x) {
    if (ink.at(y, x) == 0) return;
    ++area;
    sides += 4 - ink.at_or_0(y - 1, x) - ink.at_or_0(y + 1, x) - ink.at_or_0(y, x - 1) -
             ink.at_or_0(y, x + 1);
  });
  const Integer longer = std::max(values.height, values.width);
  const Integer reach = floor_divide(longer * sides - 20 * area + 10 * sides, 20 * sides);
  if (reach <= 0) return values;
  const Grid with_border(
      values.height + 2 * reach, values.width + 2 * reach,
      [&](Integer y, Integer x) { return values.at_or_0(y - reach, x - reach); });
  return greatest_within(with_border, reach);
}

/// The rows of step 9, each multiplied by the old height.
Grid with_height(const Grid& values, Integer height) {
  Grid result(height, values.width);
  for (Integer i = 0; i < height; ++i) {
    for (Integer y = i * values.height / height; y < values.height; ++y) {
      // How much of the old row lies in the new one, in units of 1 / (height * values.height).
      const auto weight = static_cast<Value>(std::min((i + 1) * values.height, (y + 1) * height) -
                                             std::max(i * values.height, y * height));
      if (weight <= 0) break;
      for (Integer x = 0; x < values.width; ++x) result.at(i, x) += weight * values.at(y, x);
    }
  }
  return result;
}

/// Step 9.
Grid scaled(const Grid& values, Integer box) {
  const Integer longer = std::max(values.height, values.width);
  const Integer height = std::max<Integer>(1, divide(values.height * box, longer));
  const Integer width = std::max<Integer>(1, divide(values.width * box, longer));
  Grid sums = transposed(with_height(transposed(with_height(values, height)), width));
  const Divisor whole(values.height * values.width);
  return mapped(std::move(sums), [&](Value sum) { return whole.round(sum); });
}

/// Step 10.
Image centred(const Grid& values, Integer size) {
  Integer total = 0;
  Integer rows = 0;
  Integer columns = 0;
  values.each([&](Integer y, Integer x) {
    total += values.at(y, x);
    rows += values.at(y, x) * y;
    columns += values.at(y, x) * x;
  });
  if (total == 0) no_digit();
  const auto corner = [&](Integer moment, Integer length) {
    return std::clamp<Integer>(divide(size / 2 * total - moment, total), 0, size - length);
  };
  const Integer top = corner(rows, values.height);
  const Integer left = corner(columns, values.width);
  const Grid result(size, size,
                    [&](Integer y, Integer x) { return values.at_or_0(y - top, x - left); });
  return {{result.values.begin(), result.values.end()}, size, size, 1};
}

}  // namespace

Image find_digit(const Digit& step, const ImageView& image) {
  if (is_mnist(image, step.size)) return copy_of(image);
  const Grid residual = without_background(reduced(image));
  const Value noise = median_magnitude(residual);
  const Grid strength = strength_of(residual, noise);
  const Grid ink = without_specks(ink_of(strength));
  const Grid values = ink_values(strength, ink, noise);
  const Box box = extent(values);
  return centred(scaled(thickened(cropped(values, box), cropped(ink, box)), step.box), step.size);
}

}  // namespace lenet

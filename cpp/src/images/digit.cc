#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "images/steps.h"

// The steps in comments are those of docs/digit.md.
namespace lenet {
namespace {

using Integer = std::int64_t;

constexpr Integer kWork = 256;  // longer side, in pixels, at which the digit is looked for
constexpr Integer kLevels = 256;

/// Numbers in rows and columns; as a mask, 1 where something holds and else 0.
struct Grid {
  Integer height = 0;
  Integer width = 0;
  std::vector<Integer> values;

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
  Integer& at(Integer y, Integer x) { return values[static_cast<std::size_t>(y * width + x)]; }
  const Integer& at(Integer y, Integer x) const {
    return values[static_cast<std::size_t>(y * width + x)];
  }
  Integer at_or_0(Integer y, Integer x) const {
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

/// a / b, rounded down also below zero; b > 0. A quotient of doubles, which takes less time than
/// one of integers, is never rounded up to the next integer while |a| < 2^53.
Integer floor_divide(Integer a, Integer b) {
  const double quotient = static_cast<double>(a) / static_cast<double>(b);
  const auto truncated = static_cast<Integer>(quotient);
  return truncated - (quotient < static_cast<double>(truncated) ? 1 : 0);
}

/// a / b, rounded to the nearest, halves up; b > 0.
Integer divide(Integer a, Integer b) { return floor_divide(2 * a + b, 2 * b); }

/// Counts small integers, which orders them in linear time.
class Histogram {
 public:
  /// \param value of a pixel less two levels between those of pixels: from -510 to 510
  void add(Integer value) {
    ++counts_[static_cast<std::size_t>(value + kLargest)];
    ++total_;
  }
  bool empty() const { return total_ == 0; }
  /// Of at least one value, in ascending order, the one at `quarters` / 4 of the last one's place.
  Integer quartile(Integer quarters) const {
    Integer before = (total_ - 1) * quarters / 4;
    std::size_t bin = 0;
    for (; before >= counts_[bin]; ++bin) before -= counts_[bin];
    return static_cast<Integer>(bin) - kLargest;
  }

 private:
  static constexpr Integer kLargest = 2 * (kLevels - 1);
  std::array<Integer, 2 * kLargest + 1> counts_{};
  Integer total_ = 0;
};

Integer median_magnitude(const Grid& grid) {
  Histogram magnitudes;
  for (const Integer value : grid.values) magnitudes.add(std::abs(value));
  return magnitudes.quartile(2);
}

/// Step 1.
bool is_mnist(const Image& image, Integer size) {
  if (image.height != size || image.width != size) return false;
  Integer ring = 0;
  for (Integer y = 0; y < size; ++y) {
    for (Integer x = 0; x < size; ++x) {
      const bool edge = y == 0 || y == size - 1 || x == 0 || x == size - 1;
      if (edge) ring += image.pixels[static_cast<std::size_t>(y * size + x)];
    }
  }
  return ring < 64 * (4 * size - 4);
}

/// Step 2.
Grid reduced(const Image& image) {
  const Integer factor = (std::max(image.height, image.width) + kWork - 1) / kWork;
  const Integer rows = std::min(factor, image.height);
  const Integer columns = std::min(factor, image.width);
  Grid sums(image.height / rows, image.width / columns);
  for (Integer y = 0; y < sums.height * rows; ++y) {
    auto pixel = image.pixels.begin() + y * image.width;
    Integer* const sums_of_row = &sums.at(y / rows, 0);
    for (Integer x = 0; x < sums.width; ++x, pixel += columns) {
      sums_of_row[x] += std::accumulate(pixel, pixel + columns, Integer{0});
    }
  }
  return mapped(sums, [&](Integer sum) { return divide(sum, rows * columns); });
}

/// Along one axis of step 3, between which nodes a pixel lies, and how far from the first of them.
struct Place {
  Integer node;
  Integer rest;
  Integer spacing;

  Place(Integer at, Integer length, Integer nodes) : spacing(std::max<Integer>(1, length - 1)) {
    node = std::min(at * (nodes - 1) / spacing, nodes - 2);
    rest = at * (nodes - 1) - node * spacing;
  }
  /// `spacing` times the value between those of the two nodes.
  Integer between(Integer first, Integer second) const {
    return (spacing - rest) * first + rest * second;
  }
};

/// Step 3: subtracts a level.
Grid without_level(const Grid& grid, Integer nodes, Integer part, const Grid& keep) {
  const auto window = [&](Integer node, Integer length) {  // from the first to behind the last
    const Integer center = node * (length - 1) / (nodes - 1);
    const Integer reach = length / part;
    return std::pair(std::max<Integer>(0, center - reach), std::min(length, center + reach + 1));
  };
  const Grid medians(nodes, nodes, [&](Integer i, Integer j) {
    const auto [top, bottom] = window(i, grid.height);
    const auto [left, right] = window(j, grid.width);
    Histogram kept;
    for (Integer y = top; y < bottom; ++y) {
      for (Integer x = left; x < right; ++x) {
        if (keep.at(y, x) != 0) kept.add(grid.at(y, x));
      }
    }
    return kept.empty() ? 0 : kept.quartile(2);
  });
  std::vector<Place> columns;
  for (Integer x = 0; x < grid.width; ++x) columns.emplace_back(x, grid.width, nodes);
  Grid result = grid;
  for (Integer y = 0; y < grid.height; ++y) {
    const Place row(y, grid.height, nodes);
    for (Integer x = 0; x < grid.width; ++x) {
      const Place& column = columns[static_cast<std::size_t>(x)];
      const auto along = [&](Integer node) {
        return column.between(medians.at(node, column.node), medians.at(node, column.node + 1));
      };
      result.at(y, x) -=
          divide(row.between(along(row.node), along(row.node + 1)), row.spacing * column.spacing);
    }
  }
  return result;
}

/// Step 3.
Grid without_background(const Grid& grid) {
  const Grid all(grid.height, grid.width, [](Integer, Integer) { return 1; });
  const Grid even = without_level(grid, 5, 4, all);
  const Integer most = std::max<Integer>(8, 3 * median_magnitude(even));
  const auto is_paper = [&](Integer value) { return Integer{std::abs(value) <= most}; };
  return without_level(even, 9, 8, mapped(even, is_paper));
}

/// Step 4: how much each pixel stands out, 0 to 255.
Grid strength_of(const Grid& residual, Integer noise) {
  Integer sum = 0;
  for (const Integer value : residual.values) {
    if (std::abs(value) > 2 * std::max<Integer>(1, noise)) sum += value;
  }
  return mapped(residual, [&](Integer value) {
    const Integer strength = sum <= 0 ? -value : value;
    return strength <= 2 * noise ? 0 : std::min(strength, kLevels - 1);
  });
}

/// Step 4: Otsu's threshold.
Grid ink_of(const Grid& strength) {
  std::array<Integer, kLevels> counts{};
  for (const Integer value : strength.values) ++counts[static_cast<std::size_t>(value)];
  const auto total = static_cast<Integer>(strength.values.size());
  const Integer whole = std::accumulate(strength.values.begin(), strength.values.end(), Integer{0});
  Integer threshold = -1;
  double greatest = 0;
  Integer below = 0;
  Integer sum = 0;
  for (Integer t = 0; t < kLevels - 1; ++t) {
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
  return mapped(strength, [&](Integer value) { return Integer{value > threshold}; });
}

/// Pixels that hang together, and how many of them lie on the image's edge.
struct Part {
  std::vector<std::pair<Integer, Integer>> pixels;
  Integer on_edge = 0;
};

std::vector<Part> connected(Grid ink) {
  std::vector<Part> parts;
  const auto take = [&](Integer y, Integer x, Part& part) {
    if (ink.at_or_0(y, x) == 0) return;
    ink.at(y, x) = 0;
    part.pixels.emplace_back(y, x);
    part.on_edge += y == 0 || y == ink.height - 1 || x == 0 || x == ink.width - 1;
  };
  ink.each([&](Integer first_y, Integer first_x) {
    if (ink.at(first_y, first_x) == 0) return;
    Part& part = parts.emplace_back();
    take(first_y, first_x, part);
    for (std::size_t i = 0; i < part.pixels.size(); ++i) {
      const auto [y, x] = part.pixels[i];
      for (Integer dy = -1; dy <= 1; ++dy) {
        for (Integer dx = -1; dx <= 1; ++dx) take(y + dy, x + dx, part);
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

/// The greatest of the values within `reach` columns of each.
Grid greatest_in_row(const Grid& grid, Integer reach) {
  return Grid(grid.height, grid.width, [&](Integer y, Integer x) {
    const Integer* row = &grid.at(y, 0);
    return *std::max_element(row + std::max<Integer>(0, x - reach),
                             row + std::min(grid.width, x + reach + 1));
  });
}

/// The greatest of the values within `reach` rows and columns of each.
Grid greatest_within(const Grid& grid, Integer reach) {
  return transposed(greatest_in_row(transposed(greatest_in_row(grid, reach)), reach));
}

/// Step 6.
Grid ink_values(const Grid& strength, const Grid& ink, Integer noise) {
  Histogram inside;
  ink.each([&](Integer y, Integer x) {
    if (ink.at(y, x) != 0) inside.add(strength.at(y, x));
  });
  const Integer top = inside.quartile(3);
  if (top < std::max<Integer>(12, 4 * noise)) no_digit();
  const Integer low = top / 4;
  const Grid near = greatest_within(ink, 1);
  return Grid(ink.height, ink.width, [&](Integer y, Integer x) {
    const Integer stretched = floor_divide((strength.at(y, x) - low) * 255, top - low);
    return near.at(y, x) == 0 ? 0 : std::clamp<Integer>(stretched, 0, 255);
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
      const Integer weight = std::min((i + 1) * values.height, (y + 1) * height) -
                             std::max(i * values.height, y * height);
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
  const Grid sums = transposed(with_height(transposed(with_height(values, height)), width));
  return mapped(sums, [&](Integer sum) { return divide(sum, values.height * values.width); });
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

Image find_digit(const Digit& step, const Image& image) {
  if (is_mnist(image, step.size)) return image;
  const Grid residual = without_background(reduced(image));
  const Integer noise = median_magnitude(residual);
  const Grid strength = strength_of(residual, noise);
  const Grid ink = without_specks(ink_of(strength));
  const Grid values = ink_values(strength, ink, noise);
  const Box box = extent(values);
  return centred(scaled(thickened(cropped(values, box), cropped(ink, box)), step.box), step.size);
}

}  // namespace lenet

#include <algorithm>
#include <array>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "images/steps.h"

// The steps in comments are those of docs/digit.md.
namespace lenet {
namespace {

constexpr std::int64_t kWork = 256;  // longer side, in pixels, at which the digit is looked for
constexpr std::int64_t kLevels = 256;

/// Numbers in rows and columns.
template <typename T>
struct Plane {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<T> values;

  Plane(std::int64_t rows, std::int64_t columns, T value = {})
      : height(rows), width(columns), values(static_cast<std::size_t>(rows * columns), value) {}

  T& at(std::int64_t y, std::int64_t x) { return values[static_cast<std::size_t>(y * width + x)]; }
  const T& at(std::int64_t y, std::int64_t x) const {
    return values[static_cast<std::size_t>(y * width + x)];
  }
  bool has(std::int64_t y, std::int64_t x) const {
    return y >= 0 && y < height && x >= 0 && x < width;
  }
};

using Grid = Plane<std::int64_t>;
using Mask = Plane<char>;

[[noreturn]] void no_digit() {
  throw Error(ErrorCode::BadInput,
              "found no digit: nothing stands out from the background; write it larger or take the "
              "photo nearer, in better light");
}

/// a / b, rounded down also below zero; b > 0.
std::int64_t floor_divide(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

/// a / b, rounded to the nearest, halves up; b > 0.
std::int64_t divide(std::int64_t a, std::int64_t b) { return floor_divide(2 * a + b, 2 * b); }

/// The lower median of at least one value.
std::int64_t median(std::vector<std::int64_t> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::vector<std::int64_t> magnitudes(const Grid& grid) {
  std::vector<std::int64_t> result;
  for (const std::int64_t value : grid.values) result.push_back(std::abs(value));
  return result;
}

/// Step 1.
bool is_mnist(const Image& image, std::int64_t size) {
  if (image.height != size || image.width != size) return false;
  std::int64_t ring = 0;
  for (std::int64_t y = 0; y < size; ++y) {
    const bool edge = y == 0 || y == size - 1;
    for (std::int64_t x = 0; x < size; x += edge ? 1 : size - 1) {
      ring += image.pixels[static_cast<std::size_t>(y * size + x)];
    }
  }
  return ring < 64 * (4 * size - 4);
}

/// Step 2.
Grid reduced(const Image& image) {
  const std::int64_t factor = (std::max(image.height, image.width) + kWork - 1) / kWork;
  const std::int64_t rows = std::min(factor, image.height);
  const std::int64_t columns = std::min(factor, image.width);
  Grid grid(image.height / rows, image.width / columns);
  for (std::int64_t y = 0; y < grid.height * rows; ++y) {
    const auto row = image.pixels.begin() + y * image.width;
    for (std::int64_t x = 0; x < grid.width * columns; ++x) {
      grid.at(y / rows, x / columns) += row[x];
    }
  }
  for (std::int64_t& value : grid.values) value = divide(value, rows * columns);
  return grid;
}

/// The surface of step 3.
class Level {
 public:
  Level(const Grid& values, std::int64_t nodes, std::int64_t part, const Mask& keep)
      : nodes_(nodes), height_(values.height), width_(values.width), medians_(nodes, nodes) {
    for (std::int64_t i = 0; i < nodes; ++i) {
      const auto rows = window(i, height_, part);
      for (std::int64_t j = 0; j < nodes; ++j) {
        medians_.at(i, j) = median_of(values, keep, rows, window(j, width_, part));
      }
    }
  }

  std::int64_t at(std::int64_t y, std::int64_t x) const {
    const Place row = place(y, height_);
    const Place column = place(x, width_);
    const std::int64_t upper = (column.spacing - column.rest) * medians_.at(row.node, column.node) +
                               column.rest * medians_.at(row.node, column.node + 1);
    const std::int64_t lower =
        (column.spacing - column.rest) * medians_.at(row.node + 1, column.node) +
        column.rest * medians_.at(row.node + 1, column.node + 1);
    return divide((row.spacing - row.rest) * upper + row.rest * lower,
                  row.spacing * column.spacing);
  }

 private:
  /// Between which nodes a row or column lies, and how far from the first of them.
  struct Place {
    std::int64_t node;
    std::int64_t rest;
    std::int64_t spacing;
  };
  using Range = std::pair<std::int64_t, std::int64_t>;  ///< from the first to behind the last

  Range window(std::int64_t node, std::int64_t length, std::int64_t part) const {
    const std::int64_t center = node * (length - 1) / (nodes_ - 1);
    const std::int64_t reach = length / part;
    return {std::max<std::int64_t>(0, center - reach), std::min(length, center + reach + 1)};
  }

  static std::int64_t median_of(const Grid& values, const Mask& keep, Range rows, Range columns) {
    std::vector<std::int64_t> kept;
    for (std::int64_t y = rows.first; y < rows.second; ++y) {
      for (std::int64_t x = columns.first; x < columns.second; ++x) {
        if (keep.at(y, x) != 0) kept.push_back(values.at(y, x));
      }
    }
    return kept.empty() ? 0 : median(std::move(kept));
  }

  Place place(std::int64_t at, std::int64_t length) const {
    const std::int64_t spacing = std::max<std::int64_t>(1, length - 1);
    const std::int64_t node = std::min(at * (nodes_ - 1) / spacing, nodes_ - 2);
    return {node, at * (nodes_ - 1) - node * spacing, spacing};
  }

  std::int64_t nodes_;
  std::int64_t height_;
  std::int64_t width_;
  Grid medians_;
};

void subtract(Grid& grid, const Level& level) {
  for (std::int64_t y = 0; y < grid.height; ++y) {
    for (std::int64_t x = 0; x < grid.width; ++x) grid.at(y, x) -= level.at(y, x);
  }
}

/// Step 3. \returns the noise.
std::int64_t remove_background(Grid& grid) {
  subtract(grid, Level(grid, 5, 4, Mask(grid.height, grid.width, 1)));
  const std::int64_t most = std::max<std::int64_t>(8, 3 * median(magnitudes(grid)));
  Mask keep(grid.height, grid.width);
  std::transform(grid.values.begin(), grid.values.end(), keep.values.begin(),
                 [most](std::int64_t value) { return std::abs(value) <= most; });
  subtract(grid, Level(grid, 9, 8, keep));
  return median(magnitudes(grid));
}

/// Step 4: how much each pixel stands out, 0 to 255.
void take_strength(Grid& residual, std::int64_t noise) {
  std::int64_t sum = 0;
  for (const std::int64_t value : residual.values) {
    if (std::abs(value) > 2 * std::max<std::int64_t>(1, noise)) sum += value;
  }
  for (std::int64_t& value : residual.values) {
    const std::int64_t strength = sum <= 0 ? -value : value;
    value = strength <= 2 * noise ? 0 : std::min(strength, kLevels - 1);
  }
}

/// Step 4: Otsu's threshold.
Mask ink_of(const Grid& strength) {
  std::array<std::int64_t, kLevels> counts{};
  for (const std::int64_t value : strength.values) ++counts[static_cast<std::size_t>(value)];
  const auto total = static_cast<std::int64_t>(strength.values.size());
  const std::int64_t whole =
      std::accumulate(strength.values.begin(), strength.values.end(), std::int64_t{0});
  std::int64_t threshold = -1;
  double greatest = 0;
  std::int64_t below = 0;
  std::int64_t sum = 0;
  for (std::int64_t t = 0; t < kLevels - 1; ++t) {
    below += counts[static_cast<std::size_t>(t)];
    sum += counts[static_cast<std::size_t>(t)] * t;
    const std::int64_t above = total - below;
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
  Mask ink(strength.height, strength.width);
  std::transform(strength.values.begin(), strength.values.end(), ink.values.begin(),
                 [threshold](std::int64_t value) { return value > threshold; });
  return ink;
}

/// Pixels that hang together, and how many of them lie on the image's edge.
struct Part {
  std::vector<std::pair<std::int64_t, std::int64_t>> pixels;
  std::int64_t on_edge = 0;
};

Part take_part(Mask& todo, std::int64_t y, std::int64_t x) {
  Part part;
  todo.at(y, x) = 0;
  part.pixels.emplace_back(y, x);
  for (std::size_t i = 0; i < part.pixels.size(); ++i) {
    const auto [row, column] = part.pixels[i];
    part.on_edge += row == 0 || row == todo.height - 1 || column == 0 || column == todo.width - 1;
    for (std::int64_t dy = -1; dy <= 1; ++dy) {
      for (std::int64_t dx = -1; dx <= 1; ++dx) {
        if (!todo.has(row + dy, column + dx) || todo.at(row + dy, column + dx) == 0) continue;
        todo.at(row + dy, column + dx) = 0;
        part.pixels.emplace_back(row + dy, column + dx);
      }
    }
  }
  return part;
}

std::vector<Part> connected(Mask ink) {
  std::vector<Part> parts;
  for (std::int64_t y = 0; y < ink.height; ++y) {
    for (std::int64_t x = 0; x < ink.width; ++x) {
      if (ink.at(y, x) != 0) parts.push_back(take_part(ink, y, x));
    }
  }
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
Mask without_specks(const Mask& ink) {
  std::vector<Part> parts = connected(ink);
  drop_small(parts, 64);
  const std::int64_t ring = 2 * (ink.height + ink.width) - 4;
  const auto within = std::stable_partition(
      parts.begin(), parts.end(), [ring](const Part& part) { return 16 * part.on_edge <= ring; });
  if (within != parts.begin()) parts.erase(within, parts.end());
  drop_small(parts, 16);
  Mask kept(ink.height, ink.width);
  for (const Part& part : parts) {
    for (const auto& [y, x] : part.pixels) kept.at(y, x) = 1;
  }
  return kept;
}

template <typename T>
Plane<T> transposed(const Plane<T>& plane) {
  Plane<T> result(plane.width, plane.height);
  for (std::int64_t y = 0; y < plane.height; ++y) {
    for (std::int64_t x = 0; x < plane.width; ++x) result.at(x, y) = plane.at(y, x);
  }
  return result;
}

/// The greatest of the values within `reach` columns of each.
template <typename T>
Plane<T> greatest_in_row(const Plane<T>& plane, std::int64_t reach) {
  Plane<T> result = plane;
  for (std::int64_t y = 0; y < plane.height; ++y) {
    for (std::int64_t x = 0; x < plane.width; ++x) {
      const std::int64_t last = std::min(plane.width - 1, x + reach);
      for (std::int64_t i = std::max<std::int64_t>(0, x - reach); i <= last; ++i) {
        result.at(y, x) = std::max(result.at(y, x), plane.at(y, i));
      }
    }
  }
  return result;
}

/// The greatest of the values within `reach` rows and columns of each.
template <typename T>
Plane<T> greatest_within(const Plane<T>& plane, std::int64_t reach) {
  return transposed(greatest_in_row(transposed(greatest_in_row(plane, reach)), reach));
}

/// Step 6.
Grid ink_values(const Grid& strength, const Mask& ink, std::int64_t noise) {
  std::vector<std::int64_t> inside;
  for (std::size_t i = 0; i < ink.values.size(); ++i) {
    if (ink.values[i] != 0) inside.push_back(strength.values[i]);
  }
  const auto place = inside.begin() + static_cast<std::ptrdiff_t>((inside.size() - 1) * 3 / 4);
  std::nth_element(inside.begin(), place, inside.end());
  const std::int64_t top = *place;
  if (top < std::max<std::int64_t>(12, 4 * noise)) no_digit();
  const std::int64_t low = top / 4;
  const Mask near = greatest_within(ink, 1);
  Grid values(strength.height, strength.width);
  for (std::size_t i = 0; i < values.values.size(); ++i) {
    if (near.values[i] == 0) continue;
    values.values[i] =
        std::clamp<std::int64_t>(floor_divide((strength.values[i] - low) * 255, top - low), 0, 255);
  }
  return values;
}

struct Box {
  std::int64_t top;
  std::int64_t left;
  std::int64_t height;
  std::int64_t width;
};

/// Step 7: where the digit is.
Box extent(const Grid& values) {
  constexpr std::int64_t kSeen = 32;
  std::int64_t top = values.height;
  std::int64_t left = values.width;
  std::int64_t bottom = -1;
  std::int64_t right = -1;
  for (std::int64_t y = 0; y < values.height; ++y) {
    for (std::int64_t x = 0; x < values.width; ++x) {
      if (values.at(y, x) < kSeen) continue;
      top = std::min(top, y);
      bottom = std::max(bottom, y);
      left = std::min(left, x);
      right = std::max(right, x);
    }
  }
  return {top, left, bottom - top + 1, right - left + 1};
}

/// With `border` zeros on each side.
template <typename T>
Plane<T> cropped(const Plane<T>& plane, const Box& box, std::int64_t border = 0) {
  Plane<T> result(box.height + 2 * border, box.width + 2 * border);
  for (std::int64_t y = 0; y < box.height; ++y) {
    for (std::int64_t x = 0; x < box.width; ++x) {
      result.at(y + border, x + border) = plane.at(box.top + y, box.left + x);
    }
  }
  return result;
}

/// Step 8.
Grid thickened(const Grid& values, const Mask& ink) {
  constexpr std::array<std::pair<int, int>, 4> kNeighbours = {{{-1, 0}, {1, 0}, {0, -1}, {0, 1}}};
  std::int64_t area = 0;
  std::int64_t sides = 0;
  for (std::int64_t y = 0; y < ink.height; ++y) {
    for (std::int64_t x = 0; x < ink.width; ++x) {
      if (ink.at(y, x) == 0) continue;
      ++area;
      for (const auto& [dy, dx] : kNeighbours) {
        sides += !ink.has(y + dy, x + dx) || ink.at(y + dy, x + dx) == 0;
      }
    }
  }
  const std::int64_t longer = std::max(values.height, values.width);
  const std::int64_t reach = floor_divide(longer * sides - 20 * area + 10 * sides, 20 * sides);
  if (reach <= 0) return values;
  return greatest_within(cropped(values, {0, 0, values.height, values.width}, reach), reach);
}

/// The rows of step 9, each multiplied by the old height.
Grid with_height(const Grid& values, std::int64_t height) {
  Grid result(height, values.width);
  for (std::int64_t i = 0; i < height; ++i) {
    for (std::int64_t y = i * values.height / height; y < values.height; ++y) {
      // How much of the old row lies in the new one, in units of 1 / (height * values.height).
      const std::int64_t weight = std::min((i + 1) * values.height, (y + 1) * height) -
                                  std::max(i * values.height, y * height);
      if (weight <= 0) break;
      for (std::int64_t x = 0; x < values.width; ++x) {
        result.at(i, x) += weight * values.at(y, x);
      }
    }
  }
  return result;
}

/// Step 9.
Grid scaled(const Grid& values, std::int64_t box) {
  const std::int64_t longer = std::max(values.height, values.width);
  const std::int64_t height = std::max<std::int64_t>(1, divide(values.height * box, longer));
  const std::int64_t width = std::max<std::int64_t>(1, divide(values.width * box, longer));
  const Grid rows = with_height(values, height);
  Grid result = transposed(with_height(transposed(rows), width));
  for (std::int64_t& value : result.values) value = divide(value, values.height * values.width);
  return result;
}

/// Step 10.
Image centred(const Grid& values, std::int64_t size) {
  std::int64_t total = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  for (std::int64_t y = 0; y < values.height; ++y) {
    for (std::int64_t x = 0; x < values.width; ++x) {
      total += values.at(y, x);
      rows += values.at(y, x) * y;
      columns += values.at(y, x) * x;
    }
  }
  if (total == 0) no_digit();
  const auto corner = [&](std::int64_t moment, std::int64_t length) {
    return std::clamp<std::int64_t>(divide(size / 2 * total - moment, total), 0, size - length);
  };
  const std::int64_t top = corner(rows, values.height);
  const std::int64_t left = corner(columns, values.width);
  Image result{std::vector<std::uint8_t>(static_cast<std::size_t>(size * size)), size, size, 1};
  for (std::int64_t y = 0; y < values.height; ++y) {
    for (std::int64_t x = 0; x < values.width; ++x) {
      result.pixels[static_cast<std::size_t>((top + y) * size + left + x)] =
          static_cast<std::uint8_t>(values.at(y, x));
    }
  }
  return result;
}

}  // namespace

Image find_digit(const Digit& step, const Image& image) {
  if (is_mnist(image, step.size)) return image;
  Grid grid = reduced(image);
  const std::int64_t noise = remove_background(grid);
  take_strength(grid, noise);
  const Mask ink = without_specks(ink_of(grid));
  const Grid values = ink_values(grid, ink, noise);
  const Box box = extent(values);
  return centred(scaled(thickened(cropped(values, box), cropped(ink, box)), step.box), step.size);
}

}  // namespace lenet

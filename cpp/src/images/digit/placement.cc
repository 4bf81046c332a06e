#include "images/digit/placement.h"

#include <algorithm>
#include <utility>

#include "images/digit/ink.h"
#include "images/digit/integers.h"

namespace lenet::digit {
namespace {

/// Returns the values scaled to so many rows, each number multiplied by the old height.
Grid with_height(const Grid& values, Integer height) {
  Grid result(height, values.width);
  for (Integer i = 0; i < height; ++i) {
    for (Integer y = i * values.height / height; y < values.height; ++y) {
      // This is how much of the old row lies in the new one, in units of 1 / (height *
      // values.height).
      const auto weight = static_cast<Value>(std::min((i + 1) * values.height, (y + 1) * height) -
                                             std::max(i * values.height, y * height));
      if (weight <= 0) break;
      for (Integer x = 0; x < values.width; ++x) result.at(i, x) += weight * values.at(y, x);
    }
  }
  return result;
}

}  // namespace

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

Grid scaled(const Grid& values, Integer box) {
  const Integer longer = std::max(values.height, values.width);
  const Integer height = std::max<Integer>(1, divide(values.height * box, longer));
  const Integer width = std::max<Integer>(1, divide(values.width * box, longer));
  Grid sums = transposed(with_height(transposed(with_height(values, height)), width));
  const Divisor whole(values.height * values.width);
  return mapped(std::move(sums), [&](Value sum) { return whole.round(sum); });
}

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

}  // namespace lenet::digit

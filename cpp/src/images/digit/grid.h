/// \file
/// Numbers in rows and columns, on which the steps of digit.md work.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lenet::digit {

using Integer = std::int64_t;
/// A number of a grid. No number exceeds 255 * 2 * (2 * 256)^2, in step 9.
using Value = std::int32_t;

constexpr Value kLevels = 256;  ///< of a pixel

/// Numbers in rows and columns. A grid may be a mask, which is 1 where something holds and else 0.
struct Grid {
  Integer height = 0;
  Integer width = 0;
  std::vector<Value> values;

  /// All numbers are 0.
  Grid(Integer rows, Integer columns)
      : height(rows), width(columns), values(static_cast<std::size_t>(rows * columns)) {}
  /// \param value_at takes a row and a column
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

Grid transposed(const Grid& grid);

/// Returns a grid that has at each place the greatest of the values within `reach` rows and
/// columns. \pre no value is negative
Grid greatest_within(const Grid& grid, Integer reach);

}  // namespace lenet::digit

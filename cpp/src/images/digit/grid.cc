#include "images/digit/grid.h"

namespace lenet::digit {

Grid transposed(const Grid& grid) {
  return Grid(grid.width, grid.height, [&](Integer y, Integer x) { return grid.at(x, y); });
}

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

}  // namespace lenet::digit

#include "images/digit/background.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "images/digit/integers.h"

namespace lenet::digit {
namespace {

/// An axis has nodes, their windows, and the cuts at which windows begin or end. Pixels between two
/// cuts are counted once for all the windows that hold them.
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
  /// Returns the first of the two nodes between which a pixel lies.
  Integer node_before(Integer at) const { return std::min(at * (nodes - 1) / spacing, nodes - 2); }
  /// Returns the value of a pixel between its two nodes, times `spacing`.
  Integer between(Integer at, Integer first, Integer second) const {
    return spacing * first + (at * (nodes - 1) - node_before(at) * spacing) * (second - first);
  }

 private:
  Integer center_of(Integer node) const { return node * (length - 1) / (nodes - 1); }
  std::size_t number_of(Integer cut) const {
    return static_cast<std::size_t>(std::lower_bound(cuts.begin(), cuts.end(), cut) - cuts.begin());
  }
};

/// Returns the medians of the values from `low` to `high` in the windows of all nodes.
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

/// Subtracts the level of the values from `low` to `high`.
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

}  // namespace

Grid without_background(Grid grid) {
  subtract_level(grid, 5, 4, 0, kLevels - 1);
  const Value most = std::clamp<Value>(3 * median_magnitude(grid), 8, 2 * (kLevels - 1));
  subtract_level(grid, 9, 8, -most, most);
  return grid;
}

}  // namespace lenet::digit

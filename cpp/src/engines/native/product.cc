#include "engines/native/product.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace lenet::native {

Product Product::joined(bool weights) const {
  Product made = *this;
  auto& loops = made.matrices;
  for (Loop& loop : loops) loop.second = weights ? 0 : loop.second;
  const auto is_one = [](const Loop& loop) { return loop.count == 1; };
  loops.erase(std::remove_if(loops.begin(), loops.end(), is_one), loops.end());
  while (!loops.empty()) {
    const Loop inner = loops.back();
    if (made.rows == 1) {  // whose steps are any
      made.first.row = inner.first;
      made.output.row = inner.output;
    }
    const bool follows =
        inner.first == made.rows * made.first.row && inner.output == made.rows * made.output.row;
    if (inner.second != 0 || !follows || (is_turned() && made.first.row != 1)) break;
    made.rows *= inner.count;
    loops.pop_back();
  }
  return made;
}

bool Product::writes_all(std::int64_t values) const {
  std::vector<std::pair<std::int64_t, std::int64_t>> steps = {{output.row, rows},
                                                              {output.column, columns}};
  for (const Loop& loop : matrices) steps.emplace_back(loop.output, loop.count);
  std::sort(steps.begin(), steps.end());
  std::int64_t written = 1;  // by the steps before
  for (const auto& [step, count] : steps) {
    if (count > 1 && step != written) return false;
    written *= count;
  }
  return output.begin == 0 && written == values;
}

}  // namespace lenet::native

#include "engines/native/layer_params.h"

#include <algorithm>

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

}  // namespace lenet::native

#include "engines/native/runtime/views.h"

#include <algorithm>

namespace lenet::native {

void add_run(std::vector<Run>& runs, const Run& run) {
  if (run.count == 1) return;
  if (!runs.empty() && runs.back().step == run.step * run.count) {
    runs.back() = {runs.back().count * run.count, run.step};
    return;
  }
  runs.push_back(run);
}

Walk::Walk(const View& view, std::int64_t first) : view_(view), begin_(view.begin) {
  std::int64_t values = 1;
  for (auto run = view.runs.rbegin(); run != view.runs.rend(); ++run) {
    const std::int64_t place = first / values % run->count;
    begin_ += place * run->step;
    left_.push_back({run->count - 1 - place, values});
    values *= run->count;
  }
  std::reverse(left_.begin(), left_.end());
}

std::optional<std::vector<Run>> Walk::go(Run run) {
  if (run.step < 0) return std::nullopt;
  std::vector<Run> found;  // the innermost first
  while (run.count > 1 && run.step > 0) {
    std::size_t at = 0;
    while (at < left_.size() && left_[at].values > run.step) ++at;
    if (at == left_.size() || run.step % left_[at].values != 0) return std::nullopt;
    const Run& whole = view_.runs[at];
    std::int64_t& left = left_[at].places;
    const std::int64_t steps = run.step / left_[at].values;
    std::int64_t count = run.count;
    if ((count - 1) * steps > left) {  // the rest of the run is outside of this one
      count = whole.count / steps;
      if (count < 2 || whole.count % steps != 0 || run.count % count != 0 ||
          (count - 1) * steps > left) {
        return std::nullopt;
      }
    }
    left -= (count - 1) * steps;
    found.push_back({count, steps * whole.step});
    run = {run.count / count, run.step * count};
  }
  if (run.count > 1) found.push_back({run.count, 0});
  std::vector<Run> joined;
  for (auto part = found.rbegin(); part != found.rend(); ++part) add_run(joined, *part);
  return joined;
}

std::optional<View> found_through(const View& before, const View& view) {
  Walk walk(before, view.begin);
  View whole = {before.tensor, walk.begin(), {}};
  for (const Run& run : view.runs) {
    const auto parts = walk.go(run);
    if (!parts) return std::nullopt;
    for (const Run& part : *parts) add_run(whole.runs, part);
  }
  return whole;
}

std::optional<Box> found_through(const View& view, const Box& box, const BoxSide& side) {
  Walk walk(view, box.*side.first);
  Box made = box;
  made.*side.first = walk.begin();
  made.loops.clear();
  for (const Box::Loop& loop : box.loops) {
    const auto parts = walk.go({loop.count, loop.*side.step});
    if (!parts) return std::nullopt;
    std::int64_t inner = loop.count;
    for (const Run& part : *parts) {
      inner /= part.count;
      Box::Loop made_loop = {part.count, loop.from * inner, loop.to * inner};
      made_loop.*side.step = part.step;
      made.add(made_loop);
    }
  }
  return made;
}

std::optional<Product> found_through(const View& view, const Product& product,
                                     const ProductSide& side) {
  const Product::Matrix& matrix = product.*side.matrix;
  Walk walk(view, matrix.begin);
  Product made = product;
  made.matrices.clear();
  for (const Product::Loop& loop : product.matrices) {
    const auto runs = walk.go({loop.count, loop.*side.step});
    if (!runs) return std::nullopt;
    std::int64_t inner = loop.count;
    for (const Run& run : *runs) {
      inner /= run.count;
      Product::Loop part = {run.count, loop.first * inner, loop.second * inner,
                            loop.output * inner};
      part.*side.step = run.step;
      made.matrices.push_back(part);
    }
  }
  const auto rows = walk.go({product.*side.rows, matrix.row});
  const auto columns = walk.go({product.*side.columns, matrix.column});
  if (!rows || !columns || rows->size() > 1 || columns->size() > 1) return std::nullopt;
  const auto step_of = [](const std::vector<Run>& runs) {
    return runs.empty() ? 1 : runs[0].step;  // of one value any
  };
  made.*side.matrix = {walk.begin(), step_of(*rows), step_of(*columns)};
  return made;
}

View view_of(const Placement& tensor) {
  View view;
  const TensorShape& shape = tensor.shape;
  const std::int64_t blocks = (shape.channels() + tensor.lanes - 1) / tensor.lanes;
  add_run(view.runs, {blocks, tensor.block});
  add_run(view.runs, {tensor.lanes, 1});
  add_run(view.runs, {shape.height(), tensor.row});
  add_run(view.runs, {shape.width(), tensor.column});
  return view;
}

}  // namespace lenet::native

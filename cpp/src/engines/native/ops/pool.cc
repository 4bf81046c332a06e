#include <algorithm>
#include <vector>

#include "engines/native/ops/families.h"
#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

/// The windows of a pool in one direction, clipped to the image. One outside of it is empty.
struct Windows {
  /// \param direction 0: rows, 1: columns
  Windows(const PoolParams& params, std::size_t direction, std::int64_t image, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) add(params, direction, image, count, i);
  }

  std::vector<std::int32_t> begins;
  std::vector<std::int32_t> ends;
  std::vector<float> sizes;  ///< to divide a sum by; as Paddle has it, 0 or less of an empty one

 private:
  void add(const PoolParams& params, std::size_t direction, std::int64_t image, std::int64_t count,
           std::int64_t index) {
    const auto& [window, kind, adaptive] = params;
    const std::int64_t step = adaptive ? 1 : window.dilations[direction];
    const auto values = [step](std::int64_t from, std::int64_t to) {
      return from < to ? (to - from + step - 1) / step : 0;
    };
    std::int64_t begin = index * window.strides[direction] - window.padding[2 * direction];
    std::int64_t end = std::min(begin + (window.kernel[direction] - 1) * step + 1,
                                image + window.padding[2 * direction + 1]);
    if (adaptive) {
      begin = index * image / count;
      end = ((index + 1) * image + count - 1) / count;
    }
    const std::int64_t padded = values(begin, end);
    begin += values(begin, 0) * step;
    end = std::min(end, image);
    const std::int64_t inside = values(begin, end);
    const std::int64_t size = inside > 0 ? inside : end - begin;
    if (inside == 0) begin = 0;  // kernels compute the place of an empty window too
    begins.push_back(static_cast<std::int32_t>(begin));
    ends.push_back(static_cast<std::int32_t>(begin + inside));
    sizes.push_back(static_cast<float>(kind == PoolKind::AverageOfWindow ? padded : size));
  }
};

class Pool final : public Op {
 public:
  Pool(void (*pool)(const PoolTask&), const Layer& layer, const Placement& from,
       const Placement& to, bool relu, const IntMean& mean)
      : pool_(pool),
        from_(from),
        to_(to),
        rows_(layer.get<PoolParams>(), 0, from.shape.height(), to.shape.height()),
        columns_(layer.get<PoolParams>(), 1, from.shape.width(), to.shape.width()) {
    const auto& [window, kind, _] = layer.get<PoolParams>();
    task_.input_column = from.column;
    task_.input_row = from.row;
    task_.tap_column = from.column * window.dilations[1];
    task_.tap_row = from.row * window.dilations[0];
    task_.output_column = to.column;
    task_.output_row = to.row;
    task_.column_begin = columns_.begins.data();
    task_.column_end = columns_.ends.data();
    task_.row_begin = rows_.begins.data();
    task_.row_end = rows_.ends.data();
    task_.column_size = columns_.sizes.data();
    task_.row_size = rows_.sizes.data();
    find_inner();
    if (window.dilations[1] > 1) task_.inner_width = 0;  // no kernel for windows side by side
    task_.columns = static_cast<std::int32_t>(to.shape.width());
    task_.rows = static_cast<std::int32_t>(to.shape.height());
    task_.values = static_cast<std::int32_t>(to.column);
    task_.average = kind != PoolKind::Max;
    task_.relu = relu;
    task_.mean = mean;
  }
  void run(const Frame& frame) const override {
    if (to_.planes == 1) return run_rows(frame);
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      PoolTask task = task_;
      frame.each(to_.planes, [&](std::int64_t p) {
        task.input = frame.at<char>(from_, unit) + p * from_.block * from_.element_bytes;
        task.output = frame.at<char>(to_, unit) + p * to_.block * to_.element_bytes;
        pool_(task);
      });
    }
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return to_string(LayerKind::Pool); }

 private:
  void run_rows(const Frame& frame) const {
    const auto work = [&](std::int64_t unit, std::int64_t begin, std::int64_t end) {
      PoolTask task = task_;
      task.input = frame.at<char>(from_, unit);
      task.output = frame.at<char>(to_, unit) + begin * to_.row * to_.element_bytes;
      task.rows = static_cast<std::int32_t>(end - begin);
      task.row_begin += begin;
      task.row_end += begin;
      task.row_size += begin;
      pool_(task);
    };
    frame.each_rows(frame.count, to_.shape.height(), work);
  }
  /// The longest run of windows like the one in the middle.
  void find_inner() {
    const std::vector<std::int32_t>& begins = columns_.begins;
    const std::vector<std::int32_t>& ends = columns_.ends;
    const auto count = static_cast<std::int32_t>(begins.size());
    const auto at = [](const auto& list, std::int32_t i) {
      return list[static_cast<std::size_t>(i)];
    };
    const std::int32_t middle = count / 2;
    const std::int32_t width = at(ends, middle) - at(begins, middle);
    const std::int32_t step = middle == 0 ? 0 : at(begins, middle) - at(begins, middle - 1);
    const auto is_inner = [&](std::int32_t i) {
      return at(ends, i) - at(begins, i) == width &&
             at(begins, i) - at(begins, middle) == std::int64_t{i - middle} * step;
    };
    task_.inner_begin = task_.inner_end = middle;
    while (task_.inner_end < count && is_inner(task_.inner_end)) ++task_.inner_end;
    while (task_.inner_begin > 0 && is_inner(task_.inner_begin - 1)) --task_.inner_begin;
    task_.inner_width = width;
    task_.inner_stride = step;
  }

  void (*pool_)(const PoolTask&);
  Placement from_;
  Placement to_;
  Windows rows_;
  Windows columns_;
  PoolTask task_{};
};

void check_pool(const LayerCheck& of) {
  of.require(of.output().channels() == of.input().channels(), "gives other channels than it takes");
}

std::unique_ptr<Op> make_float_pool(const PlacedLayer& source) {
  return make_pool(source.kernels.pool, source.layer, source.inputs[0], source.output,
                   source.layer.relu());
}

}  // namespace

std::unique_ptr<Op> make_pool(void (*pool)(const PoolTask&), const Layer& layer,
                              const Placement& from, const Placement& to, bool relu,
                              const IntMean& mean) {
  return std::make_unique<Pool>(pool, layer, from, to, relu, mean);
}

extern const LayerFamily kPoolFamily = {check_pool, make_float_pool};

}  // namespace lenet::native

#include <algorithm>
#include <cmath>

#include "engines/native/ops/families.h"
#include "engines/native/ops/ops.h"
#include "engines/native/runtime/softmax.h"

// Over tensors in the order of the program.
namespace lenet::native {
namespace {

/// What the values of an axis are reduced to, by a kind that has no kernel.
double reduced(ReduceKind kind, const float* from, const Axis& axis) {
  const auto folded = [&](double first, const auto& add) {
    double result = first;
    for (std::int64_t i = 0; i < axis.count; ++i) {
      result = add(result, static_cast<double>(from[i * axis.inner]));
    }
    return result;
  };
  switch (kind) {
    case ReduceKind::Product:
      return folded(1, [](double a, double b) { return a * b; });
    case ReduceKind::L1:
      return folded(0, [](double a, double b) { return a + std::abs(b); });
    case ReduceKind::LogSum:
      return std::log(folded(0, [](double a, double b) { return a + b; }));
    default:
      break;
  }
  const double largest = folded(-std::numeric_limits<double>::infinity(),
                                [](double a, double b) { return std::max(a, b); });
  if (!std::isfinite(largest)) return largest;
  return largest +
         std::log(folded(0, [largest](double a, double b) { return a + std::exp(b - largest); }));
}

/// Whether there is a kernel of vectors for it.
bool is_vectorised(ReduceKind kind) {
  switch (kind) {
    case ReduceKind::Sum:
    case ReduceKind::Mean:
    case ReduceKind::Max:
    case ReduceKind::Min:
    case ReduceKind::L2:
    case ReduceKind::SumOfSquares:
      return true;
    case ReduceKind::Product:
    case ReduceKind::L1:
    case ReduceKind::LogSum:
    case ReduceKind::LogSumExp:
      break;
  }
  return false;
}

/// Softmax, or one value of each axis.
class AxisOp final : public Op {
 public:
  explicit AxisOp(const PlacedLayer& source)
      : kernels_(source.kernels),
        layer_(source.layer.kind),
        from_(source.inputs[0]),
        to_(source.output) {
    if (is_softmax()) {
      const auto& softmax = source.layer.get<SoftmaxParams>();
      axis_ = softmax.axis;
      logarithm_ = softmax.logarithm;
      is_vectorised_ = !logarithm_;
    } else {
      const auto& reduce = source.layer.get<ReduceParams>();
      axis_ = reduce.axis;
      reduce_ = reduce.kind;
      is_vectorised_ = is_vectorised(reduce_);
    }
  }

  void run(const Frame& frame) const override {
    constexpr std::int64_t kWidth = 64;  // axes side by side: whole vectors and cache lines
    const std::int64_t whole = axis_.count * axis_.inner;
    const std::int64_t given = is_softmax() ? whole : axis_.inner;
    const std::int64_t outer = from_.shape.values() / whole;
    const auto task_at = [&](std::int64_t unit, std::int64_t row, std::int64_t first) {
      AxisTask task{};
      task.from = frame.at<float>(from_, unit) + row * whole + first;
      task.to = frame.at<float>(to_, unit) + row * given + first;
      task.count = axis_.count;
      task.inner = axis_.inner;
      return task;
    };
    if (axis_.inner == 1) {
      frame.each_rows(frame.count, outer,
                      [&](std::int64_t unit, std::int64_t row, std::int64_t last) {
                        AxisTask task = task_at(unit, row, 0);
                        task.width = last - row;
                        run_axes(task);
                      });
    } else {
      const std::int64_t slices = (axis_.inner + kWidth - 1) / kWidth;
      frame.each_rows(frame.count * outer, slices,
                      [&](std::int64_t item, std::int64_t slice, std::int64_t last) {
                        AxisTask task = task_at(item / outer, item % outer, slice * kWidth);
                        task.width = std::min(axis_.inner, last * kWidth) - slice * kWidth;
                        run_axes(task);
                      });
    }
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return to_string(layer_); }

 private:
  bool is_softmax() const { return layer_ == LayerKind::Softmax; }

  void run_axes(const AxisTask& task) const {
    if (is_vectorised_) {
      return is_softmax() ? kernels_.softmax(task) : kernels_.reduce(reduce_, task);
    }
    // One after the other: the same bits on every processor.
    const std::int64_t step = axis_.inner == 1 ? axis_.count : 1;
    for (std::int64_t i = 0; i < task.width; ++i) {
      if (is_softmax()) {
        native::softmax(task.from + i * step, axis_, logarithm_, task.to + i * step);
      } else {
        task.to[i] = static_cast<float>(reduced(reduce_, task.from + i * step, axis_));
      }
    }
  }

  const Kernels& kernels_;
  LayerKind layer_;
  ReduceKind reduce_ = ReduceKind::Sum;
  Axis axis_;
  bool logarithm_ = false;
  bool is_vectorised_ = false;
  Placement from_;
  Placement to_;
};

void check_axis(const LayerCheck& of) {
  if (of.layer.kind == LayerKind::Softmax) {
    of.require_axis(of.layer.get<SoftmaxParams>().axis);
    return of.require_same_values();
  }
  const Axis& axis = of.layer.get<ReduceParams>().axis;
  of.require_axis(axis);
  of.require(of.output().values() * axis.count == of.input().values(),
             "does not give one value for each axis");
}

}  // namespace

extern const LayerFamily kAxisFamily = {check_axis, make_op<AxisOp>};

}  // namespace lenet::native

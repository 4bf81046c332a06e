#include <algorithm>
#include <cmath>

#include "engines/native/ops/ops.h"

// Simple loops, over tensors in the order of the program, and the same bits on every processor.
namespace lenet::native {
namespace {

/// What the values of an axis are reduced to.
double reduced(ReduceKind kind, const float* from, const Axis& axis) {
  const auto folded = [&](double first, const auto& add) {
    double result = first;
    for (std::int64_t i = 0; i < axis.count; ++i) {
      result = add(result, static_cast<double>(from[i * axis.inner]));
    }
    return result;
  };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const auto sum = [](double a, double b) { return a + b; };
  const auto squares = [](double a, double b) { return a + b * b; };
  const auto larger = [](double a, double b) { return std::max(a, b); };
  switch (kind) {
    case ReduceKind::Sum:
      return folded(0, sum);
    case ReduceKind::Mean:
      return folded(0, sum) / static_cast<double>(axis.count);
    case ReduceKind::Max:
      return folded(-kInfinity, larger);
    case ReduceKind::Min:
      return folded(kInfinity, [](double a, double b) { return std::min(a, b); });
    case ReduceKind::Product:
      return folded(1, [](double a, double b) { return a * b; });
    case ReduceKind::L1:
      return folded(0, [](double a, double b) { return a + std::abs(b); });
    case ReduceKind::L2:
      return std::sqrt(folded(0, squares));
    case ReduceKind::SumOfSquares:
      return folded(0, squares);
    case ReduceKind::LogSum:
      return std::log(folded(0, sum));
    case ReduceKind::LogSumExp:
      break;
  }
  const double largest = folded(-kInfinity, larger);
  if (!std::isfinite(largest)) return largest;
  return largest +
         std::log(folded(0, [largest](double a, double b) { return a + std::exp(b - largest); }));
}

/// Softmax, or one value of each axis.
class AxisOp final : public Op {
 public:
  explicit AxisOp(const FloatLayer& source)
      : layer_(source.layer.kind),
        reduce_(source.layer.reduce),
        axis_(source.layer.axis),
        logarithm_(source.layer.logarithm),
        from_(source.inputs[0]),
        to_(source.output) {}

  void run(const Frame& frame) const override {
    const std::int64_t whole = axis_.count * axis_.inner;
    const std::int64_t given = is_softmax() ? whole : axis_.inner;
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      const float* from = frame.at<float>(from_, unit);
      float* to = frame.at<float>(to_, unit);
      to_.clear_last_block(to);
      for (std::int64_t outer = from_.shape.values() / whole; outer > 0; --outer) {
        for (std::int64_t i = 0; i < axis_.inner; ++i) {
          if (is_softmax()) {
            softmax(from + i, axis_, logarithm_, to + i);
          } else {
            to[i] = static_cast<float>(reduced(reduce_, from + i, axis_));
          }
        }
        from += whole;
        to += given;
      }
    }
  }
  std::string kernel() const override { return to_string(layer_); }

 private:
  bool is_softmax() const { return layer_ == LayerKind::Softmax; }

  LayerKind layer_;
  ReduceKind reduce_;
  Axis axis_;
  bool logarithm_;
  Placement from_;
  Placement to_;
};

}  // namespace

void softmax(const float* from, const Axis& axis, bool logarithm, float* to) {
  const std::int64_t end = axis.count * axis.inner;
  float largest = *from;
  for (std::int64_t i = 0; i < end; i += axis.inner) largest = std::max(largest, from[i]);
  double sum = 0;
  for (std::int64_t i = 0; i < end; i += axis.inner) {
    const float shifted = from[i] - largest;
    const float power = std::exp(shifted);
    sum += power;
    to[i] = logarithm ? shifted : power;
  }
  const double log_sum = std::log(sum);
  for (std::int64_t i = 0; i < end; i += axis.inner) {
    to[i] = static_cast<float>(logarithm ? to[i] - log_sum : to[i] / sum);
  }
}

std::unique_ptr<Op> make_axis_op(const FloatLayer& source) {
  return std::make_unique<AxisOp>(source);
}

}  // namespace lenet::native

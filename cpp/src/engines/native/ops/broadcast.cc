#include <algorithm>
#include <cmath>

#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

float combined(BroadcastKind kind, float a, float b, float c) {
  const auto truth = [](bool holds) { return holds ? 1.0F : 0.0F; };
  switch (kind) {
    case BroadcastKind::Add:
      return a + b;
    case BroadcastKind::Subtract:
      return a - b;
    case BroadcastKind::Multiply:
      return a * b;
    case BroadcastKind::Divide:
      return a / b;
    case BroadcastKind::Maximum:
      return std::max(a, b);
    case BroadcastKind::Minimum:
      return std::min(a, b);
    case BroadcastKind::PRelu:
      return a < 0 ? a * b : a;
    case BroadcastKind::Power:
      return std::pow(a, b);
    case BroadcastKind::Equal:
      return truth(a == b);
    case BroadcastKind::Less:
      return truth(a < b);
    case BroadcastKind::LessOrEqual:
      return truth(a <= b);
    case BroadcastKind::Greater:
      return truth(a > b);
    case BroadcastKind::GreaterOrEqual:
      return truth(a >= b);
    case BroadcastKind::And:
      return truth(a != 0 && b != 0);
    case BroadcastKind::Or:
      return truth(a != 0 || b != 0);
    case BroadcastKind::Xor:
      return truth((a != 0) != (b != 0));
    case BroadcastKind::Where:
      return a != 0 ? b : c;
  }
  return a;
}

/// Values computed from two or three each, of tensors in the order of the program.
class Broadcast final : public Op {
 public:
  explicit Broadcast(const FloatLayer& source)
      : kernels_(source.kernels),
        activation_(source.layer.activation),
        kind_(source.layer.broadcast),
        operands_(source.layer.operands),
        loops_(source.layer.loops),
        inputs_(source.inputs),
        to_(source.output) {}

  void run(const Frame& frame) const override {
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      std::array<const float*, 3> from{};
      for (std::size_t i = 0; i < operands_.size(); ++i) {
        const BroadcastOperand& operand = operands_[i];
        from[i] = operand.input == kNone ? operand.numbers.data()
                                         : frame.at<float>(inputs_[operand.input], unit);
      }
      float* to = frame.at<float>(to_, unit);
      combine(0, from, to);
      kernels_.activate(activation_, frame.at<float>(to_, unit), frame.at<float>(to_, unit),
                        round_up(to_.shape.values(), kernels_.lanes));
    }
  }
  std::string kernel() const override { return "broadcast"; }

 private:
  void combine(std::size_t at, std::array<const float*, 3> from, float*& to) const {
    if (at == loops_.size()) {
      *to++ = combined(kind_, *from[0], *from[1], from[2] == nullptr ? 0 : *from[2]);
      return;
    }
    for (std::int64_t i = 0; i < loops_[at].count; ++i) {
      combine(at + 1, from, to);
      for (std::size_t o = 0; o < operands_.size(); ++o) from[o] += loops_[at].steps[o];
    }
  }

  const Kernels& kernels_;
  Activation activation_;
  BroadcastKind kind_;
  std::vector<BroadcastOperand> operands_;
  std::vector<BroadcastLoop> loops_;
  std::vector<Placement> inputs_;
  Placement to_;
};

}  // namespace

std::unique_ptr<Op> make_broadcast(const FloatLayer& source) {
  return std::make_unique<Broadcast>(source);
}

}  // namespace lenet::native

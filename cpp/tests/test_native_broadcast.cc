// Layers that combine the values of two or three tensors, each repeated along any axes, are
// compared with their definition in double, in every instruction set: arithmetic, powers,
// comparisons and choices.

#include <array>
#include <cmath>

#include "native_support.h"

namespace lenet::tests {
namespace {

using namespace native;

double combined(BroadcastKind kind, double a, double b, double c) {
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
      return a == b ? 1 : 0;
    case BroadcastKind::Less:
      return a < b ? 1 : 0;
    case BroadcastKind::LessOrEqual:
      return a <= b ? 1 : 0;
    case BroadcastKind::Greater:
      return a > b ? 1 : 0;
    case BroadcastKind::GreaterOrEqual:
      return a >= b ? 1 : 0;
    case BroadcastKind::And:
      return a != 0 && b != 0 ? 1 : 0;
    case BroadcastKind::Or:
      return a != 0 || b != 0 ? 1 : 0;
    case BroadcastKind::Xor:
      return (a != 0) != (b != 0) ? 1 : 0;
    case BroadcastKind::Where:
      return a != 0 ? b : c;
    case BroadcastKind::Scalar:
      return a - 2 * b;
  }
  return 0;
}

Definition define_broadcast(const Layer& layer, const std::vector<std::vector<float>>& inputs) {
  Definition found;
  const auto& broadcast = layer.get<BroadcastParams>();
  const auto compute = [&](const auto& self, std::size_t at,
                           std::array<std::int64_t, 3> places) -> void {
    if (at == broadcast.loops.size()) {
      std::array<double, 3> values{};
      for (std::size_t o = 0; o < broadcast.operands.size(); ++o) {
        const BroadcastOperand& operand = broadcast.operands[o];
        const std::vector<float>& from =
            operand.input == kNone ? operand.numbers : inputs[operand.input];
        values[o] = from[static_cast<std::size_t>(places[o])];
      }
      const double value = combined(broadcast.kind, values[0], values[1], values[2]);
      found.values.push_back(activated(value, layer.activation));
      found.sizes.push_back(std::abs(values[0]) + std::abs(values[1]) + std::abs(value));
      return;
    }
    for (std::int64_t i = 0; i < broadcast.loops[at].count; ++i) {
      self(self, at + 1, places);
      for (std::size_t o = 0; o < 3; ++o) places[o] += broadcast.loops[at].steps[o];
    }
  };
  compute(compute, 0, {});
  return found;
}

/// \param rank of loops
void check_broadcast(BroadcastKind kind, std::size_t rank, std::int64_t most, Random& random) {
  Layer layer = layer_of(LayerKind::Broadcast);
  auto& params = layer.get<BroadcastParams>();
  params.kind = kind;
  if (kind == BroadcastKind::Scalar) params.combine = [](double a, double b) { return a - 2 * b; };
  params.loops.resize(rank);
  std::int64_t values = 1;
  for (BroadcastLoop& loop : params.loops) {
    loop.count = random.from(1, most);
    values *= loop.count;
  }
  params.operands.resize(kind == BroadcastKind::Where ? 3 : 2);
  std::vector<std::int64_t> inputs;
  for (std::size_t o = 0; o < params.operands.size(); ++o) {
    // Repeated along some axes; the first rarely, and now and then with gaps.
    std::int64_t held = random.from(0, 9) == 0 ? 2 : 1;
    std::int64_t last = 0;
    for (auto loop = params.loops.rbegin(); loop != params.loops.rend(); ++loop) {
      if (random.from(0, o == 0 ? 5 : 2) == 0) continue;
      loop->steps[o] = held;
      last += held * (loop->count - 1);
      held *= loop->count;
    }
    if (o > 0 && random.coin()) {
      params.operands[o].numbers = random.values(last + 1);
      if (kind == BroadcastKind::Power)
        params.operands[o].numbers.assign(static_cast<std::size_t>(last) + 1, 3);
    } else {
      params.operands[o].input = inputs.size();
      inputs.push_back(last + 1);
    }
  }
  // Comparisons are tested with integers, so that some operands are equal.
  const bool compares = kind >= BroadcastKind::Equal;
  if (!compares && kind != BroadcastKind::Power) layer.activation = draw_activation(random);
  CAPTURE(static_cast<int>(kind));
  CAPTURE(rank);
  CAPTURE(values);
  check_layer(
      layer, inputs, values, random,
      [&](const auto& parts) {
        Definition found = define_broadcast(layer, parts);
        for (double& value : found.values) {
          if (std::isnan(value)) value = 0;
        }
        return found;
      },
      4e-7);
}

TEST_CASE("values of several tensors, repeated along any axes" *
          doctest::test_suite("arithmetic")) {
  Random random(16);
  const int cases = kUnderAsan ? 36 : 120;
  for (int i = 0; i < cases; ++i) {
    auto kind = static_cast<BroadcastKind>(i % 18);
    if (kind == BroadcastKind::Power) kind = BroadcastKind::Add;  // below
    const auto rank = static_cast<std::size_t>(random.from(0, 5));
    check_broadcast(kind, rank, rank < 3 ? 40 : 7, random);
  }
  for (int i = 0; i < 4; ++i) check_broadcast(BroadcastKind::Multiply, 2, 1500 >> i, random);
}

TEST_CASE("powers, and those that are products and roots" * doctest::test_suite("arithmetic")) {
  Random random(17);
  constexpr std::int64_t kCount = 75;
  std::vector<float> bases = random.values(kCount);
  for (float& base : bases) base = std::abs(base) + 0.01F;
  std::vector<float> exponents = random.values(kCount);
  for (const Kernels* kernels : available_kernels(kernels_named)) {
    CAPTURE(std::string(kernels->name));
    std::vector<float> found(bases.size());
    BroadcastTask task{};
    task.kind = BroadcastKind::Power;
    task.operands[0] = bases.data();
    task.operands[1] = exponents.data();
    task.steps[0] = 1;
    task.count = kCount;
    task.rows = 1;
    task.to = found.data();
    for (const float exponent : {2.0F, 3.0F, 0.5F, -0.5F, -1.0F, 1.7F, 0.0F}) {
      CAPTURE(exponent);
      const bool same = exponent != 0;
      if (same) exponents[0] = exponent;
      task.steps[1] = same ? 0 : 1;
      kernels->broadcast(task);
      for (std::size_t i = 0; i < found.size(); ++i) {
        const double expected =
            std::pow(static_cast<double>(bases[i]), static_cast<double>(exponents[same ? 0 : i]));
        CHECK(std::abs(found[i] - expected) <= 3e-7 * expected);
      }
    }
  }
}

TEST_CASE("comparisons of equal values" * doctest::test_suite("arithmetic")) {
  const std::vector<float> a = {0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0};
  const std::vector<float> b = {0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0, 1, 1, 1, 2, 2, 2, 0};
  for (const Kernels* kernels : available_kernels(kernels_named)) {
    CAPTURE(std::string(kernels->name));
    for (int i = static_cast<int>(BroadcastKind::Equal);
         i <= static_cast<int>(BroadcastKind::Where); ++i) {
      const auto kind = static_cast<BroadcastKind>(i);
      CAPTURE(i);
      std::vector<float> found(a.size());
      const BroadcastTask task = {kind,        {a.data(), b.data(), a.data()},      {1, 1, 1},
                                  {},          static_cast<std::int64_t>(a.size()), 1,
                                  found.data()};
      kernels->broadcast(task);
      for (std::size_t k = 0; k < a.size(); ++k) {
        CHECK(found[k] == static_cast<float>(combined(kind, a[k], b[k], a[k])));
      }
    }
  }
}

}  // namespace
}  // namespace lenet::tests

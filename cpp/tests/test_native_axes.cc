// Layers that compute along one axis of a tensor are compared with their definition in double, in
// every instruction set: softmax, reductions, and layers that take one value after the other (sums
// so far, the places of the largest values).

#include <cmath>

#include "native_support.h"

namespace lenet::tests {
namespace {

using namespace native;

// ---- softmax and reductions

const Axis& axis_of(const Layer& layer) {
  return layer.kind == LayerKind::Softmax ? layer.get<SoftmaxParams>().axis
                                          : layer.get<ReduceParams>().axis;
}

Definition define_axis(const Layer& layer, const std::vector<float>& values) {
  const auto [count, inner] = axis_of(layer);
  const bool softmax = layer.kind == LayerKind::Softmax;
  const bool logarithm = softmax && layer.get<SoftmaxParams>().logarithm;
  const auto rows = static_cast<std::int64_t>(values.size()) / count / inner;
  Definition found;
  found.values.resize(values.size() / (softmax ? 1 : static_cast<std::size_t>(count)));
  found.sizes = found.values;
  for (std::int64_t row = 0; row < rows * inner; ++row) {
    const float* const from = values.data() + row / inner * count * inner + row % inner;
    double sum = 0;
    double size = 0;
    double squares = 0;
    double product = 1;
    double powers = 0;
    double largest = -HUGE_VAL;
    double least = HUGE_VAL;
    for (std::int64_t k = 0; k < count; ++k) {
      const double value = from[k * inner];
      sum += value;
      size += std::abs(value);
      squares += value * value;
      product *= value;
      powers += std::exp(value);
      largest = std::max(largest, value);
      least = std::min(least, value);
    }
    if (softmax) {
      for (std::int64_t k = 0; k < count; ++k) {
        const auto at = static_cast<std::size_t>(from - values.data() + k * inner);
        const double share = std::exp(static_cast<double>(values[at])) / powers;
        found.values[at] = logarithm ? std::log(share) : share;
        found.sizes[at] = std::abs(found.values[at]);
      }
      continue;
    }
    double& value = found.values[static_cast<std::size_t>(row)];
    double& of_size = found.sizes[static_cast<std::size_t>(row)];
    of_size = size;
    switch (layer.get<ReduceParams>().kind) {
      case ReduceKind::Sum:
        value = sum;
        break;
      case ReduceKind::Mean:
        value = sum / static_cast<double>(count);
        of_size /= static_cast<double>(count);
        break;
      case ReduceKind::Max:
        value = largest;
        break;
      case ReduceKind::Min:
        value = least;
        break;
      case ReduceKind::Product:
        value = product;
        of_size = std::abs(product);
        break;
      case ReduceKind::L1:
        value = size;
        break;
      case ReduceKind::L2:
        of_size = value = std::sqrt(squares);
        break;
      case ReduceKind::SumOfSquares:
        of_size = value = squares;
        break;
      case ReduceKind::LogSum:
        value = std::log(sum);
        break;
      case ReduceKind::LogSumExp:
        value = std::log(powers);
        of_size = std::abs(value);
        break;
    }
  }
  return found;
}

TEST_CASE("softmax, sums and others along any axis" * doctest::test_suite("arithmetic")) {
  Random random(13);
  for (int i = 0; i < 120; ++i) {
    Layer layer = layer_of(random.coin() ? LayerKind::Softmax : LayerKind::Reduce);
    auto kind = static_cast<ReduceKind>(random.from(0, 9));
    if (kind == ReduceKind::LogSum) kind = ReduceKind::L2;  // of what may be below 0
    const bool softmax = layer.kind == LayerKind::Softmax;
    const bool logarithm = softmax && random.from(0, 4) == 0;
    Axis axis = {random.from(1, 90), random.coin() ? 1 : random.from(1, 90)};
    if (random.from(0, 9) == 0) axis = {random.from(1000, 3000), random.from(1, 2)};
    if (softmax) {
      layer.params = SoftmaxParams{axis, logarithm};
    } else {
      layer.params = ReduceParams{axis, kind};
    }
    const std::int64_t outer = random.from(1, 5);
    const std::int64_t values = outer * axis.count * axis.inner;
    CAPTURE(axis.count);
    CAPTURE(axis.inner);
    CAPTURE(outer);
    CAPTURE(static_cast<int>(kind));
    CAPTURE(softmax);
    check_layer(
        layer, {values}, softmax ? values : outer * axis.inner, random,
        [&](const auto& inputs) { return define_axis(layer, inputs[0]); }, softmax ? 2e-6 : 2e-7);
  }
}

TEST_CASE("softmax leaves out what is masked" * doctest::test_suite("arithmetic")) {
  constexpr std::int64_t kCount = 37;
  for (const Kernels* kernels : available_kernels(kernels_named)) {
    CAPTURE(std::string(kernels->name));
    for (const std::int64_t inner : {1, 3}) {
      std::vector<float> values(static_cast<std::size_t>(kCount * inner), -HUGE_VALF);
      for (std::int64_t i = 0; i < 5 * inner; ++i) values[static_cast<std::size_t>(i)] = 3e38F;
      std::vector<float> found(values.size());
      kernels->softmax({values.data(), kCount, inner, inner, found.data()});
      for (std::size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i] == (i < static_cast<std::size_t>(5 * inner) ? 0.2F : 0.0F));
      }
    }
  }
}

// ---- one value after the other

/// What a layer gives of the values of one axis.
std::vector<double> define_line(const AlongParams& along, std::vector<double> line) {
  const auto count = static_cast<std::int64_t>(line.size());
  std::vector<double> found;
  if (along.kind == AlongParams::Kind::Sums) {
    if (along.last) std::reverse(line.begin(), line.end());
    double sum = 0;
    for (const double value : line) {
      found.push_back(along.exclusive ? sum : sum + value);
      sum += value;
    }
    if (along.last) std::reverse(found.begin(), found.end());
    return found;
  }
  if (along.kind == AlongParams::Kind::Normalized) {
    double sum = along.epsilon;
    for (const double value : line) sum += along.of_squares ? value * value : std::abs(value);
    const double norm = along.of_squares ? std::sqrt(sum) : sum;
    for (const double value : line) found.push_back(norm == 0 ? value : value / norm);
    return found;
  }
  std::vector<std::int64_t> places(line.size());
  for (std::int64_t i = 0; i < count; ++i) places[static_cast<std::size_t>(i)] = i;
  if (along.last) std::reverse(places.begin(), places.end());
  const auto at = [&](std::int64_t place) {
    const double value = line[static_cast<std::size_t>(place)];
    return std::isnan(value) ? HUGE_VAL : along.smallest ? -value : value;
  };
  std::stable_sort(places.begin(), places.end(), [&](auto a, auto b) { return at(a) > at(b); });
  if (along.kind == AlongParams::Kind::Hardmax) {
    found.resize(line.size());
    found[static_cast<std::size_t>(places[0])] = 1;
    return found;
  }
  for (std::int64_t i = 0; i < along.given; ++i) {
    const std::int64_t place = places[static_cast<std::size_t>(i)];
    const bool values = along.kind == AlongParams::Kind::Largest;
    found.push_back(values ? line[static_cast<std::size_t>(place)] : static_cast<double>(place));
  }
  return found;
}

Definition define_along(const Layer& layer, const std::vector<float>& values) {
  const auto& along = layer.get<AlongParams>();
  const auto [count, inner] = along.axis;
  const auto outer = static_cast<std::int64_t>(values.size()) / count / inner;
  Definition found;
  found.values.resize(static_cast<std::size_t>(outer * along.given * inner));
  found.sizes.assign(found.values.size(), 1);
  for (std::int64_t row = 0; row < outer * inner; ++row) {
    std::vector<double> line;
    const std::int64_t first = row / inner * count * inner + row % inner;
    for (std::int64_t k = 0; k < count; ++k) {
      line.push_back(values[static_cast<std::size_t>(first + k * inner)]);
    }
    const std::vector<double> given = define_line(along, line);
    const std::int64_t to = row / inner * along.given * inner + row % inner;
    for (std::size_t i = 0; i < given.size(); ++i) {
      const std::size_t place = static_cast<std::size_t>(to) + i * static_cast<std::size_t>(inner);
      found.values[place] = given[i];
      if (along.kind == AlongParams::Kind::Sums) found.sizes[place] = std::abs(given[i]) + 1;
    }
  }
  return found;
}

TEST_CASE("sums so far, places and the largest values along any axis" *
          doctest::test_suite("arithmetic")) {
  Random random(21);
  for (int i = 0; i < 100; ++i) {
    Layer layer = layer_of(LayerKind::Along);
    auto& along = layer.get<AlongParams>();
    along.kind = static_cast<AlongParams::Kind>(i % 5);
    along.axis = {random.from(1, 60), random.coin() ? 1 : random.from(1, 40)};
    const bool orders = along.orders();
    along.given = orders ? random.from(1, along.axis.count) : along.axis.count;
    along.smallest = orders && random.coin();
    along.last = along.kind != AlongParams::Kind::Hardmax && random.coin();
    along.exclusive = random.coin();
    along.of_squares = random.coin();
    along.epsilon = random.coin() ? 0 : 1e-3;
    const std::int64_t outer = random.from(1, 5);
    const std::int64_t values = outer * along.axis.count * along.axis.inner;
    CAPTURE(static_cast<int>(along.kind));
    CAPTURE(along.axis.count);
    CAPTURE(along.axis.inner);
    CAPTURE(outer);
    check_layer(
        layer, {values}, values / along.axis.count * along.given, random,
        [&](const auto& inputs) { return define_along(layer, inputs[0]); }, 1e-7);
  }
}

TEST_CASE("of equal values the first or the last, and what is no number before all") {
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  for (const bool last : {false, true}) {
    for (const bool smallest : {false, true}) {
      Network network;
      const std::vector<float> values = {1, 3, 1, 3, kNaN, 2, kNaN, 0};
      network.tensors = {TensorShape{1, 1, 8}};
      Layer layer = layer_of(LayerKind::Along);
      layer.inputs = {0};
      layer.params = AlongParams{AlongParams::Kind::Places, {8, 1}, 8, smallest, last};
      layer.name = "places";
      add_layer(network, layer, {1, 1, 8});
      const std::vector<float> found = outputs(*compiled(network, kernels_named("scalar")), values);
      std::vector<float> expected = last ? std::vector<float>{6, 4, 3, 1, 5, 2, 0, 7}
                                         : std::vector<float>{4, 6, 1, 3, 5, 0, 2, 7};
      if (smallest) {
        expected = last ? std::vector<float>{6, 4, 7, 2, 0, 5, 3, 1}
                        : std::vector<float>{4, 6, 7, 0, 2, 5, 1, 3};
      }
      CHECK(found == expected);
    }
  }
}

}  // namespace
}  // namespace lenet::tests

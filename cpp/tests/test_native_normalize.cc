// Layers that normalize rows are compared with their definition in double, in every instruction
// set.

#include <cmath>

#include "native_support.h"

namespace lenet::tests {
namespace {

using namespace native;

Definition define_norm(const Layer& layer, const std::vector<float>& values) {
  Definition found;
  const auto& norm = layer.get<NormalizeParams>();
  const auto count = static_cast<std::size_t>(norm.count);
  for (std::size_t row = 0; row < values.size(); row += count) {
    double mean = 0;
    for (std::size_t i = 0; i < count && norm.subtracts_mean; ++i) mean += values[row + i];
    mean /= static_cast<double>(count);
    double variance = 0;
    for (std::size_t i = 0; i < count; ++i) variance += std::pow(values[row + i] - mean, 2);
    variance /= static_cast<double>(count);
    for (std::size_t i = 0; i < count; ++i) {
      const double normal =
          (values[row + i] - mean) / std::sqrt(variance + static_cast<double>(norm.epsilon));
      const double scaled = normal * (norm.scale.empty() ? 1.0 : norm.scale[i]);
      const double bias = norm.bias.empty() ? 0.0 : norm.bias[i];
      found.values.push_back(scaled + bias);
      found.sizes.push_back(std::abs(scaled) + std::abs(bias) + 1);
    }
  }
  return found;
}

TEST_CASE("rows are normalized" * doctest::test_suite("arithmetic")) {
  Random random(14);
  for (int i = 0; i < 40; ++i) {
    Layer layer = layer_of(LayerKind::Normalize);
    auto& norm = layer.get<NormalizeParams>();
    norm.count = i == 0 ? 20000 : random.from(1, 300);
    norm.epsilon = 1e-5F;
    norm.subtracts_mean = random.from(0, 2) > 0;
    if (random.coin()) norm.scale = random.values(norm.count);
    if (random.coin()) norm.bias = random.values(norm.count);
    const std::int64_t values = random.from(1, 9) * norm.count;
    CAPTURE(norm.count);
    CAPTURE(norm.subtracts_mean);
    check_layer(
        layer, {values}, values, random,
        [&](const auto& inputs) { return define_norm(layer, inputs[0]); }, 4e-7);
  }
}

TEST_CASE("norms of long rows far from 0 are exact" * doctest::test_suite("arithmetic")) {
  Random random(15);
  for (const std::int64_t count : {192, 200000}) {
    for (const float mean : {1000.0F, -3000.0F, 0.0F}) {
      CAPTURE(count);
      CAPTURE(mean);
      Layer layer = layer_of(LayerKind::Normalize);
      layer.params = NormalizeParams{count, 1e-6F};
      std::vector<float> values = random.values(count);
      for (float& value : values) value += mean;
      values[0] = mean + 300;
      const Definition expected = define_norm(layer, values);
      for (const Kernels* kernels : available_kernels(kernels_named)) {
        CAPTURE(std::string(kernels->name));
        std::vector<float> found(values.size());
        kernels->normalize({values.data(), count, 1, nullptr, nullptr, 1e-6F, true, found.data()});
        double worst = 0;
        for (std::size_t i = 0; i < found.size(); ++i) {
          worst = std::max(worst, std::abs(found[i] - expected.values[i]) / expected.sizes[i]);
        }
        CHECK(worst < 1e-6);
      }
    }
  }
}

}  // namespace
}  // namespace lenet::tests

// The functions of values that the native engine's layers end in, against those of <cmath> in
// double.

#include <cmath>
#include <functional>

#include "native_support.h"

namespace lenet::tests {
namespace {

using namespace native;

struct Function {
  Activation activation;
  std::function<double(double)> definition;
  /// Where the function is a difference or a product of large numbers, its error is compared with
  /// theirs rather than with the result.
  std::function<double(double)> size = nullptr;
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double clip(double x, double least, double most) { return std::min(std::max(x, least), most); }

/// What the rounding of 1.5 * x makes of the error of its exponential.
double rounded_argument(double x) { return 1 + std::abs(1.5 * x); }

const std::vector<Function>& functions() {
  const auto magnitude = [](double x) { return std::abs(x); };
  const auto sum = [](double x) { return std::abs(x) + 1; };
  static const std::vector<Function> all = {
      {{ActivationKind::None}, [](double x) { return x; }},
      {{ActivationKind::Relu}, [](double x) { return x > 0 ? x : 0; }},
      {{ActivationKind::Clip, -1.5F, 6}, [](double x) { return clip(x, -1.5, 6); }},
      {{ActivationKind::LeakyRelu, 0.125F}, [](double x) { return x < 0 ? x * 0.125 : x; }},
      {{ActivationKind::Elu, 1.5F, 0.75F},
       [](double x) { return x < 0 ? 1.5 * std::expm1(x) : 0.75 * x; }},
      {{ActivationKind::HardSigmoid, 0.25F, 0.5F},
       [](double x) { return clip(0.25 * x + 0.5, 0, 1); },
       sum},
      {{ActivationKind::HardSwish, 0.25F, 0.5F},
       [](double x) { return x * clip(0.25 * x + 0.5, 0, 1); },
       [](double x) { return std::abs(x) * (std::abs(x) + 1); }},
      {{ActivationKind::Sigmoid}, sigmoid},
      {{ActivationKind::Swish, 1.5F},
       [](double x) { return x * sigmoid(1.5 * x); },
       [](double x) { return std::abs(x * sigmoid(1.5 * x)) * rounded_argument(x); }},
      {{ActivationKind::Gelu},
       [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); },
       magnitude},
      {{ActivationKind::GeluTanh},
       [](double x) {
         return x / 2 *
                (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
       },
       magnitude},
      {{ActivationKind::Mish},
       [](double x) { return x * std::tanh(std::log1p(std::exp(std::min(x, 700.0)))); }},
      {{ActivationKind::Tanh}, [](double x) { return std::tanh(x); }},
      {{ActivationKind::Softplus, 1.5F, 20},
       [](double x) { return 1.5 * x > 20 ? x : std::log1p(std::exp(1.5 * x)) / 1.5; },
       [](double x) {
         return std::log1p(std::exp(std::min(1.5 * x, 700.0))) * rounded_argument(x);
       }},
      {{ActivationKind::Softplus, 1, HUGE_VALF},
       [](double x) { return x > 700 ? x : std::log1p(std::exp(x)); }},
      {{ActivationKind::Softsign}, [](double x) { return x / (1 + std::abs(x)); }},
      {{ActivationKind::Erf}, [](double x) { return std::erf(x); }},
      {{ActivationKind::Exp}, [](double x) { return std::exp(x); }},
      {{ActivationKind::Log}, [](double x) { return std::log(x); }},
      {{ActivationKind::Sqrt}, [](double x) { return std::sqrt(x); }},
      {{ActivationKind::Abs}, [](double x) { return std::abs(x); }},
      {{ActivationKind::Reciprocal},
       [](double x) { return x == 0 ? std::copysign(HUGE_VAL, x) : 1 / x; }},
      {{ActivationKind::ThresholdedRelu, 2}, [](double x) { return x > 2 ? x : 0; }},
      {{ActivationKind::Round, 0.25F, 100},
       // Integers have no NaN.
       [](double x) {
         return std::isnan(x) ? -25 : clip(std::nearbyint(x / 0.25), -100, 155) * 0.25;
       }},
  };
  return all;
}

/// Every exponent, both signs, several fractions; many values of the size that layers have.
std::vector<float> samples() {
  Random random(3);
  std::vector<float> found = {0, -0.0F, HUGE_VALF, -HUGE_VALF, NAN};
  for (int power = -149; power < 128; ++power) {
    for (int i = 0; i < 16; ++i) {
      const auto fraction = 1 + static_cast<float>(random.from(0, (1 << 23) - 1)) / (1 << 23);
      found.push_back(std::ldexp(random.coin() ? fraction : -fraction, power));
    }
  }
  for (float x = -110; x < 110; x += 0.0037F) found.push_back(x);
  found.resize(found.size() / 16 * 16);
  return found;
}

/// What the kernel of a set gives for some values. \param values whole vectors
std::vector<float> computed(const native::Kernels& kernels, const Activation& activation,
                            const std::vector<float>& values) {
  std::vector<float> found(values.size());
  kernels.activate(activation, values.data(), found.data(),
                   static_cast<std::int64_t>(values.size()));
  return found;
}

}  // namespace

TEST_CASE("functions are within three units in the last place, in all sets" *
          doctest::test_suite("arithmetic")) {
  const std::vector<float> values = samples();
  for (const native::Kernels* kernels : available_kernels(native::kernels_named)) {
    CAPTURE(std::string(kernels->name));
    for (const Function& function : functions()) {
      CAPTURE(std::string(native::to_string(function.activation.kind)));
      const std::vector<float> found = computed(*kernels, function.activation, values);
      double worst = 0;
      float at = 0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        const auto x = static_cast<double>(values[i]);
        const double expected = function.definition(x);
        const auto rounded = static_cast<float>(expected);
        const bool relu = function.activation.kind == ActivationKind::Relu ||
                          function.activation.kind == ActivationKind::ThresholdedRelu;
        if (std::isnan(values[i]) && relu) continue;
        if (std::isnan(rounded) || std::isinf(rounded) || std::isinf(found[i])) {
          const bool same = std::isnan(rounded) ? std::isnan(found[i]) : rounded == found[i];
          // Near the largest number, or of a product that is not defined at infinity.
          const bool near = std::abs(expected) > 3.4e38 || std::isinf(values[i]);
          if (!same && !near) CHECK_MESSAGE(found[i] == rounded, values[i]);
          continue;
        }
        const double size = function.size ? function.size(x) : std::abs(expected);
        const double unit = std::max(std::ldexp(size, -23), 1e-36);
        const double error = std::abs(found[i] - expected) / unit;
        if (!(error <= worst)) {
          worst = error;
          at = values[i];
        }
      }
      CAPTURE(at);
      CHECK(worst < 3);
    }
  }
}

TEST_CASE("each function of the table is compared with its definition") {
  for (const native::FunctionFacts& row : native::kFunctions) {
    CAPTURE(std::string(row.name));
    const auto has_kind = [&](const Function& each) { return each.activation.kind == row.kind; };
    const bool is_defined = std::any_of(functions().begin(), functions().end(), has_kind);
    CHECK(is_defined == (row.kind != ActivationKind::Scalar));
  }
}

TEST_CASE("the table says which functions give 0 for 0") {
  const native::Kernels& kernels = native::kernels_named("scalar");
  for (const Function& function : functions()) {
    const Activation& activation = function.activation;
    CAPTURE(std::string(native::to_string(activation.kind)));
    const bool gives_zero = function.definition(0) == 0;
    CHECK(native::keeps_zero(activation) == gives_zero);
    if (gives_zero) CHECK(computed(kernels, activation, std::vector<float>(16))[0] == 0);
  }
  CHECK_FALSE(native::keeps_zero({ActivationKind::Clip, 1, 2}));
  CHECK_FALSE(native::keeps_zero({ActivationKind::Clip, -2, -1}));
}

TEST_CASE("x times a function is the one that the table says") {
  const native::Kernels& kernels = native::kernels_named("scalar");
  const std::vector<float> values = {-20, -3, -1.5F, -0.25F, 0, 0.5F, 1, 2, 2.75F, 4, 10, 40};
  int products = 0;
  for (const native::FunctionFacts& row : native::kFunctions) {
    if (row.times_x == ActivationKind::None) continue;
    ++products;
    CAPTURE(std::string(row.name));
    const auto& [kind, alpha, beta] = row.operators[0];
    Activation activation = {row.kind, static_cast<float>(alpha.otherwise),
                             static_cast<float>(beta.otherwise)};
    const std::vector<float> factors = computed(kernels, activation, values);
    activation.kind = row.times_x;
    const std::vector<float> found = computed(kernels, activation, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
      CHECK(found[i] == doctest::Approx(values[i] * factors[i]).epsilon(1e-6));
    }
  }
  CHECK(products == 2);
}

TEST_CASE("functions of one value after the other") {
  Random random(22);
  for (const TensorShape& shape :
       {TensorShape{5}, TensorShape{1, 1, 67}, TensorShape{3, 7, 5}, TensorShape{20, 9, 33}}) {
    Layer layer = layer_of(LayerKind::Activate);
    layer.inputs = {0};
    layer.activation = {ActivationKind::Scalar, 2, -1,
                        [](double x, double alpha, double beta) { return alpha * x + beta; }};
    Network network;
    network.tensors = {shape};
    add_layer(network, layer, shape);
    const std::vector<float> images = random.values(3 * shape.values());
    std::vector<float> expected;
    for (const float value : images) expected.push_back(2 * value - 1);
    for (const Kernels* kernels : available_kernels(kernels_named)) {
      CAPTURE(std::string(kernels->name));
      const std::vector<float> found = outputs(*compiled(network, *kernels), images, 3);
      REQUIRE(found.size() == expected.size());
      for (std::size_t i = 0; i < found.size(); ++i) {
        CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-6));
      }
    }
  }
}

}  // namespace lenet::tests

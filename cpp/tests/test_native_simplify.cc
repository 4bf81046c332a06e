// What simplify() leaves of functions that exporters write in several operators.

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>

#include "engines/native/passes/passes.h"
#include "engines/native/read_network.h"
#include "model/graph.h"
#include "model/readers.h"
#include "notation.h"

namespace lenet::tests {
namespace {

/// The layers that are left of nodes that take x[-1,1,4,4] and give y.
std::deque<native::Layer> layers_of(const std::string& nodes, const std::string& constants = "") {
  const std::string model = onnx_model(onnx_graph(nodes, constants, "x[-1,1,4,4] -> y"));
  Graph graph = read_onnx_program(model, "m.onnx").graph;
  check_graph(graph, "m.onnx");
  const auto file_bytes = static_cast<double>(model.size());
  native::Network network = native::read_network(graph, "m.onnx", file_bytes, true);
  native::simplify(network);
  return network.layers;
}

}  // namespace

TEST_CASE("a product of x and its sigmoid is one layer") {
  for (const char* const product : {"Mul x s -> y", "Mul s x -> y"}) {
    const auto swish = layers_of(std::string("Sigmoid x -> s; ") + product);
    REQUIRE(swish.size() == 1);
    CHECK(swish[0].activation.kind == native::ActivationKind::Swish);
    CHECK(swish[0].activation.alpha == 1);
  }
  const auto hard = layers_of("HardSigmoid x -> s | alpha=0.25 beta=0.5; Mul x s -> y");
  REQUIRE(hard.size() == 1);
  CHECK(hard[0].activation.kind == native::ActivationKind::HardSwish);
  CHECK(hard[0].activation.alpha == 0.25F);
  CHECK(hard[0].activation.beta == 0.5F);
  // The layers stay if the function is another one, or takes another tensor, or is read once more.
  CHECK(layers_of("Tanh x -> s; Mul x s -> y").size() == 2);
  CHECK(layers_of("Tanh x -> t; Sigmoid t -> s; Mul x s -> y").size() == 3);
  CHECK(layers_of("Sigmoid x -> s; Mul x s -> p; Add p s -> y").size() == 3);
}

TEST_CASE("a gelu that is written in single operators is one layer, with its values") {
  const std::string constants = "root[1]f=1.4142135 one[1]f=1 half[1]f=0.5 wrong[1]f=1.41";
  const std::string sum = "Div x root -> a; Erf a -> b; Add b one -> c; ";
  const std::string ways[] = {
      sum + "Mul x c -> d; Mul d half -> y",
      sum + "Mul c x -> d; Mul half d -> y",
      "Mul x half -> d; " + sum + "Mul d c -> y",
      "Mul x half -> d; " + sum + "Mul c d -> y",
  };
  std::vector<float> x(16);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) * 0.5F - 4;
  for (const std::string& nodes : ways) {
    CAPTURE(nodes);
    const auto gelu = layers_of(nodes, constants);
    REQUIRE(gelu.size() == 1);
    CHECK(gelu[0].activation.kind == native::ActivationKind::Gelu);
    const TemporaryFolder folder;
    Predictor predictor(write_onnx(folder, onnx_graph(nodes, constants, "x[-1,1,4,4] -> y")));
    const std::vector<float> found = predictor.run({x.data(), {1, 1, 4, 4}}).data;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double value = x[i];
      CHECK(found[i] == doctest::Approx(value / 2 * (1 + std::erf(value / std::sqrt(2.0)))));
    }
  }
  // The layers stay if a constant or a tensor is another one, or a part is read once more.
  const std::string last = "Mul x c -> d; Mul d half -> y";
  CHECK(layers_of("Div x wrong -> a; Erf a -> b; Add b one -> c; " + last, constants).size() > 1);
  CHECK(layers_of("Tanh x -> t; Div t root -> a; Erf a -> b; Add b one -> c; " + last, constants)
            .size() > 1);
  CHECK(layers_of(sum + "Mul x c -> d; Mul d half -> e; Add e b -> y", constants).size() > 2);
  CHECK(layers_of(sum + "Mul x c -> d; Mul d one -> y", constants).size() > 1);
}

TEST_CASE("functions that exporters write as x times a gate are one layer, with their values") {
  const std::string constants =
      "three[1]f=3 six[1]f=6 sixth[1]f=0.16666667 five[1]f=5 much[1]f=1.5 b[1]f=0.25 zero[]f=0 "
      "one[]f=1";
  const std::string clipped = "Add x three -> a; Clip a zero six -> c; ";
  const auto hard_swish = [](double x) { return x * std::clamp(x + 3, 0.0, 6.0) / 6; };
  const auto scaled = [&](double x) { return hard_swish(x) * 1.5 + 0.25; };
  const auto swish = [](double x) { return x / (1 + std::exp(-1.5 * x)); };
  struct Way {
    std::string nodes;
    std::size_t layers;
    std::function<double(double)> function;
  };
  const Way ways[] = {
      {clipped + "Mul x c -> m; Div m six -> y", 1, hard_swish},
      {clipped + "Mul c x -> m; Mul m sixth -> y", 1, hard_swish},
      {clipped + "Div c six -> h; Mul x h -> y", 1, hard_swish},
      {clipped + "Mul x c -> m; Div m six -> s; Mul s much -> t; Add t b -> y", 2, scaled},
      {"Mul x much -> a; Sigmoid a -> s; Mul x s -> y", 1, swish},
      // What the product is scaled by takes the factor that is left.
      {clipped + "Mul x c -> m; Mul m much -> y", 2, [&](double x) { return 9 * hard_swish(x); }},
      // Here the gate stays: nothing takes the factor; another tensor; a part that is read once
      // more; other functions. A scale and the function behind it are one layer.
      {clipped + "Mul x c -> y", 2, [&](double x) { return 6 * hard_swish(x); }},
      {"Neg x -> n; " + clipped + "Mul n c -> m; Div m six -> y", 4,
       [&](double x) { return -hard_swish(x); }},
      {clipped + "Mul x c -> m; Div m six -> s; Add s c -> y", 4,
       [&](double x) { return hard_swish(x) + std::clamp(x + 3, 0.0, 6.0); }},
      {"Add x b -> a; Sigmoid a -> s; Mul x s -> y", 2,
       [](double x) { return x / (1 + std::exp(-x - 0.25)); }},
      {"Add x three -> a; Clip a one six -> c; Mul x c -> m; Div m six -> y", 3,
       [](double x) { return x * std::clamp(x + 3, 1.0, 6.0) / 6; }},
  };
  std::vector<float> x(16);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) * 0.5F - 4;
  for (const auto& [nodes, count, function] : ways) {
    CAPTURE(nodes);
    CHECK(layers_of(nodes, constants).size() == count);
    const TemporaryFolder folder;
    Predictor predictor(write_onnx(folder, onnx_graph(nodes, constants, "x[-1,1,4,4] -> y")));
    const std::vector<float> found = predictor.run({x.data(), {1, 1, 4, 4}}).data;
    for (std::size_t i = 0; i < x.size(); ++i) {
      CHECK(found[i] == doctest::Approx(function(static_cast<double>(x[i]))));
    }
  }
}

TEST_CASE("scales that follow one another are one, unless it would be infinite") {
  const std::string constants = "two[1]f=2 half[1]f=0.5 b[1]f=3 large[1]f=1e30";
  const auto one = layers_of("Mul x two -> a; Add a b -> c; Mul c two -> y", constants);
  REQUIRE(one.size() == 1);
  CHECK(one[0].get<native::ScaleParams>().scale == std::vector<float>(1, 4));
  CHECK(one[0].get<native::ScaleParams>().bias == std::vector<float>(1, 6));
  CHECK(layers_of("Mul x large -> a; Mul a large -> y", constants).size() == 2);
  CHECK(layers_of("Mul x two -> a; Relu a -> r; Mul r two -> y", constants).size() == 2);
  CHECK(layers_of("Mul x two -> a; Mul a two -> c; Add a c -> y", constants).size() == 3);
  CHECK(layers_of("Mul x two -> a; Mul a half -> c; Relu c -> y", constants).size() == 1);
}

TEST_CASE("without ir_optim each operator is computed by itself, to the same values") {
  const std::string constants =
      "w[5,3,3,3]=1,-1,.5,2,.25,-.5,1,0,-1,1,2,-2,.5,.5,1 u[5,5,1,1]=1,0,2,-1,.5,1,-1,.25,.5,1,-.5 "
      "p[7,5,3,3]=.5,1,-1,.25,.5,0,1,-.5,2 b[5]=.5,-1,0,2,1 s[5]=1,2,.5,-1,.25 m[5]=.5,0,1,-1,.25 "
      "v[5]=1,2,.5,1,4 c[5,1,1]=2,.5,1,-1,4 h[]=.5 one[]=1 root[]=1.4142135 two[]=2 "
      "f[20,4]=1,-1,.5,2,.25,-.5,1,0,-1,1,2,-2,.5,.5,1 g[4]=.5,-1,0,2 r[3]i=0,5,36 t[3]i=0,36,5 "
      "start[1]i=0 end[1]i=1 axis[1]i=1 pads[8]i=0,0,1,1,0,0,1,1 "
      "l[5,5]=1,2,-1,.5,0,1,-2,.25,1,3,-1";
  const std::string first = "Conv x w -> a | pads=[1,1,1,1]; ";
  struct Case {
    std::string nodes;
    std::size_t layers;  ///< but for the image and the outputs
    std::size_t joined;  ///< those of them that the passes leave
  };
  const Case cases[] = {
      {first + "BatchNormalization a s b m v -> n; Relu n -> y", 3, 1},
      {first + "Conv a u -> d; Add d a -> e; Relu e -> q; Conv q p -> y", 5, 3},
      {first + "Conv a u -> d; Add d a -> e; Exp e -> q; Reciprocal q -> o; Conv o p -> y", 6, 4},
      {first + "Relu a -> d; MaxPool d -> y | kernel_shape=[2,2] strides=[2,2]", 3, 2},
      {first + "Mul a c -> d; Add d h -> e; Sigmoid e -> q; Mul q a -> y", 5, 3},
      {first + "Div a root -> d; Erf d -> e; Add e one -> q; Mul a q -> o; Mul o h -> y", 6, 1},
      {first + "GlobalAveragePool a -> d; Conv d u -> e; Sigmoid e -> q; Mul a q -> y", 5, 4},
      {first + "Concat a a -> d | axis=1; Split d -> e q | axis=1; Mul e q -> y", 5, 2},
      {first + "Pad a pads -> d; Conv d p -> y", 5, 2},
  };
  std::vector<float> x(std::size_t{2} * 3 * 36);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 11) / 8 - 0.5F;
  for (const auto& [nodes, layers, joined] : cases) {
    CAPTURE(nodes);
    const TemporaryFolder folder;
    Config config = write_onnx(folder, onnx_graph(nodes, constants, "x[-1,3,6,6] -> y"));
    const auto count = [](Predictor& predictor) {
      return predictor.profile(1, 1).parts.back().layers.size() - 2;
    };
    Predictor optimized(config);
    config.ir_optim = false;
    Predictor plain(config);
    CHECK(plain.config().engine == EngineKind::Native);
    CHECK(count(plain) == layers);
    CHECK(count(optimized) == joined);
    const std::vector<float> expected = plain.run({x.data(), {2, 3, 6, 6}}).data;
    const std::vector<float> found = optimized.run({x.data(), {2, 3, 6, 6}}).data;
    REQUIRE(found.size() == expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-4));
    }
  }
}

}  // namespace lenet::tests

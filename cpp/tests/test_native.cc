// The native engine's programs of one or two layers, over shapes that look random, against the
// definition; under the sanitizers too. tests/cpp/test_native_engine.py has real exports.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "engines/native/int8/program.h"
#include "engines/native/program.h"
#include "engines/native/read_network.h"
#include "lenet/predictor.h"
#include "model/check_graph.h"
#include "model/program_desc.h"
#include "native_support.h"
#include "onnx_builder.h"
#include "program_builder.h"
#include "support.h"

namespace lenet::tests {
namespace {

using native::Kernels;
using native::Layer;
using native::LayerKind;
using native::Network;
using native::PoolKind;
using native::TensorShape;

constexpr std::int64_t kImages = 19;  // more than a vector of any set, with a rest

/// The pool that convolutions compute on the way, or any other.
void add_pool(Network& network, Random& random) {
  const TensorShape in = network.tensors.back();
  TensorShape out = {in.channels, in.height / 2, in.width / 2};
  Layer pool = layer_of(LayerKind::Pool);
  pool.relu = random.coin();
  pool.window.kernel = pool.window.strides = {2, 2};
  if (out.values() == 0 || random.coin()) {
    pool.pool = static_cast<PoolKind>(random.from(0, 2));
    const auto direction = [&](std::size_t i, std::int64_t size) {
      std::int64_t& kernel = pool.window.kernel[i];
      kernel = random.from(1, std::min<std::int64_t>(4, size));
      pool.window.strides[i] = random.from(1, std::min<std::int64_t>(3, kernel));
      pool.window.padding[2 * i] = random.from(0, kernel / 2);
      pool.window.padding[2 * i + 1] = random.from(0, kernel / 2);
      return count_windows(size, pool.window, i);
    };
    out.height = direction(0, in.height);
    out.width = direction(1, in.width);
  }
  add_layer(network, pool, out);
}

/// A convolution, perhaps with a branch beside it, pooled, and followed by a fully connected layer.
/// \param winograd whether the convolution is one that Winograd's transform computes
Network random_network(Random& random, bool winograd) {
  Network network;
  Layer convolution = layer_of(LayerKind::Convolution);
  convolution.groups = !winograd && random.from(0, 3) == 0 ? 2 : 1;
  TensorShape in;
  TensorShape out;
  in.channels =
      winograd ? random.from(4, 9) : convolution.groups * (random.coin() ? 1 : random.from(1, 9));
  out.channels = convolution.groups * random.from(winograd ? 4 : 1, 20);
  const bool plain = random.coin();  // as the special cases want it
  const auto direction = [&](std::size_t i, std::int64_t& image, std::int64_t& result) {
    native::Window& window = convolution.window;
    window.kernel[i] = winograd ? 5 : random.from(1, 5);
    if (winograd || !plain) {
      window.padding[2 * i] = random.from(0, 2);
      window.padding[2 * i + 1] = random.from(0, 2);
    }
    if (winograd) {
      result = 2 * random.from(1, 14);
      image = result + 4 - window.padding[2 * i] - window.padding[2 * i + 1];
      return;
    }
    window.strides[i] = plain ? 1 : random.from(1, 3);
    window.dilations[i] = plain ? 1 : random.from(1, 2);
    image = random.from(1, 40) + window.dilations[i] * (window.kernel[i] - 1);
    result = count_windows(image, window, i);
  };
  direction(0, in.height, out.height);
  direction(1, in.width, out.width);
  convolution.weights = random.values(out.channels * (in.channels / convolution.groups) *
                                      convolution.window.kernel[0] * convolution.window.kernel[1]);
  convolution.bias = random.values(out.channels);
  convolution.relu = random.coin();
  network.tensors = {in};
  add_layer(network, convolution, out);
  if (random.from(0, 2) == 0) {
    Layer scale = layer_of(LayerKind::ChannelScale);
    scale.scale = random.values(out.channels);
    scale.bias = random.values(out.channels);
    scale.relu = random.coin();
    add_layer(network, scale, out);
    Layer join = layer_of(random.coin() ? LayerKind::Add : LayerKind::Concat);
    join.inputs = {1, 2};
    join.relu = join.kind == LayerKind::Add;
    if (join.kind == LayerKind::Concat) out.channels *= 2;
    add_layer(network, join, out);
    if (random.coin()) add_layer(network, layer_of(LayerKind::Relu), out);
  }
  if (random.coin()) add_pool(network, random);
  if (random.coin()) {
    const TensorShape image = network.tensors.back();
    Layer linear = layer_of(LayerKind::Convolution);
    linear.window.kernel = {image.height, image.width};
    const std::int64_t classes = random.from(1, 150);
    linear.weights = random.values(classes * image.values());
    linear.bias = random.values(classes);
    add_layer(network, linear, {classes, 1, 1});
  }
  return network;
}

TEST_CASE("random networks are what their definition says, in both layouts and all sets" *
          doctest::test_suite("arithmetic")) {
  Random random(11);
  for (int i = 0; i < 90; ++i) {
    const Network network = random_network(random, i >= 60);
    CAPTURE(i);
    const std::int64_t image = network.tensors[0].values();
    const std::int64_t row = network.tensors[network.output].values();
    const std::vector<float> images = random.values(kImages * image);
    std::vector<double> expected;
    double largest = 1;
    for (std::int64_t n = 0; n < kImages; ++n) {
      for (const double value : definition(network, images.data() + n * image)) {
        expected.push_back(value);
        largest = std::max(largest, std::abs(value));
      }
    }
    for (const Kernels* kernels : available_kernels(native::kernels_named)) {
      CAPTURE(std::string(kernels->name));
      std::vector<float> one_by_one;
      for (const bool interleaved : {false, true}) {
        const native::Program program(network, *kernels, interleaved);
        for (const std::int64_t at_once : {kImages, std::int64_t{1}}) {
          native::Aligned<float> memory = program.memory(at_once);
          std::vector<float> found(static_cast<std::size_t>(kImages * row));
          for (std::int64_t n = 0; n < kImages; n += at_once) {
            program.run(images.data() + n * image, at_once, memory.data(), found.data() + n * row);
          }
          double worst = 0;
          for (std::size_t k = 0; k < found.size(); ++k) {
            worst = std::max(worst, std::abs(found[k] - expected[k]));
          }
          CHECK(worst <= 1e-5 * largest);
          if (one_by_one.empty()) one_by_one = found;
          CHECK(found == one_by_one);
        }
      }
    }
  }
}

TEST_CASE("softmax gives the output, wherever it is among the layers, and nothing else") {
  Network network;
  network.tensors = {{3, 1, 1}};
  Layer doubled = layer_of(LayerKind::Convolution);
  doubled.weights = {2, 0, 0, 0, 2, 0, 0, 0, 2};
  doubled.bias = {0, 0, 0};
  add_layer(network, doubled, {3, 1, 1});
  add_layer(network, layer_of(LayerKind::Softmax), {3, 1, 1});
  Layer unused = doubled;
  unused.inputs = {0};
  unused.bias = {5, 5, 5};
  add_layer(network, unused, {3, 1, 1});
  network.output = 2;
  const std::vector<float> image = {0, std::log(2.0F) / 2, std::log(5.0F) / 2};
  const auto check = [&](const auto& program, auto memory) {
    std::vector<float> found(3);
    program.run(image.data(), 1, memory.data(), found.data());
    const std::array<float, 3> expected = {0.125F, 0.25F, 0.625F};
    for (std::size_t i = 0; i < 3; ++i) CHECK(std::abs(found[i] - expected[i]) <= 1e-6F);
  };
  const native::Program program(network, native::choose_kernels(), false);
  check(program, program.memory(1));
  const native::int8::Program rounding(network, native::int8::choose_kernels());
  check(rounding, rounding.memory(1));
  network.output = 3;
  const auto refused = [](const auto& compile) {
    check_error(ErrorCode::Unsupported, "softmax as the last layer only", compile);
  };
  refused([&] { native::Program(network, native::choose_kernels(), false); });
  refused([&] { native::int8::Program(network, native::int8::choose_kernels()); });
}

TEST_CASE("one image's zeros are skipped, but not what they make NaN") {
  constexpr std::int64_t kWidth = 70;  // more than the bits of a number
  constexpr std::int64_t kClasses = 9;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Network network;
  network.tensors = {{1, 1, kWidth}};
  Layer linear = layer_of(LayerKind::Convolution);
  linear.window.kernel = {1, kWidth};
  Random random(3);
  linear.weights = random.values(kClasses * kWidth);
  linear.bias = random.values(kClasses);
  add_layer(network, linear, {kClasses, 1, 1});
  float& weight = network.layers[0].weights[3 * kWidth + 66];  // of class 3, times 0
  std::vector<float> image = random.values(kWidth);
  for (std::size_t i = 0; i < kWidth; ++i) image[i] *= static_cast<float>(i % 3 != 0);
  const auto run = [&](const Kernels& kernels) {
    const native::Program program(network, kernels, false);
    native::Aligned<float> memory(static_cast<std::size_t>(program.unit_floats()));
    std::vector<float> found(kClasses);
    program.run(image.data(), 1, memory.data(), found.data());
    return found;
  };
  for (const Kernels* kernels : available_kernels(native::kernels_named)) {
    CAPTURE(std::string(kernels->name));
    const std::vector<float> found = run(*kernels);
    const std::vector<double> expected = definition(network, image.data());
    for (std::size_t o = 0; o < kClasses; ++o) CHECK(found[o] == doctest::Approx(expected[o]));

    const float finite = std::exchange(weight, kInfinity);
    CHECK(std::isnan(run(*kernels)[3]));
    CHECK(run(*kernels)[2] == doctest::Approx(expected[2]));
    weight = finite;
    const float before = std::exchange(image[67], std::numeric_limits<float>::quiet_NaN());
    for (const float value : run(*kernels)) CHECK(std::isnan(value));
    image[67] = before;
  }
}

TEST_CASE("the output may lie over the input") {
  const TemporaryFolder folder;
  Config config = write_onnx(folder, {onnx_node("Conv", {"x", "w"}, {"y"})},
                             {onnx_tensor("w", {4, 1, 1, 1}, {1, 2, 3, 4})}, {1, 1, 2}, {4, 1, 2});
  config.max_batch_size = 1;
  Predictor predictor(config);
  const std::vector<float> expected = {1,  2,  2,  4,  3,  6,  4,  8,  // 1, 2 times 1, 2, 3, 4
                                       10, 20, 20, 40, 30, 60, 40, 80};
  Tensor tensor{{1, 2, 10, 20}, {2, 1, 1, 2}};
  predictor.run(tensor.view(), tensor);
  CHECK(tensor.shape == Shape{2, 4, 1, 2});
  CHECK(tensor.data == expected);
}

TEST_CASE("parameters that do not fit what a layer takes") {
  const auto read = [](const TestProgram& program, const native::Parameters& parameters) {
    Graph graph = read_program_desc(program.bytes(), "m");
    check_graph(graph, "m");
    native::read_network(graph, parameters, "m", 1e6);
  };
  const std::string flatten =
      make_operator("reshape2", {{"X", "x"}}, {{"Out", "f"}}, {ints_attribute("shape", {0, 10})});
  // The axis says where the dimensions of Y begin in those of X, which here is the larger one.
  const TestProgram sum = {
      {-1, 1, 1, 10},
      {1, 1, -1, 10},
      {tensor_variable("f", {-1, 10}), tensor_variable("w", {1, 1, 1, 10}, true)},
      {flatten, make_operator("elementwise_add", {{"X", "w"}, {"Y", "f"}}, {{"Out", "y"}},
                              {int_attribute("axis", 2)})}};
  check_error(ErrorCode::Unsupported, "elementwise_add",
              [&] { read(sum, {{"w", {{1, 1, 1, 10}, std::vector<float>(10)}}}); });
  // Its shape comes from another input, and is only what the program declares.
  const TestProgram bias = {{-1, 10, 1, 1},
                            {-1, 10, 1, 1},
                            {tensor_variable("w", {7}, true), tensor_variable("s", {3}, true),
                             tensor_variable("b", {10, 1, 1})},
                            {make_operator("reshape2", {{"X", "w"}, {"Shape", "s"}}, {{"Out", "b"}},
                                           {ints_attribute("shape", {10, 1, 1})}),
                             make_operator("elementwise_add", {{"X", "x"}, {"Y", "b"}},
                                           {{"Out", "y"}}, {int_attribute("axis", -1)})}};
  check_error(ErrorCode::Unsupported, "to another number of values",
              [&] { read(bias, {{"w", {{7}, std::vector<float>(7)}}}); });
}

TEST_CASE("options that it has not") {
  Config config = bundled();
  config.precision = "bf16";
  check_error(ErrorCode::Unsupported, "not support precision bf16", [&] { Predictor{config}; });
  config.precision = "fp32";
  config.accelerator = Accelerator::OneDnn;
  check_error(ErrorCode::Unsupported, "accelerator onednn", [&] { Predictor{config}; });
  config.accelerator = Accelerator::Auto;
  Predictor predictor(config);
  check_error(ErrorCode::Unsupported, "cannot show each", [&] {
    predictor.set_layer_callback([](const std::string&, const std::string&, const TensorView&) {});
  });
}

}  // namespace
}  // namespace lenet::tests

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

std::vector<double> convolve(const Layer& layer, const std::vector<double>& image,
                             const TensorShape& in, const TensorShape& out) {
  const native::Window& window = layer.window;
  const std::int64_t inputs = in.channels / layer.groups;
  const std::int64_t outputs = out.channels / layer.groups;
  std::vector<double> result;
  for (std::int64_t o = 0; o < out.channels; ++o) {
    for (std::int64_t y = 0; y < out.height; ++y) {
      for (std::int64_t x = 0; x < out.width; ++x) {
        double sum = layer.bias[static_cast<std::size_t>(o)];
        for (std::int64_t c = 0; c < inputs; ++c) {
          for (std::int64_t i = 0; i < window.kernel[0]; ++i) {
            for (std::int64_t j = 0; j < window.kernel[1]; ++j) {
              const auto weight = static_cast<std::size_t>(
                  ((o * inputs + c) * window.kernel[0] + i) * window.kernel[1] + j);
              sum += layer.weights[weight] *
                     value_at(image, in, o / outputs * inputs + c,
                              y * window.strides[0] - window.padding[0] + i * window.dilations[0],
                              x * window.strides[1] - window.padding[2] + j * window.dilations[1]);
            }
          }
        }
        result.push_back(layer.relu ? std::max(sum, 0.0) : sum);
      }
    }
  }
  return result;
}

std::vector<double> max_pool(const Layer& layer, const std::vector<double>& image,
                             const TensorShape& in, const TensorShape& out) {
  std::vector<double> result;
  for (std::int64_t c = 0; c < out.channels; ++c) {
    for (std::int64_t y = 0; y < out.height; ++y) {
      for (std::int64_t x = 0; x < out.width; ++x) {
        double largest = -std::numeric_limits<double>::infinity();
        for (std::int64_t i = 0; i < layer.window.kernel[0]; ++i) {
          for (std::int64_t j = 0; j < layer.window.kernel[1]; ++j) {
            largest = std::max(largest, value_at(image, in, c, y * layer.window.strides[0] + i,
                                                 x * layer.window.strides[1] + j));
          }
        }
        result.push_back(largest);
      }
    }
  }
  return result;
}

/// A convolution, perhaps pooled, and then perhaps a fully connected layer.
/// \param winograd whether the convolution is one that Winograd's transform computes
Network random_network(Random& random, bool winograd) {
  Network network;
  Layer convolution;
  convolution.kind = LayerKind::Convolution;
  convolution.groups = !winograd && random.from(0, 3) == 0 ? 2 : 1;
  TensorShape in;
  in.channels = convolution.groups * (random.coin() ? 1 : random.from(1, 9));
  TensorShape out;
  out.channels = convolution.groups * random.from(1, 20);
  const bool plain = random.coin();  // as the special cases want it
  if (winograd) {
    in.channels = random.from(4, 9);
    out.channels = random.from(4, 20);
  }
  const auto direction = [&](std::size_t i, std::int64_t& image, std::int64_t& result) {
    native::Window& window = convolution.window;
    if (winograd) {
      window.kernel[i] = 5;
      for (std::int64_t* padding : {&window.padding[2 * i], &window.padding[2 * i + 1]}) {
        *padding = random.from(0, 2);
      }
      result = 2 * random.from(1, 14);
      image = result + 4 - window.padding[2 * i] - window.padding[2 * i + 1];
      return;
    }
    window.kernel[i] = random.from(1, 5);
    window.strides[i] = plain ? 1 : random.from(1, 3);
    window.dilations[i] = plain ? 1 : random.from(1, 2);
    if (!plain) {
      window.padding[2 * i] = random.from(0, 2);
      window.padding[2 * i + 1] = random.from(0, 2);
    }
    image = random.from(1, 40) + window.dilations[i] * (window.kernel[i] - 1);
    result = count_windows(image, window, i);
  };
  direction(0, in.height, out.height);
  direction(1, in.width, out.width);
  convolution.weights = random.values(out.channels * (in.channels / convolution.groups) *
                                      convolution.window.kernel[0] * convolution.window.kernel[1]);
  convolution.bias = random.values(out.channels);
  convolution.relu = random.coin();
  convolution.inputs = {0};
  convolution.output = 1;
  network.tensors = {in, out};
  network.layers.push_back(convolution);
  if (out.height >= 2 && out.width >= 2 && random.coin()) {
    Layer pool;
    pool.kind = LayerKind::Pool;
    pool.window.kernel = pool.window.strides = {2, 2};
    pool.inputs = {1};
    pool.output = 2;
    network.tensors.push_back({out.channels, out.height / 2, out.width / 2});
    network.layers.push_back(pool);
  }
  if (random.coin()) {
    const TensorShape image = network.tensors.back();
    Layer linear;
    linear.kind = LayerKind::Convolution;
    linear.window.kernel = {image.height, image.width};
    const std::int64_t classes = random.from(1, 150);
    linear.weights = random.values(classes * image.values());
    linear.bias = random.values(classes);
    linear.inputs = {network.tensors.size() - 1};
    linear.output = network.tensors.size();
    network.tensors.push_back({classes, 1, 1});
    network.layers.push_back(linear);
  }
  network.input = 0;
  network.output = network.tensors.size() - 1;
  return network;
}

std::vector<double> definition(const Network& network, const float* image) {
  std::vector<double> values(image, image + network.tensors[0].values());
  for (const Layer& layer : network.layers) {
    const TensorShape& in = network.tensors[layer.inputs[0]];
    const TensorShape& out = network.tensors[layer.output];
    values = layer.kind == LayerKind::Pool ? max_pool(layer, values, in, out)
                                           : convolve(layer, values, in, out);
  }
  return values;
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
  network.tensors = {{3, 1, 1}, {3, 1, 1}, {3, 1, 1}, {3, 1, 1}};
  Layer doubled;
  doubled.kind = LayerKind::Convolution;
  doubled.weights = {2, 0, 0, 0, 2, 0, 0, 0, 2};
  doubled.bias = {0, 0, 0};
  doubled.inputs = {0};
  doubled.output = 1;
  Layer softmax;
  softmax.kind = LayerKind::Softmax;
  softmax.inputs = {1};
  softmax.output = 2;
  Layer unused = doubled;
  unused.bias = {5, 5, 5};
  unused.output = 3;
  network.layers = {doubled, softmax, unused};
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
  network.tensors = {{1, 1, kWidth}, {kClasses, 1, 1}};
  network.output = 1;
  Layer linear;
  linear.kind = LayerKind::Convolution;
  linear.window.kernel = {1, kWidth};
  linear.inputs = {0};
  linear.output = 1;
  Random random(3);
  linear.weights = random.values(kClasses * kWidth);
  linear.bias = random.values(kClasses);
  std::vector<float> image = random.values(kWidth);
  for (std::size_t i = 0; i < kWidth; ++i) image[i] *= static_cast<float>(i % 3 != 0);
  const auto run = [&](const Kernels& kernels) {
    network.layers = {linear};
    const native::Program program(network, kernels, false);
    native::Aligned<float> memory(static_cast<std::size_t>(program.unit_floats()));
    std::vector<float> found(kClasses);
    program.run(image.data(), 1, memory.data(), found.data());
    return found;
  };
  for (const Kernels* kernels : available_kernels(native::kernels_named)) {
    CAPTURE(std::string(kernels->name));
    const std::vector<float> found = run(*kernels);
    network.layers = {linear};
    const std::vector<double> expected = definition(network, image.data());
    for (std::size_t o = 0; o < kClasses; ++o) CHECK(found[o] == doctest::Approx(expected[o]));

    const Layer finite = linear;
    linear.weights[3 * kWidth + 66] = kInfinity;  // of class 3, times 0
    CHECK(std::isnan(run(*kernels)[3]));
    CHECK(run(*kernels)[2] == doctest::Approx(expected[2]));
    linear = finite;
    const float before = std::exchange(image[67], std::numeric_limits<float>::quiet_NaN());
    for (const float value : run(*kernels)) CHECK(std::isnan(value));
    image[67] = before;
  }
}

TEST_CASE("threads share a large batch") {
  Config config;
  config.model_dir = kModelDir;
  config.engine = "native";
  const Tensor images = random_images(300);
  const std::vector<float> expected = Predictor(config).run(images.view()).data;
  config.threads = 3;
  Predictor predictor(config);
  for (int i = 0; i < 5; ++i) CHECK(predictor.run(images.view()).data == expected);
}

TEST_CASE("the bundled model, by both engines" * doctest::skip(!has_paddle())) {
  Config config;
  config.model_dir = kModelDir;
  config.accelerator = Accelerator::Plain;
  Predictor paddle(config);
  config.engine = "native";
  Predictor predictor(config);
  CHECK(predictor.config().engine == "native");
  CHECK(predictor.input_spec().name == paddle.input_spec().name);
  CHECK(predictor.input_spec().shape == paddle.input_spec().shape);
  CHECK(predictor.output_spec().shape == paddle.output_spec().shape);
  for (const std::int64_t count : {1, 7, 16, 70}) {
    const Tensor images = random_images(count);
    const Tensor expected = paddle.run(images.view());
    const Tensor found = predictor.run(images.view());
    CHECK(found.shape == expected.shape);
    for (std::size_t i = 0; i < found.data.size(); ++i) {
      CHECK(std::abs(found.data[i] - expected.data[i]) <= 1e-4F);
    }
    CHECK(predictor.clone().run(images.view()).data == found.data);
  }
}

TEST_CASE("the output may lie over the input") {
  const TemporaryFolder folder;
  Config config;
  config.engine = "native";
  config.max_batch_size = 1;
  config.model_file = write_file(
      folder / "m.onnx",
      onnx_model(onnx_graph({onnx_node("Conv", {"x", "w"}, {"y"})},
                            {onnx_tensor("w", {4, 1, 1, 1}, {1, 2, 3, 4})},
                            {onnx_value("x", {-1, 1, 1, 2})}, {onnx_value("y", {-1, 4, 1, 2})})));
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
  Config config;
  config.model_dir = kModelDir;
  config.engine = "native";
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

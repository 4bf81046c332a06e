// What is too much for the native engine: tensors beyond 32-bit offsets, and beyond the memory.

#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <new>
#include <optional>

#include "engines/native/int8/program.h"
#include "engines/native/program.h"
#include "lenet/predictor.h"
#include "native_support.h"
#include "onnx_builder.h"
#include "quantized_model.h"

namespace lenet::tests {
namespace {

using native::Layer;
using native::LayerKind;
using native::Network;

/// A convolution of three rows, of an image whose rows are 2^31 values long.
Network wide_network(std::int64_t channels, bool quantized) {
  constexpr std::int64_t kWidth = std::int64_t{1} << 31;
  Network network;
  network.tensors = {{1, 3, kWidth}};
  Layer quantize = layer_of(LayerKind::Quantize);
  quantize.rounding.range = 127;
  if (quantized) add_layer(network, quantize, {1, 3, kWidth});
  Layer convolution = layer_of(LayerKind::Convolution);
  convolution.name = "the convolution";
  convolution.window.kernel = {3, 1};
  const auto outputs = static_cast<std::size_t>(channels);
  convolution.bias.assign(outputs, 0);
  if (quantized) {
    convolution.integers.assign(3 * outputs, 1);
    convolution.steps.assign(outputs, 1);
  } else {
    convolution.weights.assign(3 * outputs, 1);
  }
  add_layer(network, convolution, {channels, 1, kWidth});
  return network;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kCanLimit = false;  // their own memory is beyond any limit
#else
constexpr bool kCanLimit = true;
#endif

/// Runs `action` in a child that may take `bytes` more than it has after `prepare`.
/// \returns what its BackendFailure says
std::string failure_within(std::size_t bytes, const std::function<void()>& prepare,
                           const std::function<void()>& action) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    std::string said = "nothing";
    try {
      prepare();
      // What was freed before is not given out again.
      malloc_trim(0);
      mallopt(M_MMAP_THRESHOLD, 1 << 20);
      std::size_t pages = 0;
      std::ifstream("/proc/self/statm") >> pages;
      const rlimit limit = {pages * static_cast<std::size_t>(getpagesize()) + bytes, RLIM_INFINITY};
      if (setrlimit(RLIMIT_AS, &limit) == 0) action();
    } catch (const Error& error) {
      said = std::string(to_string(error.code())) + ": " + error.what();
    } catch (const std::exception& error) {
      said = std::string("untyped: ") + error.what();
    }
    _exit(write(ends[1], said.data(), said.size()) == static_cast<ssize_t>(said.size()) ? 0 : 1);
  }
  close(ends[1]);
  std::string said(4096, ' ');
  said.resize(static_cast<std::size_t>(std::max<ssize_t>(0, read(ends[0], said.data(), 4096))));
  close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  return said;
}

constexpr std::int64_t kSide = 1024;
constexpr std::size_t kMebibyte = std::size_t{1} << 20;

Config float_model(const TemporaryFolder& folder) {
  return write_onnx(folder, {onnx_node("Conv", {"x", "w"}, {"y"})},
                    {onnx_tensor("w", {4, 1, 3, 3}, std::vector<float>(4 * 9, 1))},
                    {1, kSide, kSide}, {4, kSide - 2, kSide - 2});
}

}  // namespace

TEST_CASE("tensors of more than 2 GiB are refused, in every layout and set") {
  const auto refuse = [](const std::function<void()>& compile) {
    check_error(ErrorCode::Unsupported, "more than 2 GiB for the tensors of one image", compile);
  };
  for (const std::int64_t channels : {1, 40}) {
    CAPTURE(channels);
    for (const auto* kernels : available_kernels(native::kernels_named)) {
      CAPTURE(std::string(kernels->name));
      for (const bool interleaved : {false, true}) {
        refuse([&] { native::Program(wide_network(channels, false), *kernels, interleaved); });
      }
    }
    for (const auto* kernels : available_kernels(native::int8::kernels_named)) {
      CAPTURE(std::string(kernels->name));
      refuse([&] { native::int8::Program(wide_network(channels, true), *kernels); });
    }
  }
}

TEST_CASE("more numbers than an address has bytes are too much memory") {
  constexpr std::size_t kMany = std::numeric_limits<std::size_t>::max() / sizeof(float) + 2;
  CHECK_THROWS_AS(native::Aligned<float>{kMany}, std::bad_alloc);
}

TEST_CASE("too little memory is a typed error" * doctest::skip(!kCanLimit) *
          doctest::test_suite("address space")) {
  const TemporaryFolder folder;
  QuantizedModel quantized;
  quantized.side = kSide;
  Config whole = quantized.write(folder);
  whole.engine = "native";
  whole.precision = "int8";
  const std::vector<float> image(kSide * kSide, 0.5F);
  const TensorView view{image.data(), {1, 1, kSide, kSide}};
  for (const Config& config : {float_model(folder), whole}) {
    CAPTURE(config.model_file);
    std::optional<Predictor> predictor;
    Tensor output;
    const auto load = [&] { predictor.emplace(config); };
    const auto run = [&] { predictor->run(view, output); };
    CHECK(failure_within(18 * kMebibyte, load, run) ==
          "BackendFailure: out of memory while running the model");
    CHECK(failure_within(18 * kMebibyte, load, [&] { predictor->explain(1, 1); }) ==
          "BackendFailure: out of memory while running the model");
    const auto run_before = [&] {
      load();
      run();
    };
    CHECK(failure_within(8 * kMebibyte, run_before, [&] { predictor->run(view); }) ==
          "BackendFailure: out of memory for the output of 1 images");
    CHECK(failure_within(8 * kMebibyte, run_before, [&] { predictor->explain(1, 1); }) ==
          "BackendFailure: out of memory while explaining the model");
  }
}

TEST_CASE("too little memory for the weights is a typed error" * doctest::skip(!kCanLimit) *
          doctest::test_suite("address space")) {
  const TemporaryFolder folder;
  constexpr std::int64_t kInputs = 1024;
  constexpr std::int64_t kOutputs = 2048;
  const std::vector<float> ones(static_cast<std::size_t>(kInputs * kOutputs), 1);
  const Config config = write_onnx(folder, {onnx_node("Conv", {"x", "w"}, {"y"})},
                                   {onnx_tensor("w", {kOutputs, kInputs, 1, 1}, ones)},
                                   {kInputs, 1, 1}, {kOutputs, 1, 1});
  for (const std::size_t room : {4U, 8U, 12U}) {
    const std::string said = failure_within(room * kMebibyte, [] {}, [&] { Predictor{config}; });
    CAPTURE(room);
    CAPTURE(said);
    CHECK(said.rfind("BackendFailure: ", 0) == 0);
    CHECK(said.find("memory") != std::string::npos);
    CHECK(said.find('\n') == std::string::npos);
  }
}

namespace {

/// A chain of nodes from x to y, each of which takes the constant "w" too.
std::vector<std::string> chain(const std::string& type, int count) {
  std::vector<std::string> nodes;
  for (int i = 0; i < count; ++i) {
    const std::string from = i == 0 ? "x" : "v" + std::to_string(i);
    const std::string to = i == count - 1 ? "y" : "v" + std::to_string(i + 1);
    nodes.push_back(onnx_node(type, {from, "w"}, {to}));
  }
  return nodes;
}

}  // namespace

TEST_CASE("layers that share weights run, and not beyond the bound that the file sets") {
  const TemporaryFolder folder;
  constexpr std::int64_t kWide = 256;
  std::vector<float> weights(kWide * kWide);
  for (std::size_t i = 0; i < kWide; ++i) weights[i * kWide + (i + 1) % kWide] = 1;
  const std::string filter = onnx_tensor("w", {kWide, kWide, 1, 1}, weights);
  std::vector<float> input(kWide);
  for (std::size_t i = 0; i < kWide; ++i) input[i] = static_cast<float>(i);

  constexpr int kFew = 20;
  Predictor predictor(
      write_onnx(folder, chain("Conv", kFew), {filter}, {kWide, 1, 1}, {kWide, 1, 1}));
  const Tensor output = predictor.run({input.data(), {1, kWide, 1, 1}});
  for (std::size_t i = 0; i < kWide; ++i) {
    CHECK(output.data[i] == input[(i + kFew) % kWide]);
  }
  // 600 times 256 KiB from a file of 284 kB.
  const Config many =
      write_onnx(folder, chain("Conv", 600), {filter}, {kWide, 1, 1}, {kWide, 1, 1});
  check_error(ErrorCode::Unsupported, "too many operators share large constants",
              [&] { Predictor{many}; });
}

TEST_CASE("many factors after a convolution count, more than become part of it too") {
  const TemporaryFolder folder;
  constexpr int kFactors = 2 * native::kMostScales + 3;
  std::vector<std::string> nodes = chain("Mul", kFactors);
  nodes[0] = onnx_node("Mul", {"c", "w"}, {"v1"});
  nodes.insert(nodes.begin(), onnx_node("Conv", {"x", "f"}, {"c"}));
  Predictor predictor(write_onnx(folder, nodes,
                                 {onnx_tensor("f", {1, 1, 1, 1}, {3}), onnx_tensor("w", {}, {2})},
                                 {1, 1, 1}, {1, 1, 1}));
  const float one = 1;
  const Tensor output = predictor.run({&one, {1, 1, 1, 1}});
  CHECK(output.data[0] == std::ldexp(3.0F, kFactors));
}

TEST_CASE("a tensor's memory is counted with its padding, as it is stored") {
  const TemporaryFolder folder;
  // One channel of 10,001 x 10,001 pixels is stored as a vector of channels.
  const std::vector<std::string> nodes = {
      onnx_node("Conv", {"x", "w"}, {"c"}),
      onnx_node("Conv", {"c", "w"}, {"p"}, {onnx_integers("pads", {5000, 5000, 5000, 5000})}),
      onnx_node("GlobalMaxPool", {"p"}, {"y"})};
  const Config config =
      write_onnx(folder, nodes, {onnx_tensor("w", {1, 1, 1, 1}, {1})}, {1, 1, 1}, {1, 1, 1});
  if (native::choose_kernels().lanes >= 8) {
    check_error(ErrorCode::Unsupported, "more than 2 GiB for the tensors of one image",
                [&] { Predictor{config}; });
  }
}

}  // namespace lenet::tests

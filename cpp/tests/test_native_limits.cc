// What the native engine refuses: tensors beyond 32-bit offsets and beyond the memory, parameters
// that do not fit, options that it does not support.

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <fstream>
#include <new>

#include "engines/native/passes/passes.h"
#include "engines/native/read_network.h"
#include "model/graph.h"
#include "model/readers.h"
#include "native_support.h"
#include "notation.h"
#include "quantized_model.h"

namespace lenet::tests {
namespace {

using namespace native;

/// A convolution of three rows, of an image whose rows are 2^31 values long.
Network wide_network(std::int64_t channels, bool quantized) {
  constexpr std::int64_t kWidth = std::int64_t{1} << 31;
  Network network;
  network.tensors = {TensorShape{1, 3, kWidth}};
  Layer quantize = layer_of(LayerKind::Quantize);
  quantize.get<native::QuantizeParams>().quant.scale = 1;
  if (quantized) add_layer(network, quantize, {1, 3, kWidth});
  Layer convolution = convolution_of(3, 1);
  convolution.name = "the convolution";
  const auto outputs = static_cast<std::size_t>(channels);
  convolution.bias.assign(outputs, 0);
  if (quantized) {
    convolution.integers.assign(3 * outputs, 1);
    convolution.weight_scales.assign(outputs, 1);
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
  const int status = status_of_child([&] {
    std::string said = "nothing";
    try {
      prepare();
#ifdef __GLIBC__  // What was freed before is not given out again.
      malloc_trim(0);
      mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
      std::size_t pages = 0;
      std::ifstream("/proc/self/statm") >> pages;
      const rlimit limit = {pages * static_cast<std::size_t>(getpagesize()) + bytes, RLIM_INFINITY};
      if (setrlimit(RLIMIT_AS, &limit) == 0) action();
    } catch (const Error& error) {
      said = std::string(to_string(error.code())) + ": " + error.what();
    } catch (const std::exception& error) {
      said = std::string("untyped: ") + error.what();
    }
    return write(ends[1], said.data(), said.size()) == static_cast<ssize_t>(said.size());
  });
  CHECK(status == 0);
  close(ends[1]);
  std::string said(4096, ' ');
  said.resize(static_cast<std::size_t>(std::max<ssize_t>(0, read(ends[0], said.data(), 4096))));
  close(ends[0]);
  return said;
}

constexpr std::int64_t kSide = 1024;
constexpr std::size_t kMebibyte = std::size_t{1} << 20;

Config float_model(const TemporaryFolder& folder) {
  return write_onnx(folder, onnx_graph("Conv x w -> y", "w[4,1,3,3]=1,1,1,1,1,1,1,1,1",
                                       "x[-1,1,1024,1024] -> y[-1,4,1022,1022]"));
}

/// A chain of nodes from `first` to y, each of which takes the constant "w" too.
std::string chain(const std::string& type, int count, const std::string& first = "x") {
  std::string nodes;
  for (int i = 0; i < count; ++i) {
    nodes += type + " " + (i == 0 ? first : "v" + std::to_string(i)) + " w -> " +
             (i == count - 1 ? "y" : "v" + std::to_string(i + 1)) + ";";
  }
  return nodes;
}

}  // namespace

TEST_CASE("tensors of more than 2 GiB are refused, in every layout and set") {
  constexpr std::size_t kMany = std::numeric_limits<std::size_t>::max() / sizeof(float) + 2;
  CHECK_THROWS_AS(native::Aligned<float>{kMany}, std::bad_alloc);  // more bytes than an address has
  const char* const words = "more than 2 GiB for the tensors of one image";
  for (const std::int64_t channels : {1, 40}) {
    CAPTURE(channels);
    const Network floats = wide_network(channels, false);
    for (const auto* kernels : available_kernels(native::kernels_named)) {
      for (const bool interleaved : {false, true}) {
        CHECK_ERROR(Unsupported, words, compiled(floats, *kernels, interleaved));
      }
    }
    const Network integers = wide_network(channels, true);
    for (const auto* kernels : available_kernels(native::int8::kernels_named)) {
      CHECK_ERROR(Unsupported, words, compiled(integers, *kernels));
    }
  }
}

TEST_CASE("too little memory is a typed error" * doctest::skip(!kCanLimit) *
          doctest::test_suite("address space")) {
  const TemporaryFolder folder;
  const Config whole =
      config_of("engine=native precision=int8", QuantizedModel().of(kSide).write(folder));
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
    CHECK(failure_within(18 * kMebibyte, load, [&] { predictor->profile(1, 1); }) ==
          "BackendFailure: out of memory while profiling the model");
    const auto run_before = [&] {
      load();
      run();
    };
    CHECK(failure_within(8 * kMebibyte, run_before, [&] { predictor->run(view); }) ==
          "BackendFailure: out of memory for the output of 1 images");
    CHECK(failure_within(8 * kMebibyte, run_before, [&] { predictor->profile(1, 1); }) ==
          "BackendFailure: out of memory while profiling the model");
  }
}

TEST_CASE("too little memory for the weights is a typed error" * doctest::skip(!kCanLimit) *
          doctest::test_suite("address space")) {
  const TemporaryFolder folder;
  constexpr std::int64_t kInputs = 1024;
  constexpr std::int64_t kOutputs = 2048;
  const std::vector<float> ones(static_cast<std::size_t>(kInputs * kOutputs), 1);
  const Config config =
      write_onnx(folder, onnx_graph("Conv x w -> y", "", "x[-1,1024,1,1] -> y[-1,2048,1,1]") +
                             delimited(5, onnx_tensor("w", {kOutputs, kInputs, 1, 1}, ones)));
  for (const std::size_t room : {4U, 8U, 12U}) {
    const std::string said = failure_within(room * kMebibyte, [] {}, [&] { Predictor{config}; });
    CAPTURE(room);
    CAPTURE(said);
    CHECK(said.rfind("BackendFailure: ", 0) == 0);
    CHECK(said.find("memory") != std::string::npos);
    CHECK(said.find('\n') == std::string::npos);
  }
}

TEST_CASE("layers that share weights run, and not beyond the bound that the file sets") {
  const TemporaryFolder folder;
  constexpr std::int64_t kWide = 256;
  std::vector<float> weights(kWide * kWide);
  for (std::size_t i = 0; i < kWide; ++i) weights[i * kWide + (i + 1) % kWide] = 1;
  const auto model = [&](int count) {
    return write_onnx(folder,
                      onnx_graph(chain("Conv", count), "", "x[-1,256,1,1] -> y[-1,256,1,1]") +
                          delimited(5, onnx_tensor("w", {kWide, kWide, 1, 1}, weights)));
  };
  std::vector<float> input(kWide);
  for (std::size_t i = 0; i < kWide; ++i) input[i] = static_cast<float>(i);

  constexpr int kFew = 20;
  Predictor predictor(model(kFew));
  const Tensor output = predictor.run({input.data(), {1, kWide, 1, 1}});
  for (std::size_t i = 0; i < kWide; ++i) {
    CHECK(output.data[i] == input[(i + kFew) % kWide]);
  }
  // 600 times 256 KiB from a file of 284 kB.
  CHECK_ERROR(Unsupported, "too many operators share large constants", Predictor{model(600)});
}

TEST_CASE("many factors after a convolution count, more than become part of it too") {
  const TemporaryFolder folder;
  constexpr int kFactors = 2 * native::kMaxScales + 3;
  Predictor predictor(
      write_onnx(folder, onnx_graph("Conv x f -> c;" + chain("Mul", kFactors, "c"),
                                    "f[1,1,1,1]=3 w[]=2", "x[-1,1,1,1] -> y[-1,1,1,1]")));
  const float one = 1;
  const Tensor output = predictor.run({&one, {1, 1, 1, 1}});
  CHECK(output.data[0] == std::ldexp(3.0F, kFactors));
}

TEST_CASE("a tensor's memory is counted with its padding, as it is stored") {
  const TemporaryFolder folder;
  // One channel of 10,001 x 10,001 pixels is stored as a vector of channels.
  const Config config =
      write_onnx(folder, onnx_graph("Conv x w -> c; Conv c w -> p | pads=[5000,5000,5000,5000];"
                                    "GlobalMaxPool p -> y",
                                    "w[1,1,1,1]=1", "x[-1,1,1,1] -> y[-1,1,1,1]"));
  if (native::choose_kernels().lanes >= 8) {
    CHECK_ERROR(Unsupported, "more than 2 GiB for the tensors of one image", Predictor{config});
  }
}

TEST_CASE("parameters that do not fit what a layer takes") {
  const auto read = [](const char* text, std::size_t numbers) {
    const std::string bytes = program(text);  // in which the graph's names lie
    Graph graph = read_program_desc(bytes, "m");
    const std::string zeros(numbers * sizeof(float), '\0');
    for (Value& value : graph.values) {
      if (!value.parameter || value.name != "w") continue;
      value.data = zeros;
      value.data_dtype = 5;
    }
    check_graph(graph, "m");
    return native::read_network(graph, "m", 1e6, true).output_images;
  };
  // The axis puts the images of Y behind two dimensions of X.
  const char* const sum =
      "x[-1,1,1,10] y[1,1,-1,10] f[-1,10] w[1,1,1,10]*:"
      "reshape2 x -> f | shape=[0,10]; elementwise_add X=w Y=f -> y | axis=2";
  CHECK(read(sum, 10)[0].axis == 2);
  // Its shape comes from another input, and is only what the program declares.
  const char* const bias =
      "x[-1,10,1,1] y[-1,10,1,1] w[7]* s[3]* b[10,1,1]:"
      "reshape2 X=w Shape=s -> b | shape=[10,1,1]; elementwise_add x Y=b -> y | axis=-1";
  CHECK_ERROR(Unsupported, "to another number of values", read(bias, 7));
}

TEST_CASE("options that it does not support") {
  CHECK_ERROR(Unsupported, "accelerator onednn", Predictor{bundled("accelerator=onednn")});
  CHECK_ERROR(Unsupported, "in int8", Predictor{bundled("precision=int8")});
  const ModelFolder folder;
  const std::string program = read_file(folder / "lenet.pdmodel");
  const std::string params = read_file(folder / "lenet.pdiparams");
  Predictor in_memory(config_of("engine=native"), ModelBytes{program, params});
  CHECK_ERROR(Unsupported, "a model in memory", in_memory.set_layer_callback([](auto&&...) {}));
  CHECK(in_memory.run(random_images(1).view()).data ==
        Predictor(bundled()).run(random_images(1).view()).data);
}

}  // namespace lenet::tests

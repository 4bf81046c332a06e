// The native engine's multiplications in bf16, against the definition of a network in double
// precision: of its numbers as they are, and rounded to bf16 where they are multiplied.

#include "native_support.h"
#include "notation.h"

namespace lenet::tests {
namespace {

using namespace native;

/// What the definition gives where a network multiplies what is rounded. What its convolutions take
/// is the image, or the image copied.
std::vector<double> rounded_definition(Network network, std::vector<float> images) {
  round_to_bf16(images);
  for (Layer& layer : network.layers) round_to_bf16(layer.weights);
  return definition(network, images);
}

double mean_square(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

/// Copies the image, so that it lies in blocks of channels.
void add_copy(Network& network) {
  const TensorShape shape = network.tensors[0].shape;
  Layer copy = convolution_of(1, 1);
  copy.inputs = {0};
  copy.bias.resize(static_cast<std::size_t>(shape.channels()));
  for (std::int64_t i = 0; i < shape.channels() * shape.channels(); ++i) {
    copy.weights.push_back(i % shape.channels() == i / shape.channels() ? 1.0F : 0.0F);
  }
  add_layer(network, copy, shape);
}

/// A convolution, perhaps with a sum.
/// \param winograd whether it is one of 3 x 3 with strides of 1
Network random_convolution(Random& random, bool winograd) {
  Network network;
  Layer layer = layer_of(LayerKind::Convolution);
  Window& window = layer.convolution().window;
  if (!winograd && random.from(0, 3) == 0) layer.convolution().groups = random.from(2, 4);
  const std::int64_t groups = layer.convolution().groups;
  std::int64_t inputs = groups * random.from(winograd ? 16 : 1, 50);
  if (groups > 1 && random.coin()) inputs = groups * 16 * random.from(1, 2);
  std::int64_t outputs = groups * random.from(1, 70);
  if (groups > 1 && random.coin()) outputs = groups * 32;
  const bool whole = !winograd && random.from(0, 3) == 0;
  const bool same = random.coin();  // size of the output, for what is added to it
  std::array<std::int64_t, 2> sizes{};
  std::array<std::int64_t, 2> results{};
  for (std::size_t i = 0; i < 2; ++i) {
    window.kernel[i] = winograd ? 3 : random.from(1, 5);
    if (!winograd && !whole) {
      window.dilations[i] = random.from(1, 2);
      if (!same) window.strides[i] = random.from(1, 3);
    }
    const std::int64_t pad = window.dilations[i] * (window.kernel[i] - 1);
    if (!whole) window.padding[2 * i] = random.from(0, std::min<std::int64_t>(pad, 2));
    if (!whole) window.padding[2 * i + 1] = same ? pad - window.padding[2 * i] : random.from(0, 2);
    sizes[i] = whole ? window.kernel[i] : random.from(1, 20) + pad;
    results[i] = count_windows(sizes[i], window, i);
  }
  const TensorShape in = {inputs, sizes[0], sizes[1]};
  const TensorShape out = {outputs, results[0], results[1]};
  network.tensors = {in};
  const bool adds = same && !whole && out.channels() == in.channels();
  if (adds || winograd || random.coin()) add_copy(network);
  layer.weights = random.values(out.channels() * in.channels() / layer.convolution().groups *
                                window.kernel[0] * window.kernel[1]);
  layer.bias = random.values(out.channels());
  if (!adds) layer.activation = relu_or_none(random);
  add_layer(network, layer, out);
  if (!adds) return network;
  Layer sum = layer_of(LayerKind::Add);
  sum.inputs = {2, 1};
  sum.activation = relu_or_none(random);
  add_layer(network, sum, out);
  return network;
}

TEST_CASE("products in bf16 are what their definition says, for any batch and threads" *
          doctest::test_suite("arithmetic")) {
  constexpr int kNetworks = kUnderAsan ? 16 : 120;
  constexpr std::int64_t kImages = 8;
  for (const Bf16Kernels* const kernels : bf16_kernels_and_tiles()) {
    CAPTURE(std::string(kernels->name));
    const bool tiles = kernels->conv_tiles != nullptr;
    Random random(17);
    std::map<std::string, int> computed;
    double squares = 0;  // of Winograd's errors, relative to those of the definition in bf16
    for (int i = 0; i < kNetworks; ++i) {
      CAPTURE(i);
      Network network = random_convolution(random, i % 4 == 3);
      std::vector<float> images = random.values(kImages * network.tensors[0].shape.values());
      if (random.coin()) {
        for (float& value : images) value = std::max(value, 0.0F);
      }
      const std::vector<double> exact = definition(network, images);
      const std::vector<double> plain = rounded_definition(network, images);
      double largest = 1;
      for (const double value : exact) largest = std::max(largest, std::abs(value));
      const auto program = compiled(network, native::choose_kernels(), false,
                                    i % 2 == 0 ? 0 : kMinSharedBytes, kernels);
      const std::vector<float> found = outputs(*program, images, kImages);
      CHECK(outputs(*program, images, 1) == found);
      const std::vector<float> three(images.begin(),
                                     images.begin() + network.tensors[0].shape.values() * 3);
      CHECK(outputs(*program, three, 3) ==
            std::vector<float>(found.begin(), found.begin() + program->output_values() * 3));
      CHECK(outputs_of_threads(*program, images, kImages, 2) == found);
      for (const LayerProfile& layer : program->layers()) ++computed[layer.kernel];
      if (has_kernel(*program, "winograd_3x3_bf16")) {
        const std::vector<double> numbers(found.begin(), found.end());
        const double ratio = mean_square(numbers, exact) / mean_square(plain, exact);
        CHECK(ratio < 4 * 4);  // of few numbers
        squares += ratio;
      } else if (has_kernel(*program, "conv_grouped") || has_kernel(*program, "conv_depthwise")) {
        CHECK(largest_error(found, exact) <= 2e-2 * largest);  // of a copy in bf16
      } else {
        CHECK(largest_error(found, plain) <= 1e-5 * largest);
      }
    }
    CHECK(computed[tiles ? "conv_tiles_bf16" : "winograd_3x3_bf16"] >= kNetworks / 6);
    CHECK(computed["conv_channels_bf16"] >= kNetworks / (tiles ? 6 : 3));
    CHECK(computed["fully_connected_bf16"] >= kNetworks / 16);
    CHECK(squares <= 3 * 3 * computed["winograd_3x3_bf16"]);
  }
}

TEST_CASE("in bf16, sums of many products, infinity, and the least numbers") {
  const Bf16Kernels* const kernels = bf16_kernels();
  if (kernels == nullptr) return;
  Random random(5);
  const auto run = [&](const Network& network, const std::vector<float>& images) {
    return outputs(*compiled(network, native::choose_kernels(), false, 0, kernels), images);
  };
  Network network;
  network.tensors = {TensorShape{1300, 3, 3}};
  Layer layer = convolution_of(2, 2);
  layer.weights = random.values(5 * 1300 * 4);
  layer.bias = random.values(5);
  add_layer(network, layer, {5, 2, 2});
  const std::vector<float> images = random.values(network.tensors[0].shape.values());
  const std::vector<double> plain = rounded_definition(network, images);
  const std::vector<float> weights = network.layers[0].weights;
  for (const bool splits : {false, true}) {
    if (splits) {
      network.layers[0].weights.clear();
      network.layers[0].stored = {reinterpret_cast<const char*>(weights.data()), weights.size(),
                                  1300 * 4, 1};
      split_long_sums(network);
    }
    CHECK(largest_error(run(network, images), plain) <= 1e-5 * 200);
  }
  CHECK(network.layers.size() > 2);

  Network many;  // images, which scratch memory does not hold at once
  many.tensors = {TensorShape{300, 6, 6}};
  layer = convolution_of(6, 6);
  layer.weights = random.values(3 * 300 * 36);
  layer.bias = random.values(3);
  add_layer(many, layer, {3, 1, 1});
  constexpr std::int64_t kMany = 120;
  const std::vector<float> all = random.values(kMany * 300 * 36);
  const auto program = compiled(many, native::choose_kernels(), false, 0, kernels);
  CHECK(largest_error(outputs(*program, all, kMany), rounded_definition(many, all)) <= 1e-5 * 200);

  Network linear;
  linear.tensors = {TensorShape{40, 1, 1}};
  layer = convolution_of(1, 1);
  layer.weights.assign(80, 1);
  layer.weights[3] = std::numeric_limits<float>::max();  // which is rounded to infinity
  layer.bias = {0, 1e-40F};
  add_layer(linear, layer, {2, 1, 1});
  std::vector<float> image(40);
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(std::isnan(run(linear, image)[0]));
  CHECK(run(linear, image)[1] == 0);
  image[3] = 1;
  image[5] = 1e-40F;
  CHECK(run(linear, image) == std::vector<float>{infinity, 1});
}

TEST_CASE("bf16 is refused where the instructions have none") {
  const char* const before = std::getenv("LENET_NATIVE_ISA");
  const std::string value = before == nullptr ? "" : before;  // which asks for the best
  set_variable("LENET_NATIVE_ISA", "scalar");
  CHECK_ERROR(Unsupported,
              "needs avx512_bf16 in the native engine, whose instructions here are "
              "scalar; use precision fp32",
              Predictor{bundled("precision=bf16")});
  set_variable("LENET_NATIVE_ISA", value);
  if (bf16_kernels() == nullptr) return;
  // Of a network whose images are computed side by side, as in float32, which is faster.
  const Tensor images = random_images(3);
  CHECK(Predictor(bundled("precision=bf16")).run(images.view()).data ==
        Predictor(bundled()).run(images.view()).data);
}

TEST_CASE("bf16 has float32's bits where LENET_NATIVE_BF16 or the measurement takes its kernels") {
  if (bf16_kernels() == nullptr) return;
  const TemporaryFolder folder;
  Config config = write_onnx(folder, onnx_graph("Conv x w -> y | pads=[1,1,1,1]", "w[32,32,3,3]=1",
                                                "x[-1,32,64,64] -> y[-1,32,64,64]"));
  const std::vector<float> images = Random(3).values(3 * 32 * 64 * 64);
  const auto run = [&](Predictor predictor) {
    return predictor.run({images.data(), {3, 32, 64, 64}}).data;
  };
  const std::vector<float> exact = run(Predictor(config));
  CHECK(Predictor(config).computed_precision().reason.empty());
  config.precision = Precision::Bf16;
  const auto made = [&](const char* value) {
    set_variable("LENET_NATIVE_BF16", value);
    return Predictor(config);
  };
  Predictor off = made("off");
  CHECK(off.config().precision == Precision::Bf16);
  CHECK(off.computed_precision().precision == Precision::Fp32);
  CHECK(off.clone().computed_precision().reason == "LENET_NATIVE_BF16 is off");
  const std::string table = to_table(off.profile(1, 1));
  CHECK(table.find("  computed in fp32: LENET_NATIVE_BF16 is off\nlimit") != std::string::npos);
  CHECK(run(std::move(off)) == exact);
  Predictor on = made("on");
  CHECK(on.computed_precision().precision == Precision::Bf16);
  CHECK(on.profile(1, 1).instructions == std::string(bf16_kernels()->name));
  const std::vector<float> rounded = run(std::move(on));
  CHECK(rounded != exact);
  for (const char* value : {"auto", ""}) {
    const Predictor measured = made(value);
    const ComputedPrecision computed = measured.computed_precision();
    CHECK(computed.reason.find("times as many multiply-adds a second") != std::string::npos);
    CHECK(run(measured.clone()) == (computed.precision == Precision::Bf16 ? rounded : exact));
  }
  CHECK_ERROR(BadInput, "LENET_NATIVE_BF16 is 'yes'; expected one of auto, on, off", made("yes"));
  set_variable("LENET_NATIVE_BF16", "");
}

}  // namespace
}  // namespace lenet::tests

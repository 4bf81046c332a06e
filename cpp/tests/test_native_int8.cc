// The native engine's programs of integers, over shapes that look random, against the
// definition; under the sanitizers too. Steps are powers of 2, so that what is done in floating
// point is exact and every bit has to agree. tests/cpp/test_native_int8.py has real exports.

#include <algorithm>
#include <array>

#include "native_support.h"
#include "support.h"

namespace lenet::tests {
namespace {

using namespace native;
using native::int8::Kernels;

constexpr std::int64_t kImages = 5;

void add_quantize(Network& network, Random& random, std::int64_t least, std::int64_t most) {
  Layer quantize = layer_of(LayerKind::Quantize);
  quantize.get<native::QuantizeParams>().quant.zero_point =
      static_cast<std::int32_t>(random.coin()   ? 0
                                : random.coin() ? 128
                                                : random.from(0, 255));
  quantize.get<native::QuantizeParams>().quant.scale = random.power(least, most);
  add_layer(network, quantize, network.tensors.back().shape);
}

void give_weights(Layer& layer, Random& random, std::int64_t outputs, std::int64_t taps) {
  for (std::int64_t i = 0; i < outputs * taps; ++i) {
    layer.integers.push_back(static_cast<std::int8_t>(random.from(-128, 127)));
  }
  for (std::int64_t o = 0; o < outputs; ++o) {
    layer.weight_scales.push_back(random.power(-6, -4) * (random.from(0, 9) == 0 ? -1.0F : 1.0F));
    layer.bias.push_back(static_cast<float>(random.from(-64, 64)) / 4);
  }
}

/// A convolution of the last tensor, each channel by itself or all, which is added to it.
void add_residual(Network& network, Random& random) {
  const std::size_t before = network.tensors.size() - 1;
  const TensorShape shape = network.tensors.back().shape;
  const bool depthwise = random.coin();
  Layer convolution = depthwise ? convolution_of(3, 3) : convolution_of(1, 1);
  if (depthwise) {
    convolution.convolution().groups = shape.channels();
    convolution.convolution().window.padding = {1, 1, 1, 1};
  }
  give_weights(convolution, random, shape.channels(), depthwise ? 9 : shape.channels());
  add_layer(network, convolution, shape);
  if (random.coin()) add_quantize(network, random, -2, 1);
  Layer sum = layer_of(LayerKind::Add);
  sum.inputs = {network.tensors.size() - 1, before};
  if (random.coin()) std::swap(sum.inputs[0], sum.inputs[1]);
  sum.activation = relu_or_none(random);
  if (random.coin()) sum.activation = {ActivationKind::Clip, 0, 6};
  add_layer(network, sum, shape);
  if (shape.height() >= 2 && shape.width() >= 2 && random.coin()) {
    add_quantize(network, random, -2, 1);
    Layer pool = pool_of(2, 2);
    pool.get<native::PoolParams>().kind = PoolKind::Average;
    add_layer(network, pool, {shape.channels(), shape.height() / 2, shape.width() / 2});
  }
  if (random.coin()) add_quantize(network, random, -2, 1);
}

/// A convolution, perhaps pooled, perhaps with another one that is added, and then perhaps a fully
/// connected layer.
/// \param many whether it has as many channels as tiles need
Network random_network(Random& random, bool many = false) {
  Network network;
  Layer convolution = layer_of(LayerKind::Convolution);
  convolution.convolution().groups = random.from(0, 3) == 0 ? 2 : 1;
  // As the kernel of few channels wants it.
  const bool few = !many && random.from(0, 2) == 0;
  if (few || many) convolution.convolution().groups = 1;
  // As those want it that leave out taps in the border.
  const bool padded = !few && !many && random.coin();
  const std::int64_t inputs = many                   ? random.from(16, 60)
                              : padded               ? 4 * random.from(1, 2)
                              : few || random.coin() ? 1
                                                     : random.from(1, 9);
  const std::int64_t outputs = few      ? random.from(1, 8)
                               : padded ? random.from(17, 24)
                                        : random.from(many ? 16 : 1, 40);
  std::array<std::int64_t, 2> sizes{};
  std::array<std::int64_t, 2> results{};
  Window& window = convolution.convolution().window;
  for (std::size_t i = 0; i < 2; ++i) {
    window.kernel[i] = random.from(1, many ? 3 : 7);
    window.strides[i] = few ? 1 : random.from(1, 3);
    window.dilations[i] = few ? 1 : random.from(1, 2);
    window.padding[2 * i] = random.from(0, 3);
    window.padding[2 * i + 1] = random.from(0, 3);
    sizes[i] =
        random.from(1, many && i == 0 ? 9 : 36) + window.dilations[i] * (window.kernel[i] - 1);
    results[i] = count_windows(sizes[i], window, i);
  }
  const std::int64_t groups = convolution.convolution().groups;
  const TensorShape out = {outputs * groups, results[0], results[1]};
  network.tensors = {TensorShape{inputs * groups, sizes[0], sizes[1]}};
  add_quantize(network, random, -7, -5);
  give_weights(convolution, random, out.channels(), inputs * window.kernel[0] * window.kernel[1]);
  convolution.activation = relu_or_none(random);
  // Negative steps keep the pool out of the kernel.
  if (random.coin()) {
    for (float& step : convolution.weight_scales) step = std::abs(step);
  }
  add_layer(network, convolution, out);
  if (out.height() >= 2 && out.width() >= 2 && random.coin()) {
    Layer pool = pool_of(2, 2);
    pool.activation = relu_or_none(random);
    add_layer(network, pool, {out.channels(), out.height() / 2, out.width() / 2});
  }
  if (random.from(0, 3) > 0) {
    add_quantize(network, random, -3, 0);
    if (random.coin()) {
      Layer scale = layer_of(LayerKind::ChannelScale);
      for (std::int64_t c = 0; c < network.tensors.back().shape.channels(); ++c) {
        scale.get<native::ScaleParams>().scale.push_back(1);
        scale.get<native::ScaleParams>().bias.push_back(static_cast<float>(random.from(-64, 64)) /
                                                        4);
      }
      scale.activation = relu_or_none(random);
      add_layer(network, scale, network.tensors.back().shape);
      add_quantize(network, random, -2, 1);
    }
    if (random.coin()) add_residual(network, random);
    // Of integers and few channels: float32 might not hold the sums of others.
    if (network.layers.back().kind == LayerKind::Quantize && !many && random.from(0, 3) > 0) {
      const TensorShape image = network.tensors.back().shape;
      Layer linear = convolution_of(image.height(), image.width());
      const std::int64_t classes = random.from(1, 150);
      give_weights(linear, random, classes, image.values());
      add_layer(network, linear, {classes, 1, 1});
    }
  }
  return network;
}

/// The sets of this processor, and tiles that it need not have.
std::vector<const Kernels*> kernels_and_tiles() {
  std::vector<const Kernels*> found = available_kernels(native::int8::kernels_named);
#if defined(__x86_64__)
  const auto sets = available_sets();
  if (std::find(sets.begin(), sets.end(), "avx512vnni") != sets.end()) {
    found.push_back(&native::int8::kPlainTiles);
  }
#endif
  return found;
}

/// Draws images, of which some values are too large to be rounded to integers of 8 bits.
std::vector<float> images_of(const Network& network, Random& random) {
  std::vector<float> images;
  for (std::int64_t k = 0; k < kImages * network.tensors[0].shape.values(); ++k) {
    // A quarter of the smallest step is never in the middle of two integers.
    images.push_back(static_cast<float>(random.from(-1000, 1000) * 4 + 1) / 512);
  }
  return images;
}

TEST_CASE("networks of integers are what their definition says, in all sets" *
          doctest::test_suite("arithmetic")) {
  Random random(7);
  std::map<std::string, int> computed;
  constexpr int kNetworks = kUnderAsan ? 60 : 200;
  for (int i = 0; i < kNetworks; ++i) {
    const Network network = random_network(random, i >= kNetworks * 4 / 5);
    CAPTURE(i);
    const std::vector<float> images = images_of(network, random);
    const std::vector<double> exact = definition(network, images);
    const std::vector<float> expected(exact.begin(), exact.end());
    for (const Kernels* kernels : kernels_and_tiles()) {
      CAPTURE(std::string(kernels->name));
      const std::int64_t min_shared = i % 2 == 0 ? 0 : native::kMinSharedBytes;
      const auto program = compiled(network, *kernels, min_shared);
      const auto layers = program->layers();
      if (has_kernel(*program, "conv_tiles_int8")) ++computed[kernels->name];
      CHECK(std::any_of(layers.begin(), layers.end(), [](const LayerProfile& layer) {
        return layer.kernel.compare(0, 5, "conv_") == 0;
      }));
      for (const std::int64_t at_once : {kImages, std::int64_t{1}}) {
        CHECK(outputs(*program, images, at_once) == expected);
      }
    }
  }
  for (const auto& [name, count] : computed) CHECK(count >= kNetworks / 10);
  CHECK(computed.empty() == (kernels_and_tiles().back()->conv_tiles == nullptr));
}

/// Compares what programs of all sets give with the definition.
void check_exact(const Network& network, Random& random) {
  const std::vector<float> images = images_of(network, random);
  const std::vector<double> exact = definition(network, images);
  const std::vector<float> expected(exact.begin(), exact.end());
  for (const Kernels* kernels : available_kernels(native::int8::kernels_named)) {
    CAPTURE(std::string(kernels->name));
    for (const std::int64_t min_shared : {std::int64_t{0}, native::kMinSharedBytes}) {
      const auto program = compiled(network, *kernels, min_shared);
      for (const std::int64_t at_once : {kImages, std::int64_t{1}}) {
        CHECK(outputs(*program, images, at_once) == expected);
      }
    }
  }
}

/// A convolution of 3 x 3 of the last tensor, with a border.
void add_padded(Network& network, Random& random, std::int64_t channels) {
  Layer convolution = convolution_of(3, 3);
  convolution.convolution().window.padding = {1, 1, 1, 1};
  const TensorShape from = network.tensors.back().shape;
  give_weights(convolution, random, channels, from.channels() * 9);
  add_layer(network, convolution, {channels, from.height(), from.width()});
}

TEST_CASE("images of a batch that share the weights of large layers do not change") {
  Random random(11);
  Network network;
  network.tensors = {TensorShape{64, 5, 6}};
  add_quantize(network, random, -7, -5);
  for (const std::int64_t channels : {320, 200}) {
    add_padded(network, random, channels);
    network.layers.back().activation = relu_or_none(random);
    add_quantize(network, random, -3, 0);
  }
  check_exact(network, random);
}

TEST_CASE("sums that become float32 get a bias that is not whole steps of theirs") {
  Random random(29);
  for (const std::int64_t channels : {3, 16, 40, 64}) {
    CAPTURE(channels);
    Network network;
    network.tensors = {TensorShape{9, 5, 17}};
    add_quantize(network, random, -7, -5);
    add_padded(network, random, channels);
    for (float& bias : network.layers.back().bias) bias += 0x1p-14F;
    network.layers.back().activation = relu_or_none(random);
    check_exact(network, random);
  }
}

TEST_CASE("a function of integers is what its definition says") {
  Random random(23);
  for (const Activation& function :
       {Activation{ActivationKind::HardSwish, 0.25F, 0.5F},
        Activation{ActivationKind::LeakyRelu, 0.125F}, Activation{ActivationKind::Clip, -1, 2}}) {
    for (int i = 0; i < 4; ++i) {
      CAPTURE(i);
      Network network;
      network.tensors = {TensorShape{3, 4, 5}};
      add_quantize(network, random, -7, -5);
      Layer activate = layer_of(LayerKind::Activate);
      activate.activation = function;
      add_layer(network, activate, network.tensors.back().shape);
      if (i % 2 == 0) add_quantize(network, random, -3, 0);
      check_exact(network, random);
    }
  }
}

TEST_CASE("a relu behind a pool does not widen the bounds before it") {
  Random random(43);
  Network network;
  network.tensors = {TensorShape{4, 6, 6}};
  add_quantize(network, random, -7, -5);
  add_padded(network, random, 5);
  for (float& scale : network.layers.back().weight_scales) scale = std::abs(scale);
  network.layers.back().activation = {ActivationKind::Clip, 0, 6};
  Layer pool = pool_of(2, 2);
  pool.activation.kind = ActivationKind::Relu;
  add_layer(network, pool, {5, 3, 3});
  check_exact(network, random);
}

TEST_CASE("a sum has the border of its own zero, whatever it lies over") {
  Random random(13);
  for (int i = 0; i < 8; ++i) {
    CAPTURE(i);
    Network network;
    network.tensors = {
        TensorShape{9, 5, 6}};  // of multiples of 4 channels no tap in the border is read
    add_quantize(network, random, -7, -5);
    add_padded(network, random, 9);
    add_quantize(network, random, -3, 0);
    const std::size_t residual = network.outputs[0];
    add_padded(network, random, 9);
    add_quantize(network, random, -3, 0);
    add_padded(network, random, 9);
    Layer sum = layer_of(LayerKind::Add);
    sum.inputs = {network.outputs[0], residual};
    add_layer(network, sum, network.tensors.back().shape);
    add_quantize(network, random, -2, 1);
    add_padded(network, random, 9);
    check_exact(network, random);
  }
}

/// The kernels of a program's steps, without reading the images and writing the output.
std::vector<std::string> kernels_of(const native::Program& program) {
  std::vector<std::string> found;
  for (const LayerProfile& layer : program.layers()) found.push_back(layer.kernel);
  return {found.begin() + 1, found.end() - 1};
}

TEST_CASE("what moves integers does so, and roundings go before it") {
  Random random(31);
  for (int i = 0; i < 12; ++i) {
    CAPTURE(i);
    Network network;
    network.tensors = {TensorShape{6, 8, 9}};
    add_quantize(network, random, -7, -5);
    Layer joined = layer_of(i % 2 == 0 ? LayerKind::Concat : LayerKind::Channels);
    joined.inputs.clear();
    for (const std::int64_t channels : {5, 4}) {  // two branches, that nothing else reads
      Layer convolution = convolution_of(3, 3);
      convolution.convolution().window.padding = {1, 1, 1, 1};
      convolution.inputs = {1};
      give_weights(convolution, random, channels, 6 * 9);
      joined.inputs.push_back(network.tensors.size());
      add_layer(network, convolution, {channels, 8, 9});
    }
    for (std::int64_t c = 0; c < 9 && i % 2 != 0; ++c) {  // shuffled
      joined.get<native::ChannelsParams>().sources.push_back(
          c < 8 ? ChannelSource{static_cast<std::size_t>(c % 2), c / 2} : ChannelSource{0, 4});
    }
    add_layer(network, joined, {9, 8, 9});
    if (i % 3 == 0) add_layer(network, pool_of(2, 2), {9, 4, 4});
    add_quantize(network, random, -3, 0);
    add_padded(network, random, 7);
    check_exact(network, random);
    const std::vector<std::string> kernels =
        kernels_of(*compiled(network, native::int8::choose_kernels()));
    CHECK(std::count(kernels.begin(), kernels.end(), "convert") == 0);
    CHECK(std::count(kernels.begin(), kernels.end(), "quantize") == 0);
  }
}

TEST_CASE("a function between convolutions of integers is computed in their layout") {
  Random random(37);
  Network network;
  network.tensors = {TensorShape{6, 5, 7}};
  add_quantize(network, random, -7, -5);
  for (const bool rounds_before : {false, true}) {
    add_padded(network, random, 9);
    if (rounds_before) add_quantize(network, random, -3, 0);
    Layer function = layer_of(LayerKind::Activate);
    function.activation = {ActivationKind::HardSwish, 0.25F, 0.5F};
    add_layer(network, function, network.tensors.back().shape);
    add_quantize(network, random, -2, 0);
  }
  add_padded(network, random, 4);
  check_exact(network, random);
  const auto program = compiled(network, native::int8::choose_kernels());
  for (const LayerProfile& layer : program->layers()) CHECK(layer.layout == "NHWC");
  const std::vector<std::string> expected = {
      "conv_channels_int8", "hard_swish", "quantize",  // the sums are float32
      "conv_channels_int8", "convert",    "hard_swish", "quantize", "conv_channels_int8"};
  CHECK(kernels_of(*program) == expected);
}

TEST_CASE("a mean of what a convolution of integers gives is computed in its layout") {
  Random random(38);
  for (const std::int64_t channels : {32, 9}) {  // whole vectors of any set, and others
    Network network;
    network.tensors = {TensorShape{6, 5, 7}};
    add_quantize(network, random, -7, -5);
    add_padded(network, random, channels);
    const TensorShape image = network.tensors.back().shape;
    Layer mean = pool_of(5, 3);
    mean.get<PoolParams>().kind = PoolKind::Average;
    add_layer(network, mean, {image.channels(), 1, 2});
    const std::vector<float> images = images_of(network, random);
    const std::vector<double> expected = definition(network, images);
    const double most =
        std::abs(*std::max_element(expected.begin(), expected.end(),
                                   [](double a, double b) { return std::abs(a) < std::abs(b); }));
    for (const native::int8::Kernels* kernels : available_kernels(native::int8::kernels_named)) {
      CAPTURE(std::string(kernels->name));
      const auto program = compiled(network, *kernels);
      CHECK(largest_error(outputs(*program, images), expected) < 1e-6 * most);
      CHECK(has_kernel(*program, "convert") == (channels == 9));
    }
  }
}

TEST_CASE("what is no number is rounded to the least") {
  Network network;
  network.tensors = {TensorShape{1, 1, 3}};
  Layer quantize = layer_of(LayerKind::Quantize);
  quantize.get<native::QuantizeParams>().quant.scale = 1;
  add_layer(network, quantize, network.tensors[0].shape);
  const std::vector<float> image = {NAN, INFINITY, -INFINITY};
  for (const Kernels* kernels : available_kernels(native::int8::kernels_named)) {
    const auto program = compiled(network, *kernels);
    CHECK(outputs(*program, image) == std::vector<float>{-128, 127, -128});
  }
}

TEST_CASE("the work of a pooled convolution is known") {
  Random random(3);
  Network network;
  network.tensors = {TensorShape{2, 6, 6}};
  Layer first = convolution_of(3, 3);
  give_weights(first, random, 4, 2 * 3 * 3);  // of values that are not rounded
  add_layer(network, first, {4, 4, 4});
  add_quantize(network, random, 0, 0);
  Layer second = convolution_of(1, 1);
  give_weights(second, random, 5, 4);
  for (float& step : second.weight_scales) step = std::abs(step);
  add_layer(network, second, {5, 4, 4});
  Layer pool = pool_of(2, 2);
  add_layer(network, pool, {5, 2, 2});
  const auto program = compiled(network, native::int8::choose_kernels());
  double all = 0;
  for (const LayerProfile& layer : program->layers()) all += layer.multiply_adds;
  CHECK(all == 4 * 4 * 4 * 18 + 5 * 4 * 4 * 4);
}

TEST_CASE("rows of integers times a matrix are what their definition says, in all sets") {
  Random random(21);
  std::vector<const Kernels*> sets = available_kernels(native::int8::kernels_named);
#if defined(__x86_64__)
  if (bf16_kernels() != nullptr) sets.push_back(&native::int8::kPlainTiles);
#endif
  for (int i = 0; i < 40; ++i) {
    const std::int64_t sums = random.from(1, 200);
    const std::int64_t columns = random.coin() ? 16 * random.from(1, 5) : random.from(1, 70);
    const std::int64_t most = random.from(2, 60);
    const std::int64_t count = random.from(1, most);
    Layer layer = convolution_of(1, 1);
    give_weights(layer, random, columns, sums);
    const QuantParams quant = {0.25F, static_cast<std::int32_t>(random.from(0, 255))};
    const native::int8::Bounds bounds(quant, {});
    std::vector<float> values = random.values(count * sums);
    for (float& value : values) value *= 20;
    std::vector<float> expected;
    for (std::int64_t r = 0; r < count; ++r) {
      for (std::int64_t c = 0; c < columns; ++c) {
        double sum = 0;
        for (std::int64_t k = 0; k < sums; ++k) {
          const auto value = static_cast<double>(values[static_cast<std::size_t>(r * sums + k)]);
          const double zero = quant.zero_point;
          const double steps = std::clamp(std::nearbyint(value / 0.25), -zero, 255 - zero);
          sum += steps * layer.integers[static_cast<std::size_t>(c * sums + k)];
        }
        const auto column = static_cast<std::size_t>(c);
        const double scale = 0.25 * static_cast<double>(layer.weight_scales[column]);
        const auto bias = static_cast<double>(layer.bias[column]);
        expected.push_back(static_cast<float>(sum * scale + bias));
      }
    }
    for (const Kernels* kernels : sets) {
      CAPTURE(std::string(kernels->name));
      native::Placement rows;
      rows.shape = {sums, 1, most};
      rows.quant = quant;
      rows.element_bytes = kernels->bytes;
      rows.zero = kernels->zero - native::shift_of(quant);
      rows.layout = native::Layout::ChannelsLast;
      rows.lay_out(kernels->lanes);
      native::Placement output;
      output.shape = {columns, 1, most};
      output.layout = native::Layout::ChannelsLast;
      output.lay_out(kernels->lanes);
      native::LayerMemory memory(1e9);
      native::WeightArena arena;
      const bool tiles = kernels->conv_tiles != nullptr && columns >= kernels->lanes;
      const auto method = tiles ? native::Method::IntegerTiles : native::Method::IntegerChannels;
      const auto product = native::int8::make_row_product({native::choose_kernels(),
                                                           kernels,
                                                           nullptr,
                                                           layer,
                                                           nullptr,
                                                           nullptr,
                                                           method,
                                                           "",
                                                           1,
                                                           output.shape,
                                                           {rows},
                                                           {},
                                                           output,
                                                           memory,
                                                           arena});
      const Aligned<char> elements(static_cast<std::size_t>(rows.size * rows.element_bytes));
      native::int8::quantize(*kernels, values.data(), count * sums, quant, bounds,
                             const_cast<char*>(elements.data()));
      std::vector<float> found(expected.size() + 1, -1);  // what is behind is not touched
      product->multiply(elements.data(), count, found.data());
      CHECK(found.back() == -1);
      found.pop_back();
      CHECK(found == expected);
    }
  }
}

TEST_CASE("sums that 32 bits might not hold are refused") {
  Network network;
  network.tensors = {TensorShape{1 << 17, 1, 1}};
  Random random(1);
  add_quantize(network, random, 0, 0);
  Layer linear = layer_of(LayerKind::Convolution);
  give_weights(linear, random, 1, 1 << 17);
  add_layer(network, linear, {1, 1, 1});
  CHECK_ERROR(Unsupported, "sums as long as those",
              compiled(network, native::int8::choose_kernels()));
}

}  // namespace
}  // namespace lenet::tests

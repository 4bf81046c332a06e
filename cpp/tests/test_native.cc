// What the native engine's programs of one or two layers give, over shapes that look random,
// against the definition; under the sanitizers too. tests/cpp/test_native_engine.py has real
// exports.

#include "engines/native/runtime/thread_pool.h"
#include "model/hash_check.h"
#include "native_support.h"

namespace lenet::tests {
namespace {

using namespace native;

constexpr std::int64_t kImages = 19;  // more than a vector of any set, with a rest

/// None, relu, or one that kernels apply to what they have stored.
Activation some_activation(Random& random) {
  constexpr Activation kOthers[] = {{ActivationKind::HardSwish, 0.25F, 0.5F},
                                    {ActivationKind::LeakyRelu, 0.125F},
                                    {ActivationKind::Clip, -20, 60}};
  return random.coin() ? kOthers[random.from(0, 2)] : relu_or_none(random);
}

/// The pool that convolutions compute on the way, or any other.
void add_pool(Network& network, Random& random) {
  const TensorShape in = network.tensors.back().shape;
  TensorShape out = {in.channels(), in.height() / 2, in.width() / 2};
  Layer pool = pool_of(2, 2);
  pool.activation = relu_or_none(random);
  auto& params = pool.get<native::PoolParams>();
  if (out.values() == 0 || random.coin()) {
    params.kind = static_cast<PoolKind>(random.from(0, 2));
    const auto direction = [&](std::size_t i, std::int64_t size) {
      std::int64_t& kernel = params.window.kernel[i];
      kernel = random.from(1, std::min<std::int64_t>(4, size));
      params.window.strides[i] = random.from(1, std::min<std::int64_t>(3, kernel));
      params.window.padding[2 * i] = random.from(0, kernel / 2);
      params.window.padding[2 * i + 1] = random.from(0, kernel / 2);
      return count_windows(size, params.window, i);
    };
    const std::int64_t height = direction(0, in.height());
    out = {in.channels(), height, direction(1, in.width())};
  }
  add_layer(network, pool, out);
}

/// A convolution whose result is added to what it takes.
void add_residual(Network& network, Random& random) {
  const std::size_t from = network.tensors.size() - 1;
  const TensorShape shape = network.tensors[from].shape;
  const std::int64_t pad = random.from(0, 1);
  Layer convolution = convolution_of(2 * pad + 1, 2 * pad + 1);
  convolution.convolution().window.padding = {pad, pad, pad, pad};
  convolution.weights = random.values(shape.channels() * shape.channels() * (8 * pad + 1));
  convolution.bias = random.values(shape.channels());
  if (random.from(0, 3) == 0) convolution.activation = some_activation(random);
  add_layer(network, convolution, shape);
  Layer sum = layer_of(LayerKind::Add);
  sum.inputs = {from, from + 1};
  if (random.coin()) std::swap(sum.inputs[0], sum.inputs[1]);
  sum.activation = some_activation(random);
  add_layer(network, sum, shape);
  if (random.coin()) return;
  Layer join = layer_of(LayerKind::Concat);  // for which what was added is still there
  join.inputs = {from + 2, from};
  add_layer(network, join, {2 * shape.channels(), shape.height(), shape.width()});
}

/// A layer that moves values, or reads them in the order of the program.
void add_order(Network& network, Random& random) {
  const TensorShape in = network.tensors.back().shape;
  Layer layer;
  TensorShape out = in;
  const Shape sizes = {in.channels(), in.height(), in.width()};
  const auto axis = static_cast<std::size_t>(random.from(0, 2));
  const native::Axis along = {sizes[axis], steps_of(sizes)[axis]};
  const bool logarithm = random.coin();
  switch (random.from(0, 4)) {
    case 0:
      layer.set_kind(LayerKind::Channels);
      out = {random.from(1, 2 * in.channels()), in.height(), in.width()};
      for (std::int64_t c = 0; c < out.channels(); ++c) {
        layer.get<native::ChannelsParams>().sources.push_back(
            {0, random.from(0, in.channels() - 1)});
      }
      break;
    case 1: {  // turned in any way, in a frame
      layer.set_kind(LayerKind::Copy);
      auto& copy = layer.get<native::CopyParams>();
      copy.fill = random.values(1)[0];
      const std::int64_t frame = random.from(0, 2);
      std::array<std::size_t, 3> axes = {0, 1, 2};
      for (std::int64_t k = random.from(0, 5); k > 0; --k) {
        std::next_permutation(axes.begin(), axes.end());
      }
      out = {sizes[axes[0]] + frame, sizes[axes[1]] + frame, sizes[axes[2]]};
      const Integers given = steps_of({out.channels(), out.height(), out.width()});
      Integers to(3);
      for (std::size_t k = 0; k < 3; ++k) to[axes[k]] = given[k];
      copy.boxes = {box_of(sizes, steps_of(sizes), to)};
      break;
    }
    case 2: {  // of small values: of large ones it makes the errors larger
      Layer scale = layer_of(LayerKind::ChannelScale);
      const auto channels = static_cast<std::size_t>(in.channels());
      scale.params = native::ScaleParams{std::vector<float>(channels, 1.0F / 64),
                                         std::vector<float>(channels)};
      add_layer(network, scale, in);
      layer.set_kind(LayerKind::Softmax);
      layer.params = native::SoftmaxParams{along, logarithm};
      break;
    }
    case 3:
      layer.set_kind(LayerKind::Reduce);
      layer.params =
          native::ReduceParams{along, random.coin() ? ReduceKind::Max : ReduceKind::Mean};
      out = {axis == 0 ? 1 : in.channels(), axis == 1 ? 1 : in.height(),
             axis == 2 ? 1 : in.width()};
      break;
    default:
      layer.set_kind(LayerKind::View);
      out = {in.height() * in.channels(), 1, in.width()};
  }
  add_layer(network, layer, out);
}

/// A convolution, perhaps with a branch beside it, pooled, and followed by a fully connected layer.
/// \param winograd whether the convolution is one that Winograd's transform computes
Network random_network(Random& random, bool winograd) {
  Network network;
  Layer convolution = layer_of(LayerKind::Convolution);
  if (!winograd && random.from(0, 2) == 0) convolution.convolution().groups = random.from(2, 20);
  const std::int64_t inputs =
      winograd ? random.from(4, 9)
               : convolution.convolution().groups * (random.coin() ? 1 : random.from(1, 9));
  const bool depthwise = convolution.convolution().groups == inputs && random.coin();
  const std::int64_t outputs =
      convolution.convolution().groups * (depthwise ? 1 : random.from(winograd ? 4 : 1, 20));
  const bool plain = random.coin();  // as the special cases want it
  const bool simple = plain || winograd;
  std::array<std::int64_t, 2> sizes{};
  std::array<std::int64_t, 2> results{};
  Window& window = convolution.convolution().window;
  for (std::size_t i = 0; i < 2; ++i) {
    window.kernel[i] = winograd ? 5 : random.from(1, 5);
    for (const std::size_t side : {2 * i, 2 * i + 1}) {
      window.padding[side] = plain && !winograd ? 0 : random.from(0, 2);
    }
    window.strides[i] = simple ? 1 : random.from(1, 3);
    window.dilations[i] = simple ? 1 : random.from(1, 2);
    sizes[i] = winograd
                   ? 2 * random.from(1, 14) + 4 - window.padding[2 * i] - window.padding[2 * i + 1]
                   : random.from(1, 40) + window.dilations[i] * (window.kernel[i] - 1);
    results[i] = count_windows(sizes[i], window, i);
  }
  const TensorShape in = {inputs, sizes[0], sizes[1]};
  TensorShape out = {outputs, results[0], results[1]};
  convolution.weights = random.values(
      out.channels() * (in.channels() / convolution.convolution().groups) *
      convolution.convolution().window.kernel[0] * convolution.convolution().window.kernel[1]);
  convolution.bias = random.values(out.channels());
  convolution.activation = some_activation(random);
  network.tensors = {in};
  add_layer(network, convolution, out);
  if (random.from(0, 2) == 0) {
    Layer scale = layer_of(LayerKind::ChannelScale);
    auto& params = scale.get<native::ScaleParams>();
    params.scale = random.values(out.channels());
    params.bias = random.values(out.channels());
    scale.activation = some_activation(random);
    add_layer(network, scale, out);
    Layer join = layer_of(random.coin() ? LayerKind::Add : LayerKind::Concat);
    join.inputs = {1, 2};
    if (join.kind == LayerKind::Add) join.activation.kind = ActivationKind::Relu;
    if (join.kind == LayerKind::Concat) out = {2 * out.channels(), out.height(), out.width()};
    add_layer(network, join, out);
    if (random.coin()) {
      Layer activate = layer_of(LayerKind::Activate);
      activate.activation = some_activation(random);
      add_layer(network, activate, out);
    }
  }
  if (random.from(0, 2) == 0) add_residual(network, random);
  if (random.coin()) add_pool(network, random);
  for (std::int64_t i = random.from(-4, 3); i > 0; --i) add_order(network, random);
  if (random.coin()) {
    const TensorShape image = network.tensors.back().shape;
    Layer linear = convolution_of(image.height(), image.width());
    const std::int64_t classes = random.from(1, 150);
    linear.weights = random.values(classes * image.values());
    linear.bias = random.values(classes);
    add_layer(network, linear, {classes, 1, 1});
  }
  return network;
}

TEST_CASE("random networks are what their definition says, in both layouts and all sets" *
          doctest::test_suite("arithmetic")) {
  constexpr int kNetworks = kUnderAsan ? 24 : 90;
  Random random(11);
  for (int i = 0; i < kNetworks; ++i) {
    const Network network = random_network(random, i % 3 == 2);
    CAPTURE(i);
    const std::vector<float> images = random.values(kImages * network.tensors[0].shape.values());
    const std::vector<double> expected = definition(network, images);
    double largest = 1;
    for (const double value : expected) largest = std::max(largest, std::abs(value));
    for (const Kernels* kernels : available_kernels(native::kernels_named)) {
      CAPTURE(std::string(kernels->name));
      std::vector<float> one_by_one;
      bool same_sums = true;  // in both layouts
      for (const bool interleaved : {false, true}) {
        Network laid_out = network;
        if (separate_layouts(laid_out) && interleaved) continue;
        // Tensors of every other network share memory.
        const std::int64_t min_shared = i % 2 == 0 ? 0 : native::kMinSharedBytes;
        const auto program = compiled(network, *kernels, interleaved, min_shared);
        if (!same_sums) one_by_one.clear();
        same_sums = !has_kernel(*program, "winograd_3x3");
        for (const std::int64_t at_once : {kImages, std::int64_t{1}}) {
          const std::vector<float> found = outputs(*program, images, at_once);
          CHECK(largest_error(found, expected) <= 1e-5 * largest);
          if (one_by_one.empty()) one_by_one = found;
          CHECK(found == one_by_one);
        }
      }
    }
  }
}

/// From -1 to 1, by integers: each standard library has distributions of its own.
std::vector<float> exact_values(std::mt19937& generator, std::int64_t count) {
  std::vector<float> found(static_cast<std::size_t>(count));
  for (float& value : found) value = std::ldexp(static_cast<float>(generator() >> 8), -23) - 1;
  return found;
}

/// Forty layers and a last one, without functions of the C library, which may differ too.
Network deep_network(std::mt19937& generator) {
  Network network;
  network.tensors = {TensorShape{3, 20, 20}};
  const auto add = [&](Layer layer, const TensorShape& shape, const Activation& activation = {}) {
    layer.activation = activation;
    add_layer(network, std::move(layer), shape);
  };
  const auto convolve = [&](std::int64_t channels, std::int64_t kernel, std::int64_t stride,
                            std::int64_t groups, const Activation& activation) {
    const TensorShape in = network.tensors.back().shape;
    const std::int64_t taps = in.channels() / groups * kernel * kernel;
    Layer layer = convolution_of(kernel, kernel);
    layer.convolution().window.strides = {stride, stride};
    layer.convolution().window.padding.fill(kernel / 2);
    layer.convolution().groups = groups;
    layer.weights = exact_values(generator, channels * taps);
    for (float& weight : layer.weights) weight = std::ldexp(weight, -std::ilogb(taps) / 2);
    layer.bias = exact_values(generator, channels);
    const std::int64_t size = count_windows(in.width(), layer.convolution().window, 0);
    add(layer, {channels, size, size}, activation);
  };
  const auto combine = [&](LayerKind kind, std::size_t back, const Activation& activation) {
    Layer layer = layer_of(kind);
    layer.inputs = {network.tensors.size() - 1, network.tensors.size() - 1 - back};
    add(layer, network.tensors.back().shape, activation);
  };
  for (const std::int64_t channels : {24, 40, 56, 72}) {
    convolve(channels, 3, 1, 1, {ActivationKind::Relu});
    convolve(channels, 3, 1, channels, {ActivationKind::HardSwish, 1.0F / 6, 0.5F});
    convolve(channels, 1, 1, 1, {});
    combine(LayerKind::Add, 2, {ActivationKind::LeakyRelu, 0.1F});
    convolve(channels, 5, 2, channels, {ActivationKind::Clip, 0, 6});
    convolve(channels, 5, 1, 1, {});
    Layer scale = layer_of(LayerKind::ChannelScale);
    auto& params = scale.get<native::ScaleParams>();
    params.scale = exact_values(generator, channels);
    params.bias = exact_values(generator, channels);
    add(scale, network.tensors.back().shape, {ActivationKind::HardSigmoid, 0.2F, 0.5F});
    convolve(channels, 3, 1, channels / 4, {ActivationKind::Relu});
    Layer pool = pool_of(1, 1);
    auto& [window, kind, _] = pool.get<native::PoolParams>();
    kind = channels % 3 == 0 ? PoolKind::Average : PoolKind::Max;
    window.kernel = {3, 3};
    window.padding = {1, 1, 1, 1};
    add(pool, network.tensors.back().shape);
    combine(LayerKind::Multiply, 1, {});
  }
  Layer linear = convolution_of(2, 2);
  linear.weights = exact_values(generator, 10 * network.tensors.back().shape.values());
  linear.bias = exact_values(generator, 10);
  add(linear, {10, 1, 1});
  return network;
}

/// The bytes of what `run(first, count)` gives for 64 images, and for fewer at once.
template <class Run>
std::string same_bits(const Run& run) {
  const std::string all = bytes_of(run(0, 64));
  for (const std::int64_t at_once : {1, 3, 7}) {
    CAPTURE(at_once);
    std::string found;
    for (std::int64_t i = 0; i < 21; i += at_once) found += bytes_of(run(i, at_once));
    CHECK(all.compare(0, found.size(), found) == 0);
  }
  return all;
}

TEST_CASE("each set gives its bits from every compiler, for batches of any size" *
          doctest::test_suite("arithmetic")) {
  struct Digests {
    std::string lenet;
    std::string deep;  // of both layouts
  };
  const std::map<std::string, Digests> expected = {
      {"scalar",
       {"08f8c00786ab93310e1ec4a6b7430a6ae60287111ff9209a8de558b7418dcafa",
        "d3f997392d224840f9ccf64176f16de27d0325e307242a76cfe213ef3da646d0"}},
      {"sse42",
       {"2b753bb367efe59007a3859f1252db4f86705e6144c20bfcfd19f8685cf45db4",
        "d18fecb19fc397366d4d583aba1582e14680d429e067b1e0cb875869c61dbeab"}},
      {"avx2",
       {"43f68bdc7fe67c9c91a5dba5ae1b648b2c7cc5c52b89aee3d2f0d685a182c087",
        "2f4f8ba5ae7fe836ac4c8446957355b164a34072c9b63ec009a918f2585fc84b"}},
      {"avx512",
       {"8c63a86ddbdcf6b0eea02832c2f5cdcb4da3357e40cf8b5387d332185dd33222",
        "286d0a081bb90aace6c58487086880a7bfa27d0d7d2b6f37dbbfdab60c19087f"}},
      {"neon",
       {"b0ca45fba545abdc321f2b9750e0f0cdfe3af97d9df20348fa5cdcab592d1e5d",
        "924c7fce1ac5dfee1d6ab30c33cbf18bb7e52f2368198bb136331fddf741ecbe"}},
  };
  std::mt19937 generator(17);
  const Network network = deep_network(generator);
  const std::int64_t image = network.tensors[0].shape.values();
  const std::vector<float> images = exact_values(generator, 64 * image);
  const Tensor digits = random_images(64);
  const char* const before = std::getenv("LENET_NATIVE_ISA");
  const std::string value = before == nullptr ? "" : before;
  for (const Kernels* kernels : available_kernels(native::kernels_named)) {
    CAPTURE(std::string(kernels->name));
    set_variable("LENET_NATIVE_ISA", kernels->name);
    Predictor lenet(bundled());
    const std::string of_lenet = same_bits([&](std::int64_t first, std::int64_t count) {
      return lenet.run({digits.data.data() + first * 28 * 28, {count, 1, 28, 28}}).data;
    });
    std::string deep;
    for (const bool interleaved : {false, true}) {
      const auto program = compiled(network, *kernels, interleaved);
      deep += same_bits([&](std::int64_t first, std::int64_t count) {
        const auto begin = images.begin() + first * image;
        return outputs(*program, std::vector<float>(begin, begin + count * image), count);
      });
    }
    CHECK(sha256_hex(of_lenet) == expected.at(kernels->name).lenet);
    CHECK(sha256_hex(deep) == expected.at(kernels->name).deep);
  }
  set_variable("LENET_NATIVE_ISA", value);
}

TEST_CASE("convolutions of images that the caches do not hold are what their definition says") {
  Random random(7);
  const TensorShape image = {1, 61, 59};
  const TensorShape inner = {70, 61, 59};
  for (const std::int64_t pad : {0, 1}) {
    Network network;
    network.tensors = {image};
    const auto add = [&](std::size_t from, const TensorShape& to, std::int64_t border) {
      Layer convolution = convolution_of(2 * border + 1, 2 * border + 1);
      convolution.inputs = {from};
      convolution.convolution().window.padding = {border, border, border, border};
      convolution.weights = random.values(to.channels() * network.tensors[from].shape.channels() *
                                          convolution.convolution().window.kernel[0] *
                                          convolution.convolution().window.kernel[1]);
      convolution.bias = random.values(to.channels());
      add_layer(network, convolution, to);
    };
    add(0, inner, 0);
    add(0, {40, 61, 59}, 0);
    add(1, {40, 61, 59}, pad);
    Layer sum = layer_of(LayerKind::Add);
    sum.inputs = {3, 2};
    sum.activation = {native::ActivationKind::Relu};
    add_layer(network, sum, {40, 61, 59});
    const std::vector<float> images = random.values(2 * image.values());
    const std::vector<double> expected = definition(network, images);
    const double largest = *std::max_element(expected.begin(), expected.end());
    for (const Kernels* kernels : available_kernels(native::kernels_named)) {
      CAPTURE(std::string(kernels->name));
      const std::vector<float> found = outputs(*compiled(network, *kernels), images, 2);
      CHECK(largest_error(found, expected) <= 1e-5 * largest);
    }
  }
}

TEST_CASE("threads that share each layer of an image give the bits that one gives") {
  Random random(13);
  Network network;
  network.tensors = {TensorShape{3, 40, 40}};
  const auto add = [&](std::int64_t channels, std::int64_t kernel, std::int64_t stride,
                       std::int64_t groups = 1) {
    const TensorShape from = network.tensors.back().shape;
    Layer convolution = convolution_of(kernel, kernel);
    convolution.convolution().window.strides = {stride, stride};
    convolution.convolution().groups = groups;
    convolution.weights = random.values(channels * from.channels() / groups * kernel * kernel);
    convolution.bias = random.values(channels);
    const auto size = [&](std::size_t i) {
      return count_windows(from.width(), convolution.convolution().window, i);
    };
    add_layer(network, convolution, {channels, size(0), size(1)});
  };
  const auto add_sum = [&] {
    Layer sum = layer_of(LayerKind::Add);
    sum.inputs = {network.tensors.size() - 1, network.tensors.size() - 2};
    add_layer(network, sum, network.tensors.back().shape);
  };
  add(80, 3, 1);
  add(80, 3, 1, 80);
  add(80, 1, 1);
  add_sum();
  Layer turn = layer_of(LayerKind::Channels);
  for (std::int64_t c = 80; c > 0; --c)
    turn.get<native::ChannelsParams>().sources.push_back({0, c - 1});
  add_layer(network, turn, network.tensors.back().shape);
  add(40, 3, 1);  // by Winograd: threads share out tiles
  add(150, 1, 4);
  add(100, 1, 1, 50);
  add(300, 3, 1);  // and of few tiles output channels
  add(72, 5, 1);   // with so many weights that threads share out channels rather than rows
  add(300, 3, 1);
  add(300, 1, 1);
  add_sum();
  const std::vector<float> image = random.values(network.tensors[0].shape.values());
  for (const Kernels* kernels : available_kernels(native::kernels_named)) {
    CAPTURE(std::string(kernels->name));
    const auto program = compiled(network, *kernels);
    const std::vector<float> expected = outputs(*program, image);
    CHECK(has_kernel(*program, "fully_connected"));
    CHECK(has_kernel(*program, "winograd_3x3") == (kernels->winograd3x3 != nullptr));
    CHECK(has_kernel(*program, "channels"));
    CHECK(has_kernel(*program, "conv_depthwise"));
    CHECK(has_kernel(*program, "conv_grouped") == (kernels->lanes > 1));
    for (const std::size_t threads : {2U, 3U, 7U}) {
      auto memory = program->memory(1);
      native::Aligned<char> scratch(static_cast<std::size_t>(program->scratch_bytes()) * threads);
      std::vector<float> found(expected.size());
      float* const output = found.data();
      ThreadPool pool(threads);
      native::Team::run(pool, threads, [&](native::Team& team) {
        const native::Crew crew{team, scratch.data()};
        const auto ignore = [](std::size_t) {};
        program->run({image.data(), {}}, 0, 1, memory.data(), &output, ignore, &crew);
      });
      CHECK(found == expected);
    }
  }
}

TEST_CASE("one image's zeros are skipped, but not what they make NaN") {
  constexpr std::int64_t kWidth = 70;  // more than the bits of a number
  constexpr std::int64_t kClasses = 9;
  Network network;
  network.tensors = {TensorShape{1, 1, kWidth}};
  Layer linear = convolution_of(1, kWidth);
  Random random(3);
  linear.weights = random.values(kClasses * kWidth);
  linear.bias = random.values(kClasses);
  add_layer(network, linear, {kClasses, 1, 1});
  float& weight = network.layers[0].weights[3 * kWidth + 66];  // of class 3, times 0
  std::vector<float> image = random.values(kWidth);
  for (std::size_t i = 0; i < kWidth; ++i) image[i] *= static_cast<float>(i % 3 != 0);
  const auto run = [&](const Kernels& kernels) {
    return outputs(*compiled(network, kernels), image);
  };
  for (const Kernels* kernels : available_kernels(native::kernels_named)) {
    CAPTURE(std::string(kernels->name));
    const std::vector<float> found = run(*kernels);
    const std::vector<double> expected = definition(network, image);
    for (std::size_t o = 0; o < kClasses; ++o) CHECK(found[o] == doctest::Approx(expected[o]));

    const float finite = std::exchange(weight, INFINITY);
    CHECK(std::isnan(run(*kernels)[3]));
    CHECK(run(*kernels)[2] == doctest::Approx(expected[2]));
    weight = finite;
    const float before = std::exchange(image[67], NAN);
    for (const float value : run(*kernels)) CHECK(std::isnan(value));
    image[67] = before;
  }
}

}  // namespace
}  // namespace lenet::tests

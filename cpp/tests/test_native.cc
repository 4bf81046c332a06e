// The native engine's programs of one or two layers, over shapes that look random, against the
// definition; under the sanitizers too. tests/cpp/test_native_engine.py has real exports.

#include <array>

#include "engines/native/read_network.h"
#include "engines/native/runtime/memory_plan.h"
#include "engines/native/runtime/thread_pool.h"
#include "engines/run_control.h"
#include "model/graph.h"
#include "model/readers.h"
#include "native_support.h"
#include "notation.h"

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
  const TensorShape in = network.tensors.back();
  TensorShape out = {in.channels, in.height / 2, in.width / 2};
  Layer pool = layer_of(LayerKind::Pool);
  pool.activation = relu_or_none(random);
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

/// A convolution whose result is added to what it takes.
void add_residual(Network& network, Random& random) {
  const std::size_t from = network.tensors.size() - 1;
  const TensorShape shape = network.tensors[from];
  const std::int64_t pad = random.from(0, 1);
  Layer convolution = convolution_of(2 * pad + 1, 2 * pad + 1);
  convolution.window.padding = {pad, pad, pad, pad};
  convolution.weights = random.values(shape.channels * shape.channels * (8 * pad + 1));
  convolution.bias = random.values(shape.channels);
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
  add_layer(network, join, {2 * shape.channels, shape.height, shape.width});
}

/// A layer that moves values, or reads them in the order of the program.
void add_order(Network& network, Random& random) {
  const TensorShape in = network.tensors.back();
  Layer layer = layer_of(LayerKind::Copy);
  TensorShape out = in;
  const Shape sizes = {in.channels, in.height, in.width};
  const auto axis = static_cast<std::size_t>(random.from(0, 2));
  layer.axis = {sizes[axis], steps_of(sizes)[axis]};
  layer.logarithm = random.coin();
  switch (random.from(0, 4)) {
    case 0:
      layer.kind = LayerKind::Channels;
      out.channels = random.from(1, 2 * in.channels);
      for (std::int64_t c = 0; c < out.channels; ++c) {
        layer.channels.push_back({0, random.from(0, in.channels - 1)});
      }
      break;
    case 1: {  // turned, in a frame
      layer.fill = random.values(1)[0];
      const std::int64_t frame = random.from(0, 2);
      out = {in.width + frame, in.channels + frame, in.height};
      const Integers to = steps_of({out.channels, out.height, out.width});
      layer.boxes = {box_of(sizes, steps_of(sizes), {to[1], to[2], to[0]})};
      break;
    }
    case 2: {  // of small values: of large ones it makes the errors larger
      Layer scale = layer_of(LayerKind::ChannelScale);
      scale.scale.assign(static_cast<std::size_t>(in.channels), 1.0F / 64);
      scale.bias.assign(scale.scale.size(), 0);
      add_layer(network, scale, in);
      layer.kind = LayerKind::Softmax;
      break;
    }
    case 3:
      layer.kind = LayerKind::Reduce;
      layer.logarithm = false;
      layer.reduce = random.coin() ? ReduceKind::Max : ReduceKind::Mean;
      out = {axis == 0 ? 1 : in.channels, axis == 1 ? 1 : in.height, axis == 2 ? 1 : in.width};
      break;
    default:
      layer.kind = LayerKind::View;
      out = {in.height * in.channels, 1, in.width};
  }
  add_layer(network, layer, out);
}

/// A convolution, perhaps with a branch beside it, pooled, and followed by a fully connected layer.
/// \param winograd whether the convolution is one that Winograd's transform computes
Network random_network(Random& random, bool winograd) {
  Network network;
  Layer convolution = layer_of(LayerKind::Convolution);
  if (!winograd && random.from(0, 2) == 0) convolution.groups = random.from(2, 20);
  TensorShape in;
  TensorShape out;
  in.channels =
      winograd ? random.from(4, 9) : convolution.groups * (random.coin() ? 1 : random.from(1, 9));
  const bool depthwise = convolution.groups == in.channels && random.coin();
  out.channels = convolution.groups * (depthwise ? 1 : random.from(winograd ? 4 : 1, 20));
  const bool plain = random.coin();  // as the special cases want it
  const bool simple = plain || winograd;
  std::int64_t* const sizes[] = {&in.height, &in.width};
  std::int64_t* const results[] = {&out.height, &out.width};
  Window& window = convolution.window;
  for (std::size_t i = 0; i < 2; ++i) {
    window.kernel[i] = winograd ? 5 : random.from(1, 5);
    for (const std::size_t side : {2 * i, 2 * i + 1}) {
      window.padding[side] = plain && !winograd ? 0 : random.from(0, 2);
    }
    window.strides[i] = simple ? 1 : random.from(1, 3);
    window.dilations[i] = simple ? 1 : random.from(1, 2);
    *sizes[i] = winograd
                    ? 2 * random.from(1, 14) + 4 - window.padding[2 * i] - window.padding[2 * i + 1]
                    : random.from(1, 40) + window.dilations[i] * (window.kernel[i] - 1);
    *results[i] = count_windows(*sizes[i], window, i);
  }
  convolution.weights = random.values(out.channels * (in.channels / convolution.groups) *
                                      convolution.window.kernel[0] * convolution.window.kernel[1]);
  convolution.bias = random.values(out.channels);
  convolution.activation = some_activation(random);
  network.tensors = {in};
  add_layer(network, convolution, out);
  if (random.from(0, 2) == 0) {
    Layer scale = layer_of(LayerKind::ChannelScale);
    scale.scale = random.values(out.channels);
    scale.bias = random.values(out.channels);
    scale.activation = some_activation(random);
    add_layer(network, scale, out);
    Layer join = layer_of(random.coin() ? LayerKind::Add : LayerKind::Concat);
    join.inputs = {1, 2};
    if (join.kind == LayerKind::Add) join.activation.kind = ActivationKind::Relu;
    if (join.kind == LayerKind::Concat) out.channels *= 2;
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
    const TensorShape image = network.tensors.back();
    Layer linear = convolution_of(image.height, image.width);
    const std::int64_t classes = random.from(1, 150);
    linear.weights = random.values(classes * image.values());
    linear.bias = random.values(classes);
    add_layer(network, linear, {classes, 1, 1});
  }
  return network;
}

TEST_CASE("random networks are what their definition says, in both layouts and all sets" *
          doctest::test_suite("arithmetic")) {
#ifdef __SANITIZE_ADDRESS__
  constexpr int kNetworks = 24;  // each takes ten times as long
#else
  constexpr int kNetworks = 90;
#endif
  Random random(11);
  for (int i = 0; i < kNetworks; ++i) {
    const Network network = random_network(random, i % 3 == 2);
    CAPTURE(i);
    const std::vector<float> images = random.values(kImages * network.tensors[0].values());
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

/// A convolution of 3 x 3 of an image that a layer before it copies, exactly, into blocks of
/// channels. \param adds whether a copy of the image is added to it
Network network_3x3(Random& random, const TensorShape& image, std::int64_t channels, bool adds) {
  Network network;
  network.tensors = {image};
  const auto copy = [&](std::int64_t copied) {
    Layer layer = convolution_of(1, 1);
    layer.inputs = {0};
    layer.bias.resize(static_cast<std::size_t>(copied));
    for (std::int64_t i = 0; i < copied * image.channels; ++i) {
      layer.weights.push_back(i % image.channels == i / image.channels % image.channels ? 1 : 0);
    }
    add_layer(network, layer, {copied, image.height, image.width});
  };
  copy(channels);
  copy(image.channels);
  Layer convolution = convolution_of(3, 3);
  TensorShape out = {channels, 0, 0};
  std::int64_t* const sizes[] = {&out.height, &out.width};
  for (std::size_t i = 0; i < 2; ++i) {
    auto& padding = convolution.window.padding;
    padding[2 * i] = random.from(0, 2);
    padding[2 * i + 1] = adds ? 2 - padding[2 * i] : random.from(0, 2);
    *sizes[i] = count_windows(i == 0 ? image.height : image.width, convolution.window, i);
  }
  convolution.weights = random.values(channels * image.channels * 9);
  convolution.bias = random.values(channels);
  if (!adds) convolution.activation = relu_or_none(random);
  add_layer(network, convolution, out);
  if (!adds) return network;
  Layer sum = layer_of(LayerKind::Add);
  sum.inputs = {3, 1};
  sum.activation = relu_or_none(random);
  add_layer(network, sum, out);
  return network;
}

TEST_CASE("Winograd's method of 3 x 3 is nearly as accurate as the definition in float32" *
          doctest::test_suite("arithmetic")) {
  struct Case {
    TensorShape image;
    std::int64_t channels;
  };
#ifdef __SANITIZE_ADDRESS__
  constexpr int kCases = 5;  // each takes ten times as long
#else
  constexpr int kCases = 20;
#endif
  // More tiles than are computed at once, with the transformed weights kept and not.
  std::vector<Case> cases = {{{130, 36, 40}, 128}, {{40, 45, 61}, 20}, {{200, 7, 7}, 70}};
  Random random(13);
  for (int i = 0; i < kCases; ++i) {
    cases.push_back(
        {{random.from(8, 80), random.from(3, 20), random.from(3, 20)}, random.from(8, 80)});
  }
  double squares = 0;  // of the errors, relative to the largest output
  double squares_of_direct = 0;
  std::size_t computed = 0;
  std::size_t sets = 0;
  for (const Kernels* kernels : available_kernels(native::kernels_named)) {
    if (kernels->winograd3x3 != nullptr) ++sets;
  }
  for (std::size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i);
    const auto& [image, channels] = cases[i];
    const Network network = network_3x3(random, image, channels, i % 2 == 0);
    const std::vector<float> images = random.values(3 * image.values());
    const std::vector<double> expected = definition(network, images);
    double largest = 0;
    for (const double value : expected) largest = std::max(largest, std::abs(value));
    for (const Kernels* kernels : available_kernels(native::kernels_named)) {
      CAPTURE(std::string(kernels->name));
      const auto program = compiled(network, *kernels);
      if (!has_kernel(*program, "winograd_3x3")) continue;
      ++computed;
      const std::vector<float> found = outputs(*program, images, 3);
      CHECK(outputs(*program, images, 1) == found);
      const std::vector<float> direct = outputs(*compiled(network, *kernels, true), images, 3);
      double worst = 0;
      for (std::size_t k = 0; k < found.size(); ++k) {
        const double error = (found[k] - expected[k]) / largest;
        const double of_direct = (direct[k] - expected[k]) / largest;
        worst = std::max(worst, std::abs(error));
        squares += error * error;
        squares_of_direct += of_direct * of_direct;
      }
      CHECK(worst <= 4e-6);  // 2.3e-6, or 2.7e-6 where fewer products are rounded with their sums
    }
  }
  CHECK(squares <= 3 * 3 * squares_of_direct);
  CHECK(computed >= sets * cases.size() * 2 / 3);
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
      convolution.window.padding = {border, border, border, border};
      convolution.weights =
          random.values(to.channels * network.tensors[from].channels *
                        convolution.window.kernel[0] * convolution.window.kernel[1]);
      convolution.bias = random.values(to.channels);
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
      double worst = 0;
      for (std::size_t i = 0; i < found.size(); ++i) {
        worst = std::max(worst, std::abs(found[i] - expected[i]));
      }
      CHECK(worst <= 1e-5 * largest);
    }
  }
}

TEST_CASE("threads that share each layer of an image give the bits that one gives") {
  Random random(13);
  Network network;
  network.tensors = {{3, 40, 40}};
  const auto add = [&](std::int64_t channels, std::int64_t kernel, std::int64_t stride,
                       std::int64_t groups = 1) {
    const TensorShape from = network.tensors.back();
    Layer convolution = convolution_of(kernel, kernel);
    convolution.window.strides = {stride, stride};
    convolution.groups = groups;
    convolution.weights = random.values(channels * from.channels / groups * kernel * kernel);
    convolution.bias = random.values(channels);
    const auto size = [&](std::size_t i) {
      return count_windows(from.width, convolution.window, i);
    };
    add_layer(network, convolution, {channels, size(0), size(1)});
  };
  const auto add_sum = [&] {
    Layer sum = layer_of(LayerKind::Add);
    sum.inputs = {network.tensors.size() - 1, network.tensors.size() - 2};
    add_layer(network, sum, network.tensors.back());
  };
  add(80, 3, 1);
  add(80, 3, 1, 80);
  add(80, 1, 1);
  add_sum();
  Layer turn = layer_of(LayerKind::Channels);
  for (std::int64_t c = 80; c > 0; --c) turn.channels.push_back({0, c - 1});
  add_layer(network, turn, network.tensors.back());
  add(40, 3, 1);  // by Winograd: threads share out tiles
  add(150, 1, 4);
  add(100, 1, 1, 50);
  add(300, 3, 1);  // and of few tiles output channels
  add(72, 5, 1);   // with so many weights that threads share out channels rather than rows
  add(300, 3, 1);
  add(300, 1, 1);
  add_sum();
  const std::vector<float> image = random.values(network.tensors[0].values());
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

TEST_CASE("a concat of whole vectors costs nothing, within another too") {
  Random random(7);
  Network network;
  network.tensors = {{3, 15, 16}};  // so large that only the last step takes all images at once
  const auto convolve = [&](std::size_t from, std::int64_t channels) {
    const TensorShape in = network.tensors[from];
    Layer layer = convolution_of(3, 3);
    layer.inputs = {from};
    layer.window.padding = {1, 1, 1, 1};
    layer.weights = random.values(channels * in.channels * 9);
    layer.bias = random.values(channels);
    add_layer(network, layer, {channels, in.height, in.width});
    return network.outputs[0];
  };
  const auto join = [&](std::vector<std::size_t> inputs) {
    Layer layer = layer_of(LayerKind::Concat);
    TensorShape shape{0, 15, 16};
    for (const std::size_t input : inputs) shape.channels += network.tensors[input].channels;
    layer.inputs = std::move(inputs);
    add_layer(network, layer, shape);
    return network.outputs[0];
  };
  const std::size_t first = convolve(0, 32);
  const std::size_t second = convolve(first, 16);
  const std::size_t inner = join({first, second});
  convolve(join({inner, convolve(inner, 10)}), 5);
  join({network.outputs[0], second});  // is copied, long after it was given
  const std::vector<float> images = random.values(3 * network.tensors[0].values());
  const std::vector<double> expected = definition(network, images);
  const double largest = *std::max_element(expected.begin(), expected.end());
  for (const Kernels* kernels : available_kernels(native::kernels_named)) {
    CAPTURE(std::string(kernels->name));
    for (const std::int64_t min_shared : {std::int64_t{0}, native::kMinSharedBytes}) {
      const auto program = compiled(network, *kernels, false, min_shared);
      std::int64_t in_place = 0;
      for (const LayerProfile& layer : program->layers()) in_place += layer.kernel == "in place";
      CHECK(in_place == 2);
      const std::vector<float> found = outputs(*program, images, 3);
      double worst = 0;
      for (std::size_t i = 0; i < found.size(); ++i) {
        worst = std::max(worst, std::abs(found[i] - expected[i]));
      }
      CHECK(worst <= 1e-5 * largest);
    }
  }
}

TEST_CASE("lifetimes that overlap lie apart, and others share memory") {
  Random random(5);
  std::vector<Lifetime> lifetimes;
  std::int64_t all = 0;
  for (int i = 0; i < 300; ++i) {
    const auto first = static_cast<std::size_t>(random.from(0, 200));
    const auto steps = static_cast<std::size_t>(random.from(0, 20));
    lifetimes.push_back({random.from(0, 5000), first, first + steps});
    all += round_up(lifetimes.back().bytes, kCacheLine);
  }
  CHECK(plan_memory(lifetimes, false).bytes == all);
  const MemoryPlan plan = plan_memory(lifetimes, true);
  CHECK(plan.bytes < all / 4);
  for (std::size_t a = 0; a < lifetimes.size(); ++a) {
    CHECK(plan.begins[a] % kCacheLine == 0);
    CHECK(plan.begins[a] + lifetimes[a].bytes <= plan.bytes);
    for (std::size_t b = 0; b < a; ++b) {
      const bool at_once =
          lifetimes[a].first <= lifetimes[b].last && lifetimes[b].first <= lifetimes[a].last;
      const bool apart = plan.begins[a] + lifetimes[a].bytes <= plan.begins[b] ||
                         plan.begins[b] + lifetimes[b].bytes <= plan.begins[a];
      if (at_once) CHECK(apart);
    }
  }
}

/// ResNet50_vd for images of 224 x 224, without weights.
Network resnet50_vd() {
  Network network;
  network.tensors = {{3, 224, 224}};
  const auto add = [&](Layer layer, std::vector<std::size_t> inputs, std::int64_t channels,
                       std::int64_t stride) {
    const TensorShape in = network.tensors[inputs[0]];
    layer.inputs = std::move(inputs);
    layer.window.strides = {stride, stride};
    const std::int64_t pad = (layer.window.kernel[0] - 1) / 2;
    layer.window.padding = {pad, pad, pad, pad};
    add_layer(network, layer, {channels, in.height / stride, in.width / stride});
    return network.outputs[0];
  };
  const auto convolve = [&](std::size_t from, std::int64_t channels, std::int64_t kernel,
                            std::int64_t stride) {
    return add(convolution_of(kernel, kernel), {from}, channels, stride);
  };
  const auto pool = [&](std::size_t from, std::int64_t kernel) {
    Layer layer = layer_of(LayerKind::Pool);
    layer.window.kernel = {kernel, kernel};
    return add(layer, {from}, network.tensors[from].channels, 2);
  };
  std::size_t last = pool(convolve(convolve(convolve(0, 32, 3, 2), 32, 3, 1), 64, 3, 1), 3);
  const std::array<int, 4> blocks = {3, 4, 6, 3};
  for (std::size_t stage = 0; stage < blocks.size(); ++stage) {
    const std::int64_t width = std::int64_t{64} << stage;
    for (int block = 0; block < blocks[stage]; ++block) {
      const std::int64_t stride = block == 0 && stage > 0 ? 2 : 1;
      const std::size_t first = convolve(last, width, 1, 1);
      const std::size_t sum = convolve(convolve(first, width, 3, stride), 4 * width, 1, 1);
      if (stride == 2) last = pool(last, 2);
      if (block == 0) last = convolve(last, 4 * width, 1, 1);
      last = add(layer_of(LayerKind::Add), {sum, last}, 4 * width, 1);
    }
  }
  return network;
}

TEST_CASE("activations of ResNet50_vd take less than 12 MB") {
  const Network network = resnet50_vd();
  for (const Kernels* kernels : available_kernels(native::kernels_named)) {
    const FloatProgram program(network, *kernels, false);
    CAPTURE(std::string(kernels->name));
    CHECK(program.tensor_bytes() > 50'000'000);
    CHECK(program.unit_bytes() < 12'000'000);
  }
}

TEST_CASE(
    "outputs, softmax among them, are what their layers give, cost no other step, and can be "
    "cancelled") {
  Network network;
  network.tensors = {{3, 1, 1}};
  Layer doubled = layer_of(LayerKind::Convolution);
  doubled.weights = {2, 0, 0, 0, 2, 0, 0, 0, 2};
  doubled.bias = {0, 0, 0};
  add_layer(network, doubled, {3, 1, 1});
  Layer softmax = layer_of(LayerKind::Softmax);
  softmax.axis.count = 3;
  add_layer(network, softmax, {3, 1, 1});
  doubled.bias = {5, 5, 5};
  for (const std::size_t input : {1, 3}) {  // a chain, whose middle is an output too
    doubled.inputs = {input};
    add_layer(network, doubled, {3, 1, 1});
  }
  network.outputs = {2, 1, 4, 2};
  const float l = std::log(2.0F);
  const float m = std::log(5.0F);
  const std::array<float, 3> image = {0, l / 2, m / 2};
  const std::array<double, 12> expected = {.125, .25,        .625,       0,    l,   m,
                                           15,   15 + 4 * l, 15 + 4 * m, .125, .25, .625};
  const auto check = [&](const auto& program) {
    auto memory = program->memory(1);
    for (const auto& [wanted, steps] :
         {std::pair(1U, "014"), std::pair(2U, "015"),  //
          std::pair(4U, "01236"), std::pair(14U, "0123567"), std::pair(15U, "01234567")}) {
      CAPTURE(wanted);
      std::array<float, 12> found{};
      std::array<float*, 4> places{};
      for (std::size_t i = 0; i < 4; ++i) {
        if ((wanted >> i & 1) != 0) places[i] = &found[3 * i];
      }
      std::string done;
      RunControl control;
      const auto run = [&] {
        program->run({image.data(), {}}, 0, 1, memory.data(), places.data(), [&](std::size_t step) {
          done += std::to_string(step);
          control.require_running();
        });
      };
      run();
      CHECK(done == steps);
      for (std::size_t i = 0; i < 12; ++i) {
        CHECK(found[i] == doctest::Approx((wanted >> i / 3 & 1) == 0 ? 0 : expected[i]));
      }
      control.cancel();
      CHECK_ERROR(BackendFailure, "the run was cancelled", run());
      CHECK(done == steps + std::string("0"));
    }
  };
  check(compiled(network, native::choose_kernels()));
  check(compiled(network, native::int8::choose_kernels()));
  network.layers[2].inputs = {2};
  CHECK_ERROR(Unsupported, "no int8 kernel", compiled(network, native::int8::choose_kernels()));
}

TEST_CASE("one image's zeros are skipped, but not what they make NaN") {
  constexpr std::int64_t kWidth = 70;  // more than the bits of a number
  constexpr std::int64_t kClasses = 9;
  Network network;
  network.tensors = {{1, 1, kWidth}};
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

TEST_CASE("the output may lie over the input") {
  const TemporaryFolder folder;
  const std::string graph =
      onnx_graph("Conv x w -> y", "w[4,1,1,1]=1,2,3,4", "x[-1,1,1,2] -> y[-1,4,1,2]");
  Predictor predictor(config_of("max_batch_size=1", write_onnx(folder, graph)));
  const std::vector<float> expected = {1,  2,  2,  4,  3,  6,  4,  8,  // 1, 2 times 1, 2, 3, 4
                                       10, 20, 20, 40, 30, 60, 40, 80};
  Tensor tensor{{1, 2, 10, 20}, {2, 1, 1, 2}};
  predictor.run(tensor.view(), tensor);
  CHECK(tensor.shape == Shape{2, 4, 1, 2});
  CHECK(tensor.data == expected);
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
    native::read_network(graph, "m", 1e6, true);
  };
  // The axis says where the dimensions of Y begin in those of X, which here is the larger one.
  const char* const sum =
      "x[-1,1,1,10] y[1,1,-1,10] f[-1,10] w[1,1,1,10]*:"
      "reshape2 x -> f | shape=[0,10]; elementwise_add X=w Y=f -> y | axis=2";
  CHECK_ERROR(Unsupported, "elementwise_add", read(sum, 10));
  // Its shape comes from another input, and is only what the program declares.
  const char* const bias =
      "x[-1,10,1,1] y[-1,10,1,1] w[7]* s[3]* b[10,1,1]:"
      "reshape2 X=w Shape=s -> b | shape=[10,1,1]; elementwise_add x Y=b -> y | axis=-1";
  CHECK_ERROR(Unsupported, "to another number of values", read(bias, 7));
}

TEST_CASE("options that it has not") {
  CHECK_ERROR(Unsupported, "not support precision bf16", Predictor{bundled("precision=bf16")});
  CHECK_ERROR(Unsupported, "accelerator onednn", Predictor{bundled("accelerator=onednn")});
  CHECK_ERROR(Unsupported, "in int8", Predictor{bundled("precision=int8")});
  Predictor predictor(bundled());
  CHECK_ERROR(Unsupported, "cannot show each", predictor.set_layer_callback([](auto&&...) {}));
}

}  // namespace
}  // namespace lenet::tests

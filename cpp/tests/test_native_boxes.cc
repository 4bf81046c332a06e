// Copies of boxes of values are compared with their definition: alone, on any number of threads,
// between tensors that lie in vectors of channels, and as the padding of what reads them.

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "native_support.h"

namespace lenet::tests {
namespace {

using namespace native;

TEST_CASE("boxes are copied by any number of threads" * doctest::test_suite("arithmetic")) {
  Random random(18);
  for (int i = 0; i < 60; ++i) {
    Shape sizes;
    std::int64_t values = 1;
    for (std::int64_t rank = random.from(1, 5); rank > 0; --rank) {
      sizes.push_back(random.from(1, 3) == 1 ? random.from(1, 50) : random.from(1, 8));
      values *= sizes.back();
    }
    Integers order(sizes.size());
    for (std::size_t k = 0; k < order.size(); ++k) order[k] = static_cast<std::int64_t>(k);
    for (std::size_t k = order.size(); k > 1; --k) {
      std::swap(order[k - 1],
                order[static_cast<std::size_t>(random.from(0, static_cast<std::int64_t>(k) - 1))]);
    }
    Shape turned;
    for (const std::int64_t axis : order) turned.push_back(sizes[static_cast<std::size_t>(axis)]);
    const Integers given = steps_of(turned);
    Integers to(sizes.size());
    for (std::size_t k = 0; k < order.size(); ++k) {
      to[static_cast<std::size_t>(order[k])] = given[k];
    }
    Layer layer = layer_of(LayerKind::Copy);
    const Box box = box_of(sizes, steps_of(sizes), to);
    layer.params = CopyParams{{box}};
    check_layer(
        layer, {values}, values, random,
        [&](const auto& inputs) {
          Definition found;
          found.values.resize(inputs[0].size());
          found.sizes.assign(inputs[0].size(), 1);
          const std::vector<double> from(inputs[0].begin(), inputs[0].end());
          copy_box(box, 0, from.data() + box.from, found.values.data() + box.to);
          return found;
        },
        0);
  }
}

TEST_CASE("a box that goes over another one is copied after it by any number of threads") {
  Random random(46);
  constexpr std::int64_t kRows = 300;
  constexpr std::int64_t kRow = 64;
  for (int i = 0; i < 10; ++i) {
    // Some values of each row, or some rows.
    const bool of_each_row = i % 2 == 0;
    const std::int64_t rows = of_each_row ? kRows : random.from(1, 50);
    const std::int64_t row = of_each_row ? random.from(1, 20) : kRow;
    const std::int64_t first = of_each_row ? random.from(0, 40) : random.from(0, 200) * kRow;
    Layer layer = layer_of(LayerKind::Copy);
    Box whole;
    whole.add({kRows * kRow, 1, 1});
    Box part;
    part.input = 1;
    part.to = first;
    part.add({rows, row, kRow});
    part.add({row, 1, 1});
    layer.params = CopyParams{{whole, part}};
    check_layer(
        layer, {kRows * kRow, rows * row}, kRows * kRow, random,
        [&](const auto& inputs) {
          Definition found;
          found.values.assign(inputs[0].begin(), inputs[0].end());
          found.sizes.assign(inputs[0].size(), 1);
          const std::vector<double> over(inputs[1].begin(), inputs[1].end());
          copy_box(part, 0, over.data(), found.values.data() + part.to);
          return found;
        },
        0);
  }
}

// ---- between layouts

/// A copy of an image in another order of its axes.
/// \param splits whether axes may be taken apart, as windows are
Layer turned_image(const TensorShape& image, bool splits, Random& random) {
  std::vector<Box::Loop> axes = {
      {image.channels(), image.pixels()}, {image.height(), image.width()}, {image.width(), 1}};
  for (std::size_t i = 3; splits && i-- > 0;) {
    Box::Loop& axis = axes[i];
    if (axis.count % 2 != 0 || random.coin()) continue;
    const Box::Loop inner = {axis.count / 2, axis.from};
    axis = {2, axis.from * inner.count};
    axes.insert(axes.begin() + static_cast<std::ptrdiff_t>(i) + 1, inner);
  }
  for (std::size_t i = axes.size(); i > 1; --i) {
    const auto other = random.from(0, static_cast<std::int64_t>(i) - 1);
    std::swap(axes[i - 1], axes[static_cast<std::size_t>(other)]);
  }
  std::vector<std::int64_t> counts;
  std::vector<std::int64_t> steps;
  for (const Box::Loop& axis : axes) {
    counts.push_back(axis.count);
    steps.push_back(axis.from);
  }
  return copy_of(counts, steps);
}

/// Two convolutions, whose border is no part of what copies take and give between them: one turns
/// an image, the other one turns it back. Between them is what no copy is joined with.
Network turning_network(const TensorShape& image, bool splits, Random& random) {
  Network network;
  network.tensors = {TensorShape{3, image.height(), image.width()}};
  const auto add_convolution = [&](std::int64_t inputs) {
    Layer layer = convolution_of(3, 3);
    layer.convolution().window.padding.fill(1);
    layer.weights = random.values(image.channels() * inputs * 9);
    layer.bias = random.values(image.channels());
    add_layer(network, layer, image);
  };
  add_convolution(3);
  const Layer turn = turned_image(image, splits, random);
  add_layer(network, turn, {1, 1, image.values()});
  Layer softmax = layer_of(LayerKind::Softmax);
  softmax.params = SoftmaxParams{{image.values(), 1}, true};
  add_layer(network, softmax, {1, 1, image.values()});
  Layer back = turn;
  for (Box::Loop& loop : back.get<CopyParams>().boxes[0].loops) std::swap(loop.from, loop.to);
  add_layer(network, back, image);
  add_convolution(image.channels());
  return network;
}

/// The largest of values, by its size; at least 1.
double largest_of(const std::vector<double>& values) {
  double largest = 1;
  for (const double value : values) largest = std::max(largest, std::abs(value));
  return largest;
}

TEST_CASE("a copy that goes on in the next row does not write around a border") {
  Random random(45);
  for (const std::int64_t channels : {1, 16}) {
    Network network;
    network.tensors = {TensorShape{1, 1, channels * 4}};
    Layer copy = layer_of(LayerKind::Copy);  // of values that lie in two rows, and of the rest
    std::vector<Box>& boxes = copy.get<CopyParams>().boxes;
    boxes.resize(2);
    boxes[0].to = 1;
    boxes[0].loops = {{channels, 4, 4}, {2, 1, 1}};
    boxes[1].from = 2;
    boxes[1].loops = {{channels, 4, 4}, {2, 1, 3}};
    const TensorShape image = {channels, 2, 2};
    add_layer(network, copy, image);
    Layer convolution = convolution_of(3, 3);
    convolution.convolution().window.padding.fill(1);
    convolution.weights = random.values(channels * channels * 9);
    convolution.bias = random.values(channels);
    add_layer(network, convolution, image);
    const std::vector<float> images = random.values(2 * channels * 4);
    const std::vector<double> expected = definition(network, images);
    for (const Kernels* kernels : available_kernels(kernels_named)) {
      CAPTURE(std::string(kernels->name));
      CHECK(largest_error(outputs(*compiled(network, *kernels), images), expected) <= 1e-4);
    }
  }
}

TEST_CASE("copies read and write whole vectors of channels where these lie") {
  Random random(44);
  for (const std::int64_t channels : {16, 32, 48, 20, 7}) {
    for (int i = 0; i < 12; ++i) {
      const TensorShape image = {channels, random.from(1, 9), random.from(2, 9)};
      const bool splits = i % 3 == 0;
      const Network network = turning_network(image, splits, random);
      const std::vector<float> images = random.values(3 * network.tensors[0].shape.values());
      const std::vector<double> expected = definition(network, images);
      const double largest = largest_of(expected);
      for (const Kernels* kernels : available_kernels(kernels_named)) {
        CAPTURE(std::string(kernels->name));
        const auto program = compiled(network, *kernels);
        const std::vector<float> found = outputs(*program, images);
        CHECK(largest_error(found, expected) <= 1e-5 * largest);
        CHECK(outputs(*program, images, 3) == found);
        if (!splits) CHECK(program->steps().size() == 5);  // no Converts
      }
    }
  }
}

TEST_CASE("a copy moves channels that begin and end inside of vectors without Converts") {
  Random random(46);
  constexpr std::int64_t kChannels = 24;
  constexpr std::int64_t kPhases = 4;
  const TensorShape phases = {kPhases * kChannels, 3, 5};
  const TensorShape image = {kChannels, 6, 10};
  Network network;
  network.tensors = {TensorShape{2, 3, 5}};
  const auto add_convolution = [&](std::int64_t inputs, const TensorShape& output) {
    Layer layer = convolution_of(3, 3);
    layer.convolution().window.padding.fill(1);
    layer.weights = random.values(output.channels() * inputs * 9);
    layer.bias = random.values(output.channels());
    add_layer(network, layer, output);
  };
  add_convolution(2, phases);
  // [2][2][channels][3][5] to [channels][3][2][5][2], as of a transposed convolution.
  Layer copy = layer_of(LayerKind::Copy);
  const std::int64_t phase = kChannels * phases.pixels();
  copy.get<CopyParams>().boxes = {
      {0, 0, 0, {{kChannels * 3, 5, 20}, {2, 2 * phase, 10}, {5, 1, 2}, {2, phase, 1}}}};
  add_layer(network, copy, image);
  add_convolution(kChannels, image);
  const std::vector<float> images = random.values(2 * network.tensors[0].shape.values());
  const std::vector<double> expected = definition(network, images);
  const double largest = largest_of(expected);
  for (const Kernels* kernels : available_kernels(kernels_named)) {
    CAPTURE(std::string(kernels->name));
    const auto program = compiled(network, *kernels);
    CHECK(largest_error(outputs(*program, images), expected) <= 1e-5 * largest);
    CHECK(program->steps().size() == 3);
  }
}

/// A 1x1 convolution, and zeros around the image that it gives.
/// \param zeros top, bottom, left, right
Network zeros_around(const TensorShape& image, const std::array<std::int64_t, 4>& zeros, bool relu,
                     Random& random) {
  const std::int64_t channels = image.channels();
  Network network;
  network.tensors = {TensorShape{2, image.height(), image.width()}};
  Layer first = convolution_of(1, 1);
  first.weights = random.values(channels * 2);
  first.bias = random.values(channels);
  if (relu) first.activation.kind = ActivationKind::Relu;
  add_layer(network, first, image);
  const TensorShape padded = {channels, image.height() + zeros[0] + zeros[1],
                              image.width() + zeros[2] + zeros[3]};
  Layer copy = layer_of(LayerKind::Copy);
  Box box = box_of({channels, image.height(), image.width()}, {image.pixels(), image.width(), 1},
                   {padded.pixels(), padded.width(), 1});
  box.to = zeros[0] * padded.width() + zeros[2];
  copy.params = CopyParams{{box}};
  add_layer(network, copy, padded);
  return network;
}

/// Zeros around an image of any size, and a layer of 3 x 3 windows that reads both.
/// \param most zeros at each side; a convolution has padding of its own where it is 1
Network padded_network(Layer reader, bool relu, std::int64_t most, Random& random) {
  const TensorShape image = {random.from(1, 40), random.from(4, 9), random.from(4, 9)};
  const std::int64_t channels = image.channels();
  std::array<std::int64_t, 4> zeros = {};
  for (std::int64_t& side : zeros) side = random.from(0, most);
  Network network = zeros_around(image, zeros, relu, random);
  const TensorShape padded = network.tensors.back().shape;
  const bool convolves = reader.kind == LayerKind::Convolution;
  Window& window = convolves ? reader.convolution().window : reader.get<PoolParams>().window;
  window.kernel = {3, 3};
  window.strides = {random.from(1, 2), random.from(1, 2)};
  if (most == 1 && convolves) window.padding = {random.from(0, 1), 0, 0, random.from(0, 1)};
  TensorShape given = {channels, count_windows(padded.height(), window, 0),
                       count_windows(padded.width(), window, 1)};
  if (convolves && random.coin()) {
    reader.convolution().groups = channels;
    reader.weights = random.values(channels * 9);
    reader.bias = random.values(channels);
  } else if (convolves) {
    given = {random.from(1, 20), given.height(), given.width()};
    reader.weights = random.values(given.channels() * channels * 9);
    reader.bias = random.values(given.channels());
  }
  add_layer(network, std::move(reader), given);
  return network;
}

/// Checks that the pass leaves the answers as they are defined, and so many copies.
void check_padding(const Network& network, std::int64_t copies, Random& random) {
  Network joined = network;
  join_padding(joined);
  CHECK(std::count_if(joined.layers.begin(), joined.layers.end(),
                      [](const Layer& layer) { return layer.kind == LayerKind::Copy; }) == copies);
  const std::vector<float> images = random.values(2 * network.tensors[0].shape.values());
  const std::vector<double> expected = definition(network, images);
  for (const Kernels* kernels : available_kernels(kernels_named)) {
    CAPTURE(std::string(kernels->name));
    const std::vector<float> found = outputs(*compiled(joined, *kernels), images);
    CHECK(largest_error(found, expected) <= 1e-5 * largest_of(expected));
  }
}

TEST_CASE("zeros around an image become the padding of convolutions and pools") {
  Random random(47);
  for (int i = 0; i < 20; ++i) {
    check_padding(padded_network(layer_of(LayerKind::Convolution), false, 1 + i % 2, random), 0,
                  random);
    check_padding(padded_network(layer_of(LayerKind::Pool), true, 2, random), 0, random);
  }
}

TEST_CASE("zeros around an image stay where they are no padding") {
  Random random(48);
  SUBCASE("a pool of values below 0") {
    for (int i = 0; i < 10; ++i) {
      check_padding(padded_network(layer_of(LayerKind::Pool), false, 2, random), 1, random);
    }
  }
  SUBCASE("a mean") {
    Layer mean = layer_of(LayerKind::Pool);
    mean.get<PoolParams>().kind = PoolKind::Average;
    check_padding(padded_network(mean, true, 2, random), 1, random);
  }
  SUBCASE("a pool whose last windows begin behind the image") {
    Network network = zeros_around({2, 3, 3}, {0, 2, 0, 2}, true, random);
    add_layer(network, pool_of(3, 3), {2, 2, 2});
    check_padding(network, 1, random);
  }
  SUBCASE("a pool whose window steps over the image") {
    Network network = zeros_around({2, 1, 1}, {1, 1, 1, 1}, true, random);
    Layer pool = pool_of(2, 2);
    pool.get<PoolParams>().window.dilations = {2, 2};
    add_layer(network, pool, {2, 1, 1});
    check_padding(network, 1, random);
  }
  Network network = padded_network(layer_of(LayerKind::Convolution), true, 2, random);
  SUBCASE("another value than 0") {
    network.layers[1].get<CopyParams>().fill = 1;
    join_padding(network);
    CHECK(network.layers.size() == 3);
  }
  SUBCASE("an output") {
    network.outputs.push_back(network.layers[1].output);
    join_padding(network);
    CHECK(network.layers.size() == 3);
  }
  SUBCASE("a mirrored image") {
    for (Box::Loop& loop : network.layers[1].get<CopyParams>().boxes[0].loops) {
      loop.from = -loop.from;
    }
    join_padding(network);
    CHECK(network.layers.size() == 3);
  }
  SUBCASE("a window that would lie in zeros alone") {
    network.layers[2].convolution().window.kernel = {1, 1};
    join_padding(network);
    CHECK(network.layers.size() == 3);
  }
}

}  // namespace
}  // namespace lenet::tests

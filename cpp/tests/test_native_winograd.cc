// The native engine's convolutions by Winograd's method, against the definition and beside the
// direct method.

#include "native_support.h"

namespace lenet::tests {
namespace {

using namespace native;

/// A convolution of 3 x 3 of an image that a layer before it copies, exactly, into blocks of
/// channels. \param adds whether a copy of the image is added to it
Network network_3x3(Random& random, const TensorShape& image, std::int64_t channels, bool adds) {
  Network network;
  network.tensors = {image};
  const auto copy = [&](std::int64_t copied) {
    Layer layer = convolution_of(1, 1);
    layer.inputs = {0};
    layer.bias.resize(static_cast<std::size_t>(copied));
    for (std::int64_t i = 0; i < copied * image.channels(); ++i) {
      layer.weights.push_back(i % image.channels() == i / image.channels() % image.channels() ? 1
                                                                                              : 0);
    }
    add_layer(network, layer, {copied, image.height(), image.width()});
  };
  copy(channels);
  copy(image.channels());
  Layer convolution = convolution_of(3, 3);
  std::array<std::int64_t, 2> sizes{};
  for (std::size_t i = 0; i < 2; ++i) {
    auto& padding = convolution.convolution().window.padding;
    padding[2 * i] = random.from(0, 2);
    padding[2 * i + 1] = adds ? 2 - padding[2 * i] : random.from(0, 2);
    sizes[i] =
        count_windows(i == 0 ? image.height() : image.width(), convolution.convolution().window, i);
  }
  const TensorShape out = {channels, sizes[0], sizes[1]};
  convolution.weights = random.values(channels * image.channels() * 9);
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

/// How far a method's results are from the definition, beside those of the direct method.
struct Accuracy {
  double squares = 0;  // of the errors, relative to the largest output
  double squares_of_direct = 0;

  /// \returns the largest error
  double add(const std::vector<float>& found, const std::vector<float>& direct,
             const std::vector<double>& expected) {
    double largest = 0;
    for (const double value : expected) largest = std::max(largest, std::abs(value));
    double worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double error = (found[i] - expected[i]) / largest;
      const double of_direct = (direct[i] - expected[i]) / largest;
      worst = std::max(worst, std::abs(error));
      squares += error * error;
      squares_of_direct += of_direct * of_direct;
    }
    return worst;
  }
};

TEST_CASE("Winograd's method of 3 x 3 is nearly as accurate as the definition in float32" *
          doctest::test_suite("arithmetic")) {
  struct Case {
    TensorShape image;
    std::int64_t channels;
  };
  constexpr int kCases = kUnderAsan ? 5 : 20;
  // More tiles than are computed at once, with the transformed weights kept and not.
  std::vector<Case> cases = {{{130, 36, 40}, 128}, {{40, 45, 61}, 20}, {{200, 7, 7}, 70}};
  Random random(13);
  for (int i = 0; i < kCases; ++i) {
    cases.push_back(
        {{random.from(8, 80), random.from(3, 20), random.from(3, 20)}, random.from(8, 80)});
  }
  Accuracy accuracy;
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
    for (const Kernels* kernels : available_kernels(native::kernels_named)) {
      CAPTURE(std::string(kernels->name));
      const auto program = compiled(network, *kernels);
      if (!has_kernel(*program, "winograd_3x3")) continue;
      ++computed;
      const std::vector<float> found = outputs(*program, images, 3);
      CHECK(outputs(*program, images, 1) == found);
      const std::vector<float> direct = outputs(*compiled(network, *kernels, true), images, 3);
      // 2.3e-6, or 2.7e-6 where fewer products are rounded with their sums
      CHECK(accuracy.add(found, direct, expected) <= 4e-6);
    }
  }
  CHECK(accuracy.squares <= 3 * 3 * accuracy.squares_of_direct);
  CHECK(computed >= sets * cases.size() * 2 / 3);
}

/// A convolution of 5 x 5 of an image with few channels, perhaps pooled, and a layer behind it that
/// copies its result exactly.
Network network_of_rows(Random& random, const TensorShape& out, std::int64_t inputs, bool pool) {
  Network network;
  Layer convolution = convolution_of(5, 5);
  auto& padding = convolution.convolution().window.padding;
  for (std::int64_t& side : padding) side = random.from(0, 2);
  network.tensors = {TensorShape{inputs, out.height() + 4 - padding[0] - padding[1],
                                 out.width() + 4 - padding[2] - padding[3]}};
  convolution.weights = random.values(out.channels() * inputs * 25);
  convolution.bias = random.values(out.channels());
  convolution.activation = relu_or_none(random);
  add_layer(network, convolution, out);
  TensorShape given = out;
  if (pool) {
    const Layer layer = pool_of(2, 2);
    given = {out.channels(), out.height() / 2, out.width() / 2};
    add_layer(network, layer, given);
  }
  Layer copy = convolution_of(1, 1);
  copy.weights.resize(static_cast<std::size_t>(out.channels() * out.channels()));
  for (std::int64_t o = 0; o < out.channels(); ++o) {
    copy.weights[static_cast<std::size_t>(o * (out.channels() + 1))] = 1;
  }
  copy.bias.resize(static_cast<std::size_t>(out.channels()));
  add_layer(network, copy, given);
  return network;
}

TEST_CASE("Winograd's method along rows is nearly as accurate as the definition, in both layouts" *
          doctest::test_suite("arithmetic")) {
  constexpr std::int64_t kMany = 40;
  constexpr std::int64_t kCases = kUnderAsan ? 8 : 40;
  Random random(17);
  Accuracy accuracy;
  for (std::int64_t i = 0; i < kCases; ++i) {
    CAPTURE(i);
    // More rows than are computed at once, and all widths.
    const std::int64_t height = i == 1 ? 130 : random.from(2, 40);
    const std::int64_t width = i % 3 == 0 ? random.from(4, 64) : 4 * random.from(4, 16);
    const TensorShape out = {random.from(1, 8), i == 0 ? 28 : height, i == 0 ? 28 : width};
    const std::int64_t inputs = i % 2 == 0 ? 1 : random.from(2, 9);
    const Network network = network_of_rows(random, out, inputs, random.coin());
    const std::int64_t values = network.tensors[0].shape.values();
    const std::vector<float> images = random.values(kMany * values);
    const auto first = [&](const std::vector<float>& of, std::int64_t count) {
      return std::vector<float>(of.begin(),
                                of.begin() + static_cast<std::int64_t>(of.size()) / kMany * count);
    };
    const std::vector<double> expected = definition(network, first(images, 2));
    const std::vector<float> direct =
        outputs(*compiled(network, native::kernels_named("scalar")), first(images, 2));
    for (const Kernels* kernels : available_kernels(native::kernels_named)) {
      CAPTURE(std::string(kernels->name));
      const auto program = compiled(network, *kernels);
      const auto many = compiled(network, *kernels, true);
      const std::vector<float> found = outputs(*program, images);
      CHECK(outputs(*program, images, 5) == found);
      for (const std::int64_t at_once : {1, 16, 17, 40}) {
        CHECK(outputs(*many, first(images, at_once), at_once) == first(found, at_once));
      }
      const bool by_rows = has_kernel(*program, "winograd_rows");
      CHECK(has_kernel(*many, "winograd_rows_interleaved") == by_rows);
      CHECK(by_rows ==
            (kernels->winograd_rows != nullptr && inputs <= 8 && out.channels() > 2 &&
             out.height() % 2 == 0 && out.width() % 4 == 0 && out.width() >= kernels->lanes));
      if (!by_rows) continue;
      CHECK(accuracy.add(found, direct, expected) <= 2e-6);  // 1.2e-6
    }
  }

  CHECK(accuracy.squares <= 3 * 3 * accuracy.squares_of_direct);
}

}  // namespace
}  // namespace lenet::tests

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

}  // namespace
}  // namespace lenet::tests

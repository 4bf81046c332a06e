// Which method computes which convolution (compile/methods.h). The expected names follow from
// docs/native-engine.md and the comments of kernels.h, also for kernels that this processor lacks.

#include "engines/native/compile/methods.h"
#include "native_support.h"

namespace lenet::tests {
namespace {

using native::Layer;
using native::TensorShape;

/// The kernels of a processor with vectors of 16, of which none is called.
native::Kernels kernels_of_16() {
  native::Kernels kernels{};
  kernels.lanes = 16;
  kernels.winograd_channels = [](const native::WinogradTask&) {};
  kernels.winograd_rows = [](const native::WinogradTask&) {};
  kernels.winograd3x3 = [](const native::Winograd3x3Task&) {};
  return kernels;
}

/// What a convolution is computed in.
struct Setting {
  const native::Bf16Kernels* bf16 = nullptr;
  bool interleaved = false;
  bool from_planes = false;
  bool to_planes = false;
  const native::int8::Kernels* integers = nullptr;  ///< the weights are integers
};

/// Returns the name of the method for a convolution of an image.
std::string method_of(const TensorShape& from, const TensorShape& to, Layer layer,
                      const Setting& setting = {}) {
  static const native::Kernels kernels = kernels_of_16();
  const std::int64_t taps = from.channels() / layer.convolution().groups *
                            layer.convolution().window.kernel[0] *
                            layer.convolution().window.kernel[1] * to.channels();
  if (setting.integers == nullptr) {
    layer.weights.resize(static_cast<std::size_t>(taps));
  } else {
    layer.integers.resize(static_cast<std::size_t>(taps));
  }
  layer.bias.resize(static_cast<std::size_t>(to.channels()));
  native::Network network;
  network.tensors.emplace_back(from);
  add_layer(network, std::move(layer), to);
  return native::find_method({network, network.layers.front(), kernels, setting.bf16,
                              setting.integers, setting.interleaved, setting.from_planes,
                              setting.to_planes})
      .name;
}

Layer same_size(std::int64_t kernel, std::int64_t groups = 1) {
  Layer layer = convolution_of(kernel, kernel);
  layer.convolution().window.padding.fill(kernel / 2);
  layer.convolution().groups = groups;
  return layer;
}

TEST_CASE("the convolutions of LeNet are computed by Winograd's method of 5 x 5") {
  const TensorShape image{1, 28, 28};
  const TensorShape first{6, 28, 28};
  const Setting rows{nullptr, false, true, true};
  CHECK(method_of(image, first, same_size(5), rows) == "winograd_rows");
  CHECK(method_of(image, first, same_size(5), {nullptr, true, true, true}) ==
        "winograd_rows_interleaved");
  CHECK(method_of({1, 27, 27}, {6, 27, 27}, same_size(5), rows) == "conv_columns");
  const TensorShape pooled{6, 14, 14};
  const TensorShape second{16, 10, 10};
  CHECK(method_of(pooled, second, convolution_of(5, 5), {nullptr, false, true, false}) ==
        "winograd_channels");
  CHECK(method_of(pooled, second, convolution_of(5, 5), {nullptr, true, true, false}) ==
        "winograd_interleaved");
  CHECK(method_of(pooled, second, convolution_of(5, 5)) == "conv_channels");
  CHECK(method_of({400, 1, 1}, {120, 1, 1}, convolution_of(1, 1)) == "fully_connected");
  CHECK(method_of({400, 1, 1}, {120, 1, 1}, convolution_of(1, 1), {nullptr, true}) ==
        "conv_interleaved");
}

TEST_CASE("3 x 3 is computed by Winograd's method where that takes less time") {
  const TensorShape image{64, 56, 56};
  CHECK(method_of(image, image, same_size(3)) == "winograd_3x3");
  Layer strided = same_size(3);
  strided.convolution().window.strides = {2, 2};
  CHECK(method_of(image, {64, 28, 28}, strided) == "conv_channels");
  CHECK(method_of({8, 56, 56}, image, same_size(3)) == "conv_channels");  // errors are larger
  CHECK(method_of({64, 2, 2}, {64, 2, 2}, same_size(3)) == "conv_channels");
}

TEST_CASE("groups that are not whole vectors have kernels of their own") {
  const TensorShape image{64, 14, 14};
  CHECK(method_of(image, image, same_size(3, 64)) == "conv_depthwise");
  CHECK(method_of(image, image, same_size(3, 8)) == "conv_grouped");
  CHECK(method_of(image, image, same_size(3, 4)) == "conv_grouped");
  CHECK(method_of(image, image, same_size(3, 2)) == "conv_channels");
  CHECK(method_of(image, {128, 14, 14}, same_size(3, 64)) == "conv_grouped");
}

TEST_CASE("in bf16, tiles go before Winograd's method, and pairs before float32") {
  native::Bf16Kernels pairs{};
  native::Bf16Kernels tiles{};
  tiles.conv_tiles = [](const native::ConvTask&) {};
  const TensorShape image{64, 56, 56};
  CHECK(method_of(image, image, same_size(3), {&pairs}) == "winograd_3x3_bf16");
  CHECK(method_of(image, image, same_size(3), {&tiles}) == "conv_tiles_bf16");
  CHECK(method_of(image, image, same_size(1), {&pairs}) == "conv_channels_bf16");
  CHECK(method_of(image, image, same_size(3, 64), {&tiles}) == "conv_depthwise");
  // A row of 7 taps of 3 channels and one that fills a pair are 28 numbers of a chunk of 32.
  Layer stem = same_size(7);
  stem.convolution().window.strides = {2, 2};
  CHECK(method_of({3, 224, 224}, {64, 112, 112}, stem, {&tiles, false, true}) == "conv_tiles_bf16");
  // One tap of one channel fills less than a quarter of a chunk of 32 numbers.
  CHECK(method_of({1, 28, 28}, {64, 28, 28}, same_size(1), {&tiles, false, true}) ==
        "conv_channels_bf16");
  CHECK(method_of({400, 1, 1}, {120, 1, 1}, convolution_of(1, 1), {&tiles}) ==
        "fully_connected_bf16");
  // Pairs begin with a whole vector of the input.
  Layer part = same_size(1);
  part.convolution().first_channel = 8;
  CHECK(method_of(image, image, part, {&tiles}) == "conv_channels");
}

TEST_CASE("convolutions of integers have kernels for few channels, each channel and tiles") {
  native::int8::Kernels integers{};
  integers.lanes = 16;
  const Setting plain{nullptr, false, false, false, &integers};
  native::int8::Kernels more = integers;
  more.depthwise3x3 = [](const native::int8::ConvTask&) {};
  more.conv_tiles = more.depthwise3x3;
  const Setting all{nullptr, false, false, false, &more};
  const TensorShape image{64, 56, 56};
  CHECK(method_of(image, image, same_size(3), plain) == "conv_channels_int8");
  CHECK(method_of(image, image, same_size(3), all) == "conv_tiles_int8");
  CHECK(method_of(image, {12, 56, 56}, same_size(3), all) == "conv_channels_int8");  // no vector
  CHECK(method_of(image, image, same_size(3, 64), plain) == "depthwise_int8");
  Layer rounded = same_size(3, 64);
  rounded.convolution().roundings.resize(1);
  CHECK(method_of(image, image, rounded, all) == "depthwise3x3_int8");
  CHECK(method_of({400, 1, 1}, {120, 1, 1}, convolution_of(1, 1), all) == "fully_connected_int8");
  Layer first = same_size(5);  // as of LeNet, which is rounded and then pooled
  first.convolution().roundings.resize(1);
  first.convolution().pool = true;
  CHECK(method_of({1, 28, 28}, {6, 14, 14}, first, all) == "conv_columns_int8");
  first.convolution().roundings.clear();
  CHECK(method_of({1, 28, 28}, {6, 14, 14}, first, all) == "conv_channels_int8");
}

}  // namespace
}  // namespace lenet::tests

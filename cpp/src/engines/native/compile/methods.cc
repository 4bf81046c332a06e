#include "engines/native/compile/methods.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "engines/native/ops/tile_taps.h"
#include "engines/native/ops/winograd3x3_work.h"
#include "engines/native/runtime/aligned.h"

namespace lenet::native {
namespace {

using Pair = std::array<std::int64_t, 2>;
constexpr Pair kOne = {1, 1};

// ---- Winograd's method of 5 x 5, as in LeNet

/// Whether a layer is a convolution of 5 x 5 whose outputs are whole tiles of 2 x 2.
bool is_even_5x5(const MethodCase& of) {
  const Window& window = of.layer.convolution().window;
  return is_none_or_relu(of.layer.activation) && window.kernel == Pair{5, 5} &&
         window.strides == kOne && window.dilations == kOne && of.layer.convolution().groups == 1 &&
         of.output().height() % 2 == 0 && of.output().width() % 2 == 0;
}

/// Whether F(2 x 2, 5 x 5) takes fewer operations than the definition.
bool suits_winograd(const MethodCase& of) {
  // With fewer channels the transforms cost more than the multiplications they save.
  constexpr std::int64_t kFewest = 4;
  return of.kernels.winograd_channels != nullptr && of.from_planes && !of.to_planes &&
         is_even_5x5(of) && of.input().channels() >= kFewest && of.output().channels() >= kFewest;
}

/// Whether F(4, 5) along the rows does.
bool suits_winograd_rows(const MethodCase& of) {
  constexpr std::int64_t kFewest = 3;     // with fewer outputs, the transforms cost too much
  constexpr std::int64_t kMaxInputs = 8;  // whose transformed rows the cache holds
  return of.kernels.winograd_rows != nullptr && of.to_planes && is_even_5x5(of) &&
         of.input().channels() <= kMaxInputs && of.output().channels() >= kFewest &&
         of.output().width() % 4 == 0;
}

// ---- Winograd's method of 3 x 3

/// Whether F(4 x 4, 3 x 3), or F(2 x 4, 3 x 3) in bf16, takes less time than the definition.
bool suits_winograd3x3(const MethodCase& of) {
  constexpr std::int64_t kTaps = 9;
  constexpr std::int64_t kFewestChannels = 16;  // whose errors are below three times direct ones
  const Window& window = of.layer.convolution().window;
  const std::int64_t lanes = of.kernels.lanes;
  const bool bf16 = of.bf16 != nullptr;
  // Tiles are faster than what Winograd's method saves.
  const bool has_tiles = bf16 && of.bf16->conv_tiles != nullptr;
  if (of.kernels.winograd3x3 == nullptr || has_tiles || of.from_planes ||
      window.kernel != Pair{3, 3} || window.strides != kOne || window.dilations != kOne ||
      of.layer.convolution().groups != 1 || of.layer.convolution().first_channel % lanes != 0 ||
      of.channels() < kFewestChannels) {
    return false;
  }
  const TensorShape& output = of.output();
  const std::int64_t out_blocks = round_up(output.channels(), lanes) / lanes;
  const auto products = static_cast<double>(output.height()) * static_cast<double>(output.width()) *
                        static_cast<double>(of.channels() * kTaps);
  return winograd3x3_work(winograd3x3_tiles(output, bf16), of.channels(), lanes, out_blocks, bf16) <
         products * static_cast<double>(out_blocks) / (bf16 ? 2 : 1);
}

// ---- Groups

bool suits_grouped(const MethodCase& of) {
  return splits_vectors(of.network, of.layer, of.kernels.lanes);
}

bool is_depthwise(const MethodCase& of) {
  const std::int64_t groups = of.layer.convolution().groups;
  return suits_grouped(of) && groups == of.input().channels() && groups == of.output().channels();
}

// ---- The definition

bool is_dense(const MethodCase& of) { return is_whole_image(of.input(), of.layer, of.output()); }

/// Whether the input may be taken as pairs of bf16 (ops/bf16.h).
bool suits_bf16(const MethodCase& of) {
  return of.bf16 != nullptr &&
         (of.from_planes ? of.layer.convolution().groups == 1
                         : of.layer.convolution().first_channel % of.kernels.lanes == 0);
}

bool suits_tiles(const MethodCase& of) {
  const std::int64_t lanes = of.kernels.lanes;
  if (!suits_bf16(of) || of.bf16->conv_tiles == nullptr || of.layer.convolution().groups != 1 ||
      of.output().channels() < lanes || is_dense(of)) {
    return false;
  }
  // Numbers of bf16 that a pixel has in Bf16Input: pairs of planes, or whole vectors of channels.
  const std::int64_t pixel = round_up(of.channels(), of.from_planes ? 2 : lanes);
  constexpr std::int64_t kBytes = 2;
  return TileTaps(of.layer, of.layer.convolution().window, of.channels(), pixel, kBytes).pays();
}

// ---- Integers

bool sums_image(const MethodCase& of) {
  return of.layer.kind == LayerKind::Convolution && is_dense(of);
}

bool is_integer_depthwise(const MethodCase& of) {
  if (!is_integer_convolution(of.layer)) return false;
  const std::int64_t channels = of.layer.convolution().groups;
  return channels > 1 && channels == of.input().channels() && channels == of.output().channels() &&
         !of.layer.convolution().pool;
}

/// Whether the kernel of 3 x 3 taps of each channel computes it.
bool suits_depthwise3x3(const MethodCase& of) {
  if (!is_integer_depthwise(of)) return false;
  const Window& window = of.layer.convolution().window;
  const ConvolutionParams& params = of.layer.convolution();
  return of.integers->depthwise3x3 != nullptr && of.output().channels() >= int8::kDepthwiseBlock &&
         window.kernel == Pair{3, 3} && window.dilations[1] == 1 && window.strides[1] <= 2 &&
         params.sum == kNone && !params.roundings.empty();
}

/// Whether vectors of columns are faster than those of channels: few channels of an image of one.
bool suits_integer_columns(const MethodCase& of) {
  constexpr std::int64_t kFewChannels = 8;
  if (!is_integer_convolution(of.layer)) return false;
  const Window& window = of.layer.convolution().window;
  const ConvolutionParams& params = of.layer.convolution();
  const std::int64_t lanes = of.integers->lanes;
  const std::int64_t width = of.output().width() * (params.pool ? 2 : 1);
  return lanes > 1 && of.input().channels() == 1 && of.output().channels() <= kFewChannels &&
         of.output().channels() < lanes && !params.roundings.empty() && params.sum == kNone &&
         window.strides == kOne && window.dilations == kOne && width >= lanes;
}

bool suits_integer_tiles(const MethodCase& of) {
  if (of.layer.integers.empty() || of.integers->conv_tiles == nullptr) return false;
  const bool rows = of.layer.kind == LayerKind::MatMul;
  const std::int64_t inputs = rows ? of.layer.product().sums : of.input().channels();
  const std::int64_t outputs = rows ? of.layer.product().columns : of.output().channels();
  const Window window = rows ? Window() : of.layer.convolution().window;
  const bool alone = rows || (of.layer.convolution().groups == 1 && !of.layer.convolution().pool);
  return alone && outputs >= of.integers->lanes && !sums_image(of) &&
         TileTaps(of.layer, window, inputs, inputs, 1).pays();
}

// ---- Products of matrices

/// Whether a product is computed in bf16. Without tiles a processor may multiply pairs more slowly
/// than float32; that its kernels are given says that it does not.
bool suits_bf16_product(const MethodCase& of) {
  return of.bf16 != nullptr && of.layer.kind == LayerKind::MatMul && has_weights(of.layer);
}

/// Whether tiles of pairs are full enough.
bool suits_bf16_product_tiles(const MethodCase& of) {
  if (!suits_bf16_product(of) || of.bf16->conv_tiles == nullptr) return false;
  constexpr std::int64_t kSumsOfChunk = TileTaps::kChunkBytes / 2;
  const Product& product = of.layer.product();
  return product.columns >= of.kernels.lanes &&
         4 * product.sums >= round_up(product.sums, kSumsOfChunk);
}

/// Whether it multiplies one row of an image by weights: a fully connected layer.
bool is_one_row(const MethodCase& of) {
  if (of.layer.kind != LayerKind::MatMul || !has_weights(of.layer)) return false;
  const Product product = of.layer.product().joined(true);
  return product.rows == 1 && product.matrices.empty() && !product.is_turned();
}

// ---- All of them

/// The first that suits is taken; those of integers suit no other layer. Images side by side add up
/// in the order of one image, so that both have the same bits.
const MethodRow kMethods[] = {
    {Method::IntegerDepthwise3x3, "depthwise3x3_int8", suits_depthwise3x3, AlsoComputes::Nothing,
     true, nullptr},
    {Method::IntegerDepthwise, "depthwise_int8", is_integer_depthwise, AlsoComputes::Nothing, true,
     nullptr},
    {Method::IntegerColumns, "conv_columns_int8", suits_integer_columns, AlsoComputes::Nothing,
     true, nullptr},
    {Method::IntegerDense, "fully_connected_int8",
     [](const MethodCase& of) { return !of.layer.integers.empty() && sums_image(of); },
     AlsoComputes::Nothing, true, nullptr},
    {Method::IntegerTiles, "conv_tiles_int8", suits_integer_tiles, AlsoComputes::Nothing, true,
     nullptr},
    {Method::IntegerChannels, "conv_channels_int8",
     [](const MethodCase& of) { return !of.layer.integers.empty(); }, AlsoComputes::Nothing, true,
     nullptr},
    {Method::ProductTilesBf16, "matmul_tiles_bf16", suits_bf16_product_tiles, AlsoComputes::Sum,
     false, make_matmul},
    {Method::ProductBf16, "matmul_bf16",
     [](const MethodCase& of) { return suits_bf16_product(of) && of.bf16->conv_tiles == nullptr; },
     AlsoComputes::Sum, false, make_matmul},
    {Method::ProductRow, "matmul_row", is_one_row, AlsoComputes::Nothing, false, make_matmul},
    {Method::Product, "matmul",
     [](const MethodCase& of) { return of.layer.kind == LayerKind::MatMul; }, AlsoComputes::Sum,
     false, make_matmul},
    {Method::WinogradInterleaved, "winograd_interleaved",
     [](const MethodCase& of) { return of.interleaved && suits_winograd(of); },
     AlsoComputes::MaxPool2x2, true, make_winograd},
    {Method::Winograd, "winograd_channels", suits_winograd, AlsoComputes::MaxPool2x2, true,
     make_winograd},
    {Method::WinogradRowsInterleaved, "winograd_rows_interleaved",
     [](const MethodCase& of) { return of.interleaved && suits_winograd_rows(of); },
     AlsoComputes::MaxPool2x2, true, make_winograd},
    {Method::WinogradRows, "winograd_rows", suits_winograd_rows, AlsoComputes::MaxPool2x2, true,
     make_winograd},
    {Method::Interleaved, "conv_interleaved", [](const MethodCase& of) { return of.interleaved; },
     AlsoComputes::MaxPool2x2, true, make_convolution},
    {Method::Columns, "conv_columns", [](const MethodCase& of) { return of.to_planes; },
     AlsoComputes::MaxPool2x2, true, make_convolution},
    {Method::Winograd3x3Bf16, "winograd_3x3_bf16",
     [](const MethodCase& of) { return of.bf16 != nullptr && suits_winograd3x3(of); },
     AlsoComputes::Sum, false, make_winograd3x3},
    {Method::Winograd3x3, "winograd_3x3", suits_winograd3x3, AlsoComputes::Sum, false,
     make_winograd3x3},
    {Method::Depthwise, "conv_depthwise", is_depthwise, AlsoComputes::Nothing, true, make_grouped},
    {Method::Grouped, "conv_grouped", suits_grouped, AlsoComputes::Nothing, true, make_grouped},
    {Method::DenseBf16, "fully_connected_bf16",
     [](const MethodCase& of) { return suits_bf16(of) && is_dense(of); }, AlsoComputes::Sum, true,
     make_convolution},
    {Method::TilesBf16, "conv_tiles_bf16", suits_tiles, AlsoComputes::Sum, true, make_convolution},
    {Method::ChannelsBf16, "conv_channels_bf16", suits_bf16, AlsoComputes::Sum, true,
     make_convolution},
    {Method::Dense, "fully_connected", is_dense, AlsoComputes::Sum, true, make_convolution},
    {Method::Channels, "conv_channels", [](const MethodCase&) { return true; }, AlsoComputes::Sum,
     true, make_convolution},
};

}  // namespace

std::int64_t MethodCase::channels() const {
  const auto [height, width] = layer.convolution().window.kernel;
  const auto weights = static_cast<std::int64_t>(layer.view_weights().count);
  return weights / (output().channels() * height * width);
}

const MethodRow& find_method(const MethodCase& of) {
  return *std::find_if(std::begin(kMethods), std::end(kMethods) - 1,
                       [&](const MethodRow& row) { return row.suits(of); });
}

bool suits_planes(const Network& network, const Layer& layer, const Kernels& kernels) {
  constexpr std::int64_t kFewChannels = 8;
  const TensorShape& output = network.tensors[layer.output].shape;
  return kernels.lanes > 1 && layer.inputs[0] == network.input && layer.convolution().groups == 1 &&
         layer.convolution().window.strides == kOne && output.channels() <= kFewChannels &&
         output.width() >= kernels.lanes;
}

bool splits_vectors(const Network& network, const Layer& layer, std::int64_t lanes) {
  const std::int64_t inputs =
      network.tensors[layer.inputs[0]].shape.channels() / layer.convolution().groups;
  const std::int64_t outputs =
      network.tensors[layer.output].shape.channels() / layer.convolution().groups;
  const bool several = outputs > lanes && outputs % lanes == 0 && inputs % lanes == 0;
  return layer.convolution().groups > 1 && !several;
}

}  // namespace lenet::native

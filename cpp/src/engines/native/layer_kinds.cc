#include "engines/native/layer_kinds.h"

#include <cstddef>
#include <iterator>

namespace lenet::native {
namespace {

template <class Params>
LayerParams params_of() {
  return Params();
}

/// A row for each LayerKind, in their order.
constexpr LayerFacts kLayers[] = {
    {LayerKind::Convolution, "convolution", params_of<ConvolutionParams>, Applies::SmallOfZero,
     kOwnShape},
    {LayerKind::Pool, "pool", params_of<PoolParams>, Applies::Relu, kOwnShape},
    {LayerKind::Resize, "resize", params_of<ResizeParams>, Applies::Nothing, kOwnShape},
    {LayerKind::ChannelScale, "scale", params_of<ScaleParams>, Applies::Any, kInPlace},
    {LayerKind::Activate, "activation", params_of<NoParams>, Applies::Nothing, kInPlace},
    {LayerKind::Add, "add", params_of<NoParams>, Applies::Any, kInPlace, Combination::Add},
    {LayerKind::Subtract, "subtract", params_of<NoParams>, Applies::Any, kInPlace,
     Combination::Subtract},
    {LayerKind::Multiply, "multiply", params_of<NoParams>, Applies::Any, kInPlace,
     Combination::Multiply},
    {LayerKind::Divide, "divide", params_of<NoParams>, Applies::Any, kInPlace, Combination::Divide},
    {LayerKind::Maximum, "maximum", params_of<NoParams>, Applies::Any, kInPlace,
     Combination::Maximum},
    {LayerKind::Minimum, "minimum", params_of<NoParams>, Applies::Any, kInPlace,
     Combination::Minimum},
    {LayerKind::PRelu, "prelu", params_of<ScaleParams>, Applies::Any, kInPlace, Combination::PRelu},
    {LayerKind::Concat, "concat", params_of<NoParams>},
    {LayerKind::Channels, "channels", params_of<ChannelsParams>},
    {LayerKind::Copy, "copy", params_of<CopyParams>, Applies::Nothing, kInOrder | kOwnShape},
    {LayerKind::View, "view", params_of<NoParams>, Applies::Nothing, kInOrder},
    {LayerKind::Convert, "convert", params_of<NoParams>},
    // It has taken what it needs of a value when it writes in its place.
    {LayerKind::Softmax, "softmax", params_of<SoftmaxParams>, Applies::Nothing,
     kInOrder | kInPlace},
    {LayerKind::Reduce, "reduce", params_of<ReduceParams>, Applies::Nothing, kInOrder | kOwnShape},
    {LayerKind::Along, "along", params_of<AlongParams>, Applies::Nothing, kInOrder},
    {LayerKind::MatMul, "matmul", params_of<Product>, Applies::Any, kInOrder | kOwnShape},
    {LayerKind::Broadcast, "broadcast", params_of<BroadcastParams>, Applies::Any,
     kInOrder | kOwnShape},
    {LayerKind::Normalize, "normalize", params_of<NormalizeParams>, Applies::Any,
     kInOrder | kOwnShape},
    {LayerKind::Constant, "constant", params_of<ConstantParams>, Applies::Nothing, kInOrder},
    {LayerKind::Quantize, "quantize", params_of<QuantizeParams>, Applies::Relu},
    {LayerKind::Identity, "identity", params_of<NoParams>},
};

static_assert(std::size(kLayers) == static_cast<std::size_t>(LayerKind::Identity) + 1,
              "each LayerKind has a row of kLayers");

static_assert(rows_are_in_order(kLayers), "kLayers has the order of LayerKind");

}  // namespace

const LayerFacts& facts_of(LayerKind kind) noexcept {
  return kLayers[static_cast<std::size_t>(kind)];
}

}  // namespace lenet::native

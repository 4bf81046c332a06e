/// \file
/// The operators, each family in a file of its own. Those of integers are in int8/.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "engines/native/kernels/int8/kernels.h"
#include "engines/native/kernels/kernels.h"
#include "engines/native/network.h"
#include "engines/native/runtime/program.h"

namespace lenet::native {

/// The methods that compute a convolution or a product. compile/methods.cc says what each is
/// called, which layers it suits, and what it may compute too.
enum class Method : std::uint8_t {
  Winograd,                 ///< F(2 x 2, 5 x 5), vectors of channels
  WinogradInterleaved,      ///< the same, vectors of images
  WinogradRows,             ///< F(4, 5) along the rows, vectors of columns
  WinogradRowsInterleaved,  ///< the same, vectors of images
  Interleaved,              ///< by the definition, vectors of images
  Columns,                  ///< by the definition, vectors of columns
  Winograd3x3,              ///< F(4 x 4, 3 x 3), vectors of channels
  Winograd3x3Bf16,          ///< F(2 x 4, 3 x 3) of pairs in bf16
  Depthwise,                ///< groups of one channel each
  Grouped,                  ///< groups that are not whole vectors of channels
  DenseBf16,                ///< a fully connected layer of pairs in bf16
  TilesBf16,                ///< by the definition, of pairs in bf16, in tiles
  ChannelsBf16,             ///< by the definition, of pairs in bf16, vectors of channels
  Dense,                    ///< a fully connected layer, vectors of channels
  Channels,                 ///< by the definition, vectors of channels
  // The next methods compute products of matrices.
  ProductTilesBf16,  ///< of pairs in bf16, in tiles
  ProductBf16,       ///< of pairs in bf16
  ProductRow,        ///< of one row of an image and weights: a fully connected layer
  Product,
  // The last methods multiply integers. kernels/int8/kernels.h describes the kernels of these
  // names.
  IntegerDepthwise3x3,
  IntegerDepthwise,
  IntegerColumns,
  IntegerDense,
  IntegerTiles,     ///< of products too
  IntegerChannels,  ///< of products too
};

/// A layer with the places of its tensors, to make an operator of.
struct PlacedLayer {
  const Kernels& kernels;
  const int8::Kernels* integers;  ///< of a network that has integers; or null
  const Bf16Kernels* bf16;        ///< to multiply in bf16 where there is a kernel for it; or null
  const Layer& layer;
  const Layer* pool;       ///< 2 x 2, fused into a convolution; or null
  const Layer* sum;        ///< fused into a layer with a method, which adds its last input; or null
  Method method;           ///< of a convolution or a product
  const char* kernel;      ///< its name, as profiles print it
  std::int64_t tap_lanes;  ///< of a convolution: channels of one image's taps that lie side by side
  TensorShape shape;       ///< of the layer's result, before the pool
  std::vector<Placement> inputs;
  std::vector<bool> there;  ///< see StepIo
  Placement output;         ///< after the pool
  LayerMemory& memory;
  WeightArena& arena;  ///< for what is packed; lives as long as the operator

  /// Where each channel that a Channels or Concat layer gives is from.
  std::vector<ChannelSource> sources() const {
    if (layer.kind == LayerKind::Channels) return layer.get<ChannelsParams>().sources;
    std::vector<std::int64_t> channels;
    for (const Placement& input : inputs) channels.push_back(input.shape.channels());
    return all_channels(channels);
  }

  /// The function that comes last: behind the sums, a pool or the addition of another tensor.
  Activation activation() const {
    const Activation& last = sum != nullptr ? sum->activation : layer.activation;
    const bool relu = last.kind == ActivationKind::Relu || (pool != nullptr && pool->relu());
    return relu ? Activation{ActivationKind::Relu, 0, std::numeric_limits<float>::infinity()}
                : last;
  }
};

/// What computes tensors of integers. There is none in builds without int8.
struct IntegerOps {
  const int8::Kernels* kernels;
  /// Makes the operator of a layer that takes or gives integers, or a tensor in
  /// Layout::ChannelsLast.
  /// \throws Error Unsupported: it has no kernel, or takes too much memory.
  std::unique_ptr<Op> (*make)(const PlacedLayer& source);
};

// The operators that compile/methods.cc chooses. families.h has the others.
// \throws Error Unsupported: the layer has no kernel, or takes too much memory.
std::unique_ptr<Op> make_convolution(const PlacedLayer& source);
std::unique_ptr<Op> make_grouped(const PlacedLayer& source);
std::unique_ptr<Op> make_winograd(const PlacedLayer& source);
std::unique_ptr<Op> make_winograd3x3(const PlacedLayer& source);
std::unique_ptr<Op> make_matmul(const PlacedLayer& source);

/// Makes an operator by the constructor of its class.
template <class OpOfLayer>
std::unique_ptr<Op> make_op(const PlacedLayer& source) {
  return std::make_unique<OpOfLayer>(source);
}

/// Makes the operator of a Pool.
/// \param pool the kernel
/// \throws Error Unsupported: a window lies outside the image
std::unique_ptr<Op> make_pool(void (*pool)(const PoolTask&), const Layer& layer,
                              const Placement& from, const Placement& to, bool relu,
                              const IntMean& mean = {});

/// Applies a function to values that lie side by side, of which nothing behind is touched: there
/// another thread may write.
void activate_run(const Kernels& kernels, const Activation& activation, float* values,
                  std::int64_t count);

}  // namespace lenet::native

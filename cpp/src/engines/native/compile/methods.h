/// \file
/// The methods that compute convolutions and products, and the choice of one for a layer. No other
/// file chooses.
#pragma once

#include <cstdint>
#include <memory>

#include "engines/native/kernels/kernels.h"
#include "engines/native/network.h"
#include "engines/native/ops/ops.h"

namespace lenet::native {

/// What decides how a layer is computed. Valid as long as the network.
struct MethodCase {
  const Network& network;
  const Layer& layer;  ///< a Convolution or a MatMul
  const Kernels& kernels;
  const Bf16Kernels* bf16;        ///< to multiply in bf16 where there is a kernel for it; or null
  const int8::Kernels* integers;  ///< of a network that has integers; or null
  bool interleaved;               ///< whether the lanes of vectors are images
  bool from_planes;               ///< whether one image's input lies as Layout::Planes
  bool to_planes;                 ///< whether one image's output does

  const TensorShape& input() const { return network.tensors[layer.inputs[0]].shape; }
  const TensorShape& output() const { return network.tensors[layer.output].shape; }
  /// Input channels of a group, which may be some of those that the input has.
  std::int64_t channels() const;
};

/// A layer that the step of a convolution or product may compute too.
enum class AlsoComputes : std::uint8_t {
  Nothing,
  MaxPool2x2,  ///< the largest of each 2 x 2 of its results
  Sum,         ///< the addition of another tensor
};

/// A method to compute convolutions or products.
struct MethodRow {
  Method method;
  const char* name;  ///< as profiles print it
  /// Whether there is a kernel that computes the layer, and no method below is faster.
  bool (*suits)(const MethodCase& of);
  AlsoComputes also;
  bool reads_border;  ///< whether the input needs a border of zeros as large as the padding
  /// Null for integers, of which IntegerOps makes the operator.
  std::unique_ptr<Op> (*make)(const PlacedLayer& source);
};

/// Returns the first method that suits.
const MethodRow& find_method(const MethodCase& of);

/// Whether a convolution of the network's image may give few channels in vectors of columns: as
/// Layout::Planes, which nothing else than convolutions without padding reads.
bool suits_planes(const Network& network, const Layer& layer, const Kernels& kernels);

/// Whether a convolution has groups that are not some whole vectors of channels.
bool splits_vectors(const Network& network, const Layer& layer, std::int64_t lanes);

}  // namespace lenet::native

/// \file
/// What each family of layers has in its file: the check that a layer fits its tensors, and its
/// operator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "engines/native/network.h"
#include "engines/native/ops/ops.h"

namespace lenet::native {

/// A layer with the shapes of its tensors, for the check of its family. Refers to both, which must
/// outlive it.
class LayerCheck {
 public:
  LayerCheck(const Network& in, const Layer& of) : network(in), layer(of) {}

  const TensorShape& input(std::size_t index = 0) const {
    return network.tensors[layer.inputs.at(index)].shape;
  }
  const TensorShape& output() const { return network.tensors[layer.output].shape; }

  /// \param what what the layer does wrong, behind its name
  /// \throws Error BackendFailure: the condition does not hold
  void require(bool condition, const char* what) const;
  /// Requires that the output has as many values as the first input.
  void require_same_values() const;
  /// Requires that the first input consists of whole axes.
  void require_axis(const Axis& axis) const;

  /// Requires that the matrices of an operand or of the output, of which kernels read or write rows
  /// or columns, lie in a tensor of so many values.
  void require_matrices(const Product& product, const ProductSide& side, std::int64_t values) const;

  const Network& network;
  const Layer& layer;
};

/// What the file of a family has for the layers of its kinds, which layer_kinds.h names it for.
struct LayerFamily {
  /// Requires that a layer reads only values that its inputs have, and writes each value of its
  /// output. \throws Error BackendFailure: it does not, which is a fault of the engine
  void (*check)(const LayerCheck& of);
  /// Makes the operator of a layer in float32 or bf16; null where compile/methods.cc chooses it, or
  /// where there is none. \throws Error Unsupported: it has no kernel, or takes too much memory
  std::unique_ptr<Op> (*make)(const PlacedLayer& source);
};

}  // namespace lenet::native

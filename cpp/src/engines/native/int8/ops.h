/// \file
/// The operators of a quantized network, each family in a file of its own.
#pragma once

#include <memory>
#include <vector>

#include "engines/native/int8/kernels.h"
#include "engines/native/int8/plan.h"
#include "engines/native/runtime/program.h"

namespace lenet::native::int8 {

/// A layer with the places of its tensors, to make an operator of.
struct IntLayer {
  const Kernels& kernels;
  PlannedLayer planned;
  std::vector<Placement> inputs;
  Placement output;
  LayerMemory& memory;
};

// \throws Error Unsupported: the layer has no kernel, or takes too much memory.
/// Of integers.
std::unique_ptr<Op> make_convolution(const IntLayer& source);
/// Every other layer, in float32, between tensors of either kind.
std::unique_ptr<Op> make_float_layer(IntLayer source);

/// Rounds numbers to the elements of a tensor with that `quant`.
void quantize(const Kernels& kernels, const float* from, std::int64_t count,
              const QuantParams& quant, bool relu, char* to);

/// Floats of a tensor without a border, as float_values() may need them.
std::int64_t float_bytes(const TensorShape& shape);
/// A tensor as float32 without a border: [height][width][channels].
/// \param scratch of float_bytes(), for tensors of integers
/// \param quant what its integers stand for
const float* float_values(const Kernels& kernels, const Placement& tensor, const QuantParams& quant,
                          const char* first, char* scratch);

}  // namespace lenet::native::int8

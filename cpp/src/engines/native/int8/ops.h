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
std::unique_ptr<Op> make_float_layer(const IntLayer& source);

/// Rounds numbers to the elements of a tensor with that `quant`.
void quantize(const Kernels& kernels, const float* from, std::int64_t count,
              const QuantParams& quant, bool relu, char* to);

/// A row of a tensor as float32: [width][channels].
/// \param quant what its integers stand for
/// \param scratch where they become float32
const float* float_row(const Kernels& kernels, const Placement& tensor, const QuantParams& quant,
                       const char* first, std::int64_t row, float* scratch);

}  // namespace lenet::native::int8

/// \file
/// The operators that take or give integers, each family in a file of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "engines/native/kernels/int8/kernels.h"
#include "engines/native/network.h"
#include "engines/native/ops/ops.h"

namespace lenet::native::int8 {

/// \param kernels must outlive what is made
IntegerOps integer_ops(const Kernels& kernels);

// \throws Error Unsupported: the layer has no kernel, or takes too much memory.
std::unique_ptr<Op> make_integer_convolution(const PlacedLayer& source);
/// Rows of float32 that are rounded, times a matrix of integers: float32.
std::unique_ptr<Op> make_integer_product(const PlacedLayer& source);
std::unique_ptr<Op> make_integer_pool(const PlacedLayer& source);
/// Whole channels of tensors that are rounded alike.
std::unique_ptr<Op> make_integer_channels(const PlacedLayer& source);
/// A rounding, or the same values in another layout: one side at least has its channels last.
std::unique_ptr<Op> make_convert(const PlacedLayer& source);

/// Rows of integers, such as tokens, times a matrix of integers: a convolution of 1 x 1 whose
/// pixels they are. Immutable.
class RowProduct {
 public:
  RowProduct() = default;
  RowProduct(const RowProduct&) = delete;
  RowProduct& operator=(const RowProduct&) = delete;
  virtual ~RowProduct() = default;
  /// \param rows [count][sums] elements, and room behind them as of a Layout::ChannelsLast
  /// \param output [count][columns] float32
  virtual void multiply(const char* rows, std::int64_t count, float* output) const = 0;
  virtual std::string kernel() const = 0;  ///< its name
};

/// \param source of a convolution of 1 x 1 from an image of one row, which is not rounded
std::unique_ptr<RowProduct> make_row_product(const PlacedLayer& source);

/// Between which numbers of steps a value is before it is rounded.
/// \param activation none, a relu, or a clip from 0; without `quant` a step is 1
struct Bounds {
  Bounds(const QuantParams& quant, const Activation& activation);
  float least;
  float most;
};

/// Rounds numbers to the elements of a tensor with that `quant`.
void quantize(const Kernels& kernels, const float* from, std::int64_t count,
              const QuantParams& quant, const Bounds& bounds, char* to);

}  // namespace lenet::native::int8

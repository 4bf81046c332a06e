/// \file
/// A quantized network made ready for a processor: what is computed in integers, the operators,
/// each family in a file of its own, and the program that they make up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engines/native/kernels/int8/kernels.h"
#include "engines/native/network.h"
#include "engines/native/ops/ops.h"
#include "engines/native/runtime/program.h"

namespace lenet::native::int8 {

// ---- which tensors are integers, and which layers compute them

/// What is to be added to the elements of a tensor, which are from -128 to 127.
inline std::int32_t shift_of(const QuantParams& quant) { return 128 - quant.zero_point; }

/// Between which numbers of steps a value is before it is rounded.
/// \param activation none, a relu, or a clip from 0; without `quant` a step is 1
struct Bounds {
  Bounds(const QuantParams& quant, const Activation& activation);
  float least;
  float most;
};

/// A rounding of what a layer gives, or of what the rounding before gave.
struct PlannedRounding {
  QuantParams quant;
  Activation activation;  ///< before it
  // Of what the rounding before gave, by channel; empty: as it is.
  std::vector<float> scale;
  std::vector<float> bias;
};

struct PlannedLayer {
  Layer layer;  ///< a convolution of integers has `integers`, others `weights`
  /// Of its result, one after the other; without: it is float32, or rounded as its input.
  std::vector<PlannedRounding> roundings;
  bool pool = false;  ///< the largest of each 2 x 2 results is given
  /// Of a convolution that adds its second input: after so many roundings; kNone: it does not.
  std::size_t sum = kNone;
  double multiply_adds = 0;  ///< for one image

  const Activation& last_activation() const {
    return roundings.empty() ? layer.activation : roundings.back().activation;
  }
};

struct Plan {
  std::vector<NetworkTensor> tensors;
  std::vector<PlannedLayer> layers;
  std::size_t input = 0;
  std::vector<OutputSource> outputs;
};

/// Rounding goes before max-pooling, which it does not change, and into the layer whose result it
/// rounds, as does what is done to each channel between two roundings, and the addition of another
/// tensor of integers; convolutions whose input is not rounded get the weights that their integers
/// stand for. A softmax of the whole image that no layer reads is left to the outputs.
/// \throws Error Unsupported: a sum that 32 bits might not hold; a softmax along a part of an
/// image.
Plan make_plan(Network network);

/// Whether a Program has kernels for all layers of a network. It has none for tokens: for what
/// needs_order.
bool has_kernels(const Network& network);

/// \throws Error Unsupported: a sum of integers that 32 bits might not hold
void require_short_sums(const Layer& layer);

// ---- operators

/// A layer with the places of its tensors, to make an operator of.
struct IntLayer {
  const Kernels& kernels;
  PlannedLayer planned;
  std::vector<Placement> inputs;
  Placement output;
  LayerMemory& memory;
  WeightArena& arena;  ///< as of FloatLayer
};

// \throws Error Unsupported: the layer has no kernel, or takes too much memory.
/// Of integers.
std::unique_ptr<Op> make_convolution(const IntLayer& source);
/// Every other layer, in float32, between tensors of either kind.
std::unique_ptr<Op> make_float_layer(const IntLayer& source);

/// Rows of integers, such as tokens, times a matrix of integers: a convolution of 1 x 1 whose
/// pixels they are. Immutable.
class RowProduct {
 public:
  RowProduct() = default;
  RowProduct(const RowProduct&) = delete;
  RowProduct& operator=(const RowProduct&) = delete;
  virtual ~RowProduct() = default;
  /// \param rows [count][sums] elements, and room behind them as of Placement::channels_last
  /// \param output [count][columns] float32
  virtual void multiply(const char* rows, std::int64_t count, float* output) const = 0;
  virtual std::string kernel() const = 0;  ///< its name
};

/// \param source of a convolution of 1 x 1 from an image of one row, which is not rounded
std::unique_ptr<RowProduct> make_row_product(const IntLayer& source);

/// A layer of a FloatProgram that rounds what it takes and multiplies integers.
std::unique_ptr<Op> make_rounded_layer(const FloatLayer& source);

/// Rounds numbers to the elements of a tensor with that `quant`.
void quantize(const Kernels& kernels, const float* from, std::int64_t count,
              const QuantParams& quant, const Bounds& bounds, char* to);

/// A row of a tensor as float32: [width][channels].
/// \param scratch where integers become float32
const float* float_row(const Kernels& kernels, const Placement& tensor, const char* first,
                       std::int64_t row, float* scratch);

// ---- the program

class Program final : public native::Program {
 public:
  /// Decides from the shapes where each tensor lies.
  /// \throws Error Unsupported: a layer that it has no kernel for.
  Program(Network network, const Kernels& kernels, std::int64_t min_shared_bytes = kMinSharedBytes);

  /// Packs the weights, before anything is run.
  /// \param shared of programs that may have the same weights; or null
  /// \throws Error Unsupported: a layer that it has no kernel for.
  void prepare(std::shared_ptr<SharedArrays> shared = nullptr);

  /// Of the layers that multiply in float32, for one image.
  double float_multiply_adds() const noexcept { return float_multiply_adds_; }
  /// What a run of one image would take if each tensor had memory of its own.
  std::int64_t image_bytes() const noexcept;

 private:
  void lay_out();
  void write_rows(const float** images, std::int64_t channel, std::int64_t begin, std::int64_t end,
                  const Frame& frame, std::int64_t unit) const override;
  const float* output_row(const Placement& tensor, const Frame& frame, std::int64_t unit,
                          std::int64_t row) const override;

  const Kernels& kernels_;
  Plan plan_;  ///< until prepare()
  double file_bytes_;
  double float_multiply_adds_ = 0;
  std::int64_t largest_floats_ = 0;  ///< bytes of the largest tensor as float32
};

}  // namespace lenet::native::int8

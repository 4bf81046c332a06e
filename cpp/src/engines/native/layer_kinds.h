/// \file
/// The kinds of layers, and what readers, passes and compilers ask of each.
#pragma once

#include <cstdint>

#include "engines/native/kernels/kernels.h"
#include "engines/native/layer_params.h"

namespace lenet::native {

/// Each kind has a row in the table of layer_kinds.cc, at the same place. Its parameters are in
/// layer_params.h.
enum class LayerKind {
  Convolution,  ///< and fully connected layers, whose kernel is as large as the image
  Pool,
  Resize,        ///< of rows and columns, each a weighted sum of some of the input
  ChannelScale,  ///< of each channel: x * scale + bias
  Activate,      ///< the same values, but for the layer's activation
  Add,           ///< of two tensors; one of them, here and below, may have a value a channel
  Subtract,
  Multiply,
  Divide,
  Maximum,
  Minimum,
  PRelu,      ///< of the negative values of each channel: x * scale
  Concat,     ///< of all channels of its inputs
  Channels,   ///< of its inputs, in any order
  Copy,       ///< of boxes of values
  View,       ///< the same values in another shape
  Convert,    ///< the same values in another layout; see separate_layouts
  Softmax,    ///< along an axis
  Reduce,     ///< of an axis to one value
  Along,      ///< of an axis, one value after the other: sums so far, the largest values
  MatMul,     ///< of matrices: of two tensors, or of a tensor and weights
  Broadcast,  ///< of two or three operands, each repeated along any axes
  Normalize,  ///< each row of values by its mean and variance
  Constant,   ///< numbers of the layer's own
  Quantize,   ///< rounded to integer multiples of a step
  Identity    ///< the same values; only before drop_identities
};

/// Which functions may become part of a layer, to be computed before its result is stored.
enum class Applies : std::uint8_t {
  Nothing,
  Relu,
  SmallOfZero,  ///< those that give a small number for 0: see may_follow_convolution
  Any
};

// Flags of a kind, in LayerFacts.

/// It reads and gives values in the order of the program.
constexpr unsigned kInOrder = 1;
/// It may write over its first input: each value depends on those at its place.
constexpr unsigned kInPlace = 2;
/// Its output has the shape that the program says. The output of other kinds has the shape of their
/// first input: what the program has flattened keeps its shape here.
constexpr unsigned kOwnShape = 4;

struct LayerFacts {
  LayerKind kind;
  const char* name;               ///< as profiles print it
  LayerParams (*first_params)();  ///< gives the parameters of the kind, as they are at first
  Applies applies = Applies::Nothing;
  unsigned flags = 0;
  /// How it combines two values; of a kind that does not, Combination::Scale.
  Combination combination = Combination::Scale;

  bool has(unsigned flag) const { return (flags & flag) != 0; }
};

/// The row of a kind. \param kind a named value of LayerKind
const LayerFacts& facts_of(LayerKind kind) noexcept;

/// The name of a kind, as profiles print it.
inline const char* to_string(LayerKind kind) noexcept { return facts_of(kind).name; }

/// Whether a layer computes each value from two.
inline bool is_combination(LayerKind kind) noexcept {
  return facts_of(kind).combination != Combination::Scale;
}

}  // namespace lenet::native

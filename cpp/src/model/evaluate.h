/// \file
/// The evaluator of constants: what an operator gives when all that it takes is known. The check
/// computes shapes with it, and engines fold parameters with it; there is no other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/graph.h"
#include "model/rules/operator_view.h"

namespace lenet {

/// What one output holds, in the order of its shape.
struct Contents {
  int dtype = -1;               ///< as they are stored
  std::string bytes;            ///< nothing where they are an input's
  const Value* same = nullptr;  ///< the input whose contents they are, as it stores them
  OpenNumbers open = {};        ///< of those in `bytes`, where they are a list of few
};

/// An input that is known, by its argument and its place there; null: it is not known. Its shape is
/// the one that the check gave it.
using KnownInputs = std::function<const Value*(std::string_view name, std::size_t index)>;

/// Is asked for the bytes of each output before it is computed, and besides for a byte for each
/// multiply-add of a product and each byte that is read to be summed up, so that neither takes more
/// time than as many weights. \returns whether it may be; it may throw instead
using Reserve = std::function<bool(std::size_t bytes)>;

/// Computes what an operator gives. Its outputs have the shapes and types that the check gave them.
/// Integers wrap around, as those of NumPy, onnxruntime and Paddle; a quotient of them is rounded
/// as the operator's definition says. Numbers that are open give open ones, in
/// lists of at most kMaxListed.
/// Time and memory are linear in the bytes that were reserved. Any thread may call it.
/// \returns one for each output `Out`; nothing for an operator, a type or a number that is not
///   evaluated, an input that is not known or fits no shape, and what was not reserved
/// \throws Error BadModel: integers are divided by 0, a scale is no number; Unsupported: a change
/// of
///   shape to another number of values
std::optional<std::vector<Contents>> evaluate(const OperatorView& op, const KnownInputs& known,
                                              const Reserve& reserve);

/// How integers stand for numbers: as (integer - zero) * scale.
struct Quantization {
  std::vector<float> scales;  ///< one, or one a channel
  std::int64_t axis = -1;     ///< of the channels; -1: one scale for all
  std::vector<double> zeros;  ///< as many; none: 0
  std::size_t inner = 1;      ///< values of one channel that lie side by side

  /// The channel of the value at a place.
  std::size_t channel(std::size_t at) const { return at / inner % scales.size(); }
  double zero(std::size_t at) const { return zeros.empty() ? 0 : zeros[channel(at)]; }
};

/// \param numbers that a QuantizeLinear or DequantizeLinear takes
/// \param zeros null: it has no zero points
/// \throws Error BadModel: a scale is negative, no number or too large; Unsupported: there are not
///   as many zero points as scales
Quantization read_quantization(const OperatorView& op, const Value& numbers, const Value& scales,
                               const Value* zeros);

}  // namespace lenet

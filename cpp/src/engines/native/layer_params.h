/// \file
/// What layers have beside their tensors: a struct for each family of kinds. Each counts the bytes
/// of the numbers that it holds, which LayerMemory bounds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "engines/native/channel_sources.h"
#include "engines/native/kernels/kernels.h"
#include "model/graph.h"
#include "model/resampling.h"
#include "model/rules/windows.h"

namespace lenet::native {

/// An axis of an image in the order of the program: [outer][count][inner].
struct Axis {
  std::int64_t count = 1;
  std::int64_t inner = 1;  ///< from a value to the next
};

/// Of kinds that have no parameters.
struct NoParams {
  std::size_t bytes() const { return 0; }
};

enum class PoolKind {
  Max,
  Average,         ///< divided by the values of the window inside the image
  AverageOfWindow  ///< divided by the size of the window inside the padded image
};

/// Pool: the largest or the mean of each window.
struct PoolParams {
  Window window;
  PoolKind kind = PoolKind::Max;
  bool adaptive = false;  ///< the windows share the image out evenly, whatever `window` is

  std::size_t bytes() const { return 0; }
};

/// ChannelScale: x * scale + bias in each channel. PRelu: x * scale, of negative x.
struct ScaleParams {
  std::vector<float> scale = {};  ///< [channels]
  std::vector<float> bias = {};   ///< [channels]; of PRelu none

  std::size_t bytes() const { return (scale.size() + bias.size()) * sizeof(float); }
};

/// Channels: of its inputs, in any order.
struct ChannelsParams {
  std::vector<ChannelSource> sources;  ///< that of each channel of the output

  std::size_t bytes() const { return sources.size() * sizeof(ChannelSource); }
};

/// Copy: boxes of values.
struct CopyParams {
  std::vector<Box> boxes;
  float fill = 0;  ///< where no box goes

  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Box& box : boxes) sum += sizeof(box) + box.loops.size() * sizeof(Box::Loop);
    return sum;
  }
};

/// Softmax along an axis.
struct SoftmaxParams {
  Axis axis = {};
  bool logarithm = false;  ///< of its result

  std::size_t bytes() const { return 0; }
};

/// Reduce: one value for each axis.
struct ReduceParams {
  Axis axis = {};
  ReduceKind kind = ReduceKind::Sum;

  std::size_t bytes() const { return 0; }
};

/// Along: what is computed of an axis one value after the other.
struct AlongParams {
  enum class Kind {
    Sums,        ///< of each value and those before it
    Normalized,  ///< each value by a norm of all
    Hardmax,     ///< 1 for the largest value, 0 for the others
    Largest,     ///< so many as `given`, in their order
    Places,      ///< where these are
  };
  Kind kind = Kind::Sums;
  Axis axis = {};
  std::int64_t given = 1;  ///< values; of the first three kinds as many as the axis has
  bool smallest = false;   ///< Largest, Places: the smallest instead
  bool last = false;       ///< Sums: from the end; Largest, Places: of equal values the last first
  bool exclusive = false;  ///< Sums: of those before it alone
  bool of_squares = true;  ///< Normalized: the root of the sum of squares; else the sum of sizes
  double epsilon = 0;      ///< Normalized: added to that sum

  /// Whether it puts the values of an axis in order.
  bool orders() const { return kind == Kind::Largest || kind == Kind::Places; }
  std::size_t bytes() const { return 0; }
};

/// Normalize: each row of values by its mean and variance.
struct NormalizeParams {
  std::int64_t count = 1;  ///< values of a row, which lie side by side
  float epsilon = 0;
  bool subtracts_mean = true;  ///< else it divides by the root of the mean square
  // A number for each value of a row, or none.
  std::vector<float> scale = {};
  std::vector<float> bias = {};

  std::size_t bytes() const { return (scale.size() + bias.size()) * sizeof(float); }
};

/// One loop over the values that Broadcast gives, which lie one after the other: how far the next
/// value of each operand lies; 0 where it is repeated.
struct BroadcastLoop {
  std::int64_t count = 1;
  std::array<std::int64_t, 3> steps = {};
};

/// An operand of Broadcast: a tensor, or numbers of the layer's own.
struct BroadcastOperand {
  std::size_t input = kNone;   ///< by its place among the layer's inputs
  std::vector<float> numbers;  ///< where there is none
  std::int64_t begin = 0;      ///< the place of the first value in the tensor
};

/// Broadcast: two or three operands, each repeated along any axes.
struct BroadcastParams {
  BroadcastKind kind = BroadcastKind::Add;
  std::vector<BroadcastOperand> operands;           ///< two, of Where three
  std::vector<BroadcastLoop> loops;                 ///< the outermost first
  double (*combine)(double a, double b) = nullptr;  ///< of Scalar

  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const BroadcastOperand& operand : operands) sum += operand.numbers.size() * sizeof(float);
    return sum;
  }
};

/// Resize: each row and column is a weighted sum of some of the input; without taps they stay.
struct ResizeParams {
  Taps rows;
  Taps columns;

  std::size_t bytes() const { return rows.bytes() + columns.bytes(); }
};

/// Constant: the same numbers for each image.
struct ConstantParams {
  std::vector<float> numbers;

  std::size_t bytes() const { return numbers.size() * sizeof(float); }
};

using LayerParams = std::variant<NoParams, PoolParams, ScaleParams, ChannelsParams, CopyParams,
                                 SoftmaxParams, ReduceParams, AlongParams, NormalizeParams,
                                 BroadcastParams, ResizeParams, ConstantParams>;

}  // namespace lenet::native

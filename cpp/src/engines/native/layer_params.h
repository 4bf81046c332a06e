/// \file
/// The parameters of layers: a struct for each family of kinds. `bytes()` counts the memory of the
/// numbers that a struct holds, which LayerMemory bounds.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "engines/native/activations.h"
#include "engines/native/channel_sources.h"
#include "engines/native/kernels/kernels.h"
#include "engines/native/tensor.h"
#include "model/graph.h"
#include "model/resampling.h"
#include "model/rules/windows.h"

namespace lenet::native {

/// An axis of an image in the order of the program: [outer][count][inner].
struct Axis {
  std::int64_t count = 1;
  std::int64_t inner = 1;  ///< from a value to the next
};

/// For kinds without parameters.
struct NoParams {
  std::size_t bytes() const { return 0; }
};

/// A rounding of what a convolution of integers gives, or of what the rounding before gave.
struct RoundingStage {
  QuantParams quant;
  Activation activation;  ///< before it
  // Each channel of what the rounding before gave is first multiplied by `scale`, and `bias` is
  // added. Where they are empty, it stays as it is.
  std::vector<float> scale;
  std::vector<float> bias;
};

/// A Convolution gives sums of each window of channels times weights, and a bias.
struct ConvolutionParams {
  Window window;
  std::int64_t groups = 1;
  std::int64_t first_channel = 0;  ///< of the input; see split_long_sums

  // One that sums up integers may do more before it stores the results; plan_integers decides what.
  std::vector<RoundingStage> roundings = {};  ///< one after the other
  bool pool = false;                          ///< it gives the largest of each 2 x 2 results
  std::size_t sum =
      kNone;  ///< it adds its second input after so many roundings; kNone: it has none

  /// Whether it gives integers.
  bool rounds() const { return !roundings.empty() && sum != roundings.size(); }
  std::size_t bytes() const {
    std::size_t numbers = 0;
    for (const RoundingStage& rounding : roundings) {
      numbers += rounding.scale.size() + rounding.bias.size();
    }
    return numbers * sizeof(float);
  }
};

/// Products of the matrices of one image: of each, [rows][sums] times [sums][columns] is
/// [rows][columns]. The matrices of a tensor may lie at any steps. Those of an operand have the
/// values of a row or of a column side by side, those of the output the values of a row.
struct Product {
  /// How the matrices of a tensor lie in it, in values.
  struct Matrix {
    std::int64_t begin = 0;   ///< where the first one begins
    std::int64_t row = 0;     ///< from a value to the one below it
    std::int64_t column = 0;  ///< from a value to the one beside it
  };
  /// Over the matrices, the outermost first: how far the next matrix lies in each tensor, in
  /// values; 0 where an operand has one that is taken for several.
  struct Loop {
    std::int64_t count = 1;
    std::int64_t first = 0;
    std::int64_t second = 0;
    std::int64_t output = 0;
  };
  std::vector<Loop> matrices;
  std::int64_t rows = 1;
  std::int64_t sums = 1;
  std::int64_t columns = 1;
  Matrix first;   ///< [rows][sums]
  Matrix second;  ///< [sums][columns]; of weights, which are [columns][sums], as of a tensor
  Matrix output;  ///< [rows][columns]
  /// After plan_integers, how a product of integers rounds its first operand.
  QuantParams quant = {};

  std::int64_t count() const {
    std::int64_t product = 1;
    for (const Loop& loop : matrices) product *= loop.count;
    return product;
  }
  /// Places each matrix without gaps, and those of the output one after the other. The steps of
  /// the loops in the operands stay as they are. A transposed matrix lies column by column.
  void lay_out(bool first_transposed = false, bool second_transposed = false) {
    const auto matrix = [](std::int64_t of_rows, std::int64_t of_columns, bool transposed) {
      return transposed ? Matrix{0, 1, of_rows} : Matrix{0, of_columns, 1};
    };
    first = matrix(rows, sums, first_transposed);
    second = matrix(sums, columns, second_transposed);
    output = matrix(rows, columns, false);
    std::int64_t values = rows * columns;
    for (auto loop = matrices.rbegin(); loop != matrices.rend(); ++loop) {
      loop->output = values;
      values *= loop->count;
    }
  }
  /// Whether the rows of the first operand have their values apart.
  bool is_turned() const { return sums > 1 && first.column != 1; }
  /// Returns the same products with as few matrices as there can be. Matrices that follow one
  /// another in the first operand and in the output, and are multiplied by the same, become one
  /// with more rows.
  /// \param weights whether the second operand is one matrix for all
  Product joined(bool weights) const;
  std::size_t bytes() const { return 0; }
};

/// One of the operands of a product, or what it gives.
struct ProductSide {
  Product::Matrix Product::*matrix;
  std::int64_t Product::Loop::*step;
  std::int64_t Product::*rows;
  std::int64_t Product::*columns;
};
inline constexpr ProductSide kFirstOperand = {&Product::first, &Product::Loop::first,
                                              &Product::rows, &Product::sums};
inline constexpr ProductSide kSecondOperand = {&Product::second, &Product::Loop::second,
                                               &Product::sums, &Product::columns};
inline constexpr ProductSide kProductOutput = {&Product::output, &Product::Loop::output,
                                               &Product::rows, &Product::columns};

/// A Quantize rounds values to integer multiples of a scale.
struct QuantizeParams {
  QuantParams quant = {};

  std::size_t bytes() const { return 0; }
};

enum class PoolKind {
  Max,
  Average,         ///< divided by the values of the window inside the image
  AverageOfWindow  ///< divided by the size of the window inside the padded image
};

/// A Pool gives the largest value or the mean of each window.
struct PoolParams {
  Window window;
  PoolKind kind = PoolKind::Max;
  bool adaptive = false;  ///< the windows share the image out evenly; `window` does not matter

  std::size_t bytes() const { return 0; }
};

/// A ChannelScale gives x * scale + bias, by the numbers of each channel. A PRelu gives x * scale
/// where x is negative, and x elsewhere.
struct ScaleParams {
  std::vector<float> scale = {};  ///< [channels]
  std::vector<float> bias = {};   ///< [channels]; a PRelu has none

  std::size_t bytes() const { return (scale.size() + bias.size()) * sizeof(float); }
};

/// Channels gives channels of its inputs, in any order.
struct ChannelsParams {
  std::vector<ChannelSource> sources;  ///< one for each channel of the output

  std::size_t bytes() const { return sources.size() * sizeof(ChannelSource); }
};

/// A Copy writes boxes of values of its inputs into its output.
struct CopyParams {
  std::vector<Box> boxes;
  float fill = 0;  ///< the value where no box goes

  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Box& box : boxes) sum += sizeof(box) + box.loops.size() * sizeof(Box::Loop);
    return sum;
  }
};

/// A Softmax goes along one axis.
struct SoftmaxParams {
  Axis axis = {};
  bool logarithm = false;  ///< whether it gives the logarithm of the result

  std::size_t bytes() const { return 0; }
};

/// A Reduce gives one value for all values of an axis.
struct ReduceParams {
  Axis axis = {};
  ReduceKind kind = ReduceKind::Sum;

  std::size_t bytes() const { return 0; }
};

/// An Along computes the values of an axis one after the other.
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

/// A Normalize divides each row of values by its deviation from its mean.
struct NormalizeParams {
  std::int64_t count = 1;  ///< values of a row, which lie side by side
  float epsilon = 0;
  bool subtracts_mean = true;     ///< else it divides by the root of the mean square
  std::vector<float> scale = {};  ///< a factor for each value of a row, or none
  std::vector<float> bias = {};   ///< an addend for each value of a row, or none

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

/// A Broadcast combines two or three operands, each of which is repeated along any axes.
struct BroadcastParams {
  BroadcastKind kind = BroadcastKind::Add;
  std::vector<BroadcastOperand> operands;           ///< three of a Where, two of the others
  std::vector<BroadcastLoop> loops;                 ///< the outermost first
  double (*combine)(double a, double b) = nullptr;  ///< the function of the kind Scalar

  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const BroadcastOperand& operand : operands) sum += operand.numbers.size() * sizeof(float);
    return sum;
  }
};

/// A Resize gives rows and columns that are weighted sums of those of its input. Where the taps are
/// empty, they stay as they are.
struct ResizeParams {
  Taps rows;
  Taps columns;

  std::size_t bytes() const { return rows.bytes() + columns.bytes(); }
};

/// A Constant gives the same numbers for each image.
struct ConstantParams {
  std::vector<float> numbers;

  std::size_t bytes() const { return numbers.size() * sizeof(float); }
};

using LayerParams =
    std::variant<NoParams, ConvolutionParams, Product, QuantizeParams, PoolParams, ScaleParams,
                 ChannelsParams, CopyParams, SoftmaxParams, ReduceParams, AlongParams,
                 NormalizeParams, BroadcastParams, ResizeParams, ConstantParams>;

}  // namespace lenet::native

/// \file
/// The kinds of layers: the parameters of each, and what readers, passes and compilers ask of it.
/// A new kind changes this file alone, and has its operator in ops/.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <variant>
#include <vector>

#include "engines/native/activations.h"
#include "engines/native/channel_sources.h"
#include "engines/native/kernels/kernels.h"
#include "engines/native/product.h"
#include "engines/native/tensor.h"
#include "model/graph.h"
#include "model/resampling.h"
#include "model/rules/windows.h"

namespace lenet::native {

// ---- Parameters: a struct for each family of kinds. `bytes()` counts the memory of the numbers
// that a struct holds, which LayerMemory bounds.

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

/// An Attention computes the scores of each row of queries, which are its products with the keys
/// times a scale, adds terms to them, and gives the products of their softmax with the values.
struct AttentionParams {
  static constexpr std::size_t kTerms = ScoresTask::kTerms;  ///< at most

  /// What is added to scores. The numbers for a row of them lie side by side.
  struct Term {
    BroadcastOperand operand;
    std::int64_t row = 0;  ///< from the numbers for a row to those for the next
  };
  /// Over the matrices, the outermost first: how far the next ones lie in each tensor.
  struct Loop {
    std::int64_t count = 1;
    std::int64_t query = 0;
    std::int64_t key = 0;
    std::int64_t value = 0;
    std::int64_t output = 0;
    std::array<std::int64_t, kTerms> terms = {};
  };
  std::vector<Loop> matrices;
  std::int64_t rows = 1;
  std::int64_t depth = 1;
  std::int64_t keys = 1;
  std::int64_t width = 1;
  Product::Matrix query;   ///< of input 0, [rows][depth]
  Product::Matrix key;     ///< of input 1, [depth][keys]
  Product::Matrix value;   ///< of input 2, [keys][width]
  Product::Matrix output;  ///< [rows][width]
  float scale = 1;
  std::vector<Term> terms;  ///< one after the other

  /// The products that give the scores, of which the output has no place.
  Product scores() const;
  /// The products of the softmax, which has no place, and the values.
  Product results() const;
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const Term& term : terms) sum += term.operand.numbers.size() * sizeof(float);
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
                 NormalizeParams, BroadcastParams, AttentionParams, ResizeParams, ConstantParams>;

// ---- Kinds

/// Each kind has a row in kLayerFacts, at the same place.
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
  Attention,  ///< products with the softmax of other products
  Constant,   ///< numbers of the layer's own
  Quantize,   ///< rounded to integer multiples of a step
  Identity    ///< the same values; only before drop_identities
};

/// Which functions the operator of a kind computes of its results before it stores them.
enum class Applies : std::uint8_t {
  Nothing,
  Relu,
  Any,     ///< all that have a kernel: not ActivationKind::Scalar
  Scalars  ///< ActivationKind::Scalar too
};

/// What a layer may hold that changes its results, beside what every layer of its kind has.
/// network.h tells which of them a layer has: fields_of, has_only.
enum LayerField : unsigned {
  kActivation = 1,
  kWeights = 2,  ///< its own, or stored ones
  kWeightScales = 4,
  kBias = 8,
  kIntegers = 16,
  kRests = 32,
  kStages = 64,     ///< of a Convolution: roundings, a pool, the addition of another tensor
  kRounding = 128,  ///< of a Product: it rounds its first operand
};

// Flags of a kind, in LayerFacts.

/// It reads and gives values in the order of the program.
constexpr unsigned kInOrder = 1;
/// It may write over its first input: each value depends on those at its place.
constexpr unsigned kInPlace = 2;
/// Its output has the shape that the program says. The output of other kinds has the shape of their
/// first input: what the program has flattened keeps its shape here.
constexpr unsigned kOwnShape = 4;
/// Its operator writes whole vectors of channels: behind the last channel 0, where what it takes
/// has 0 there. Behind what other kinds give, Program writes zeros.
constexpr unsigned kKeepsZeros = 8;

/// What the files of ops/ have for the layers of a kind; ops/families.h describes it.
struct LayerFamily;

// Each is defined in the file of its family.
extern const LayerFamily kAlongFamily;
extern const LayerFamily kAttentionFamily;
extern const LayerFamily kAxisFamily;
extern const LayerFamily kBroadcastFamily;
extern const LayerFamily kChannelFamily;
extern const LayerFamily kConstantFamily;
extern const LayerFamily kConvolutionFamily;
extern const LayerFamily kCopyFamily;
extern const LayerFamily kElementwiseFamily;
extern const LayerFamily kNormalizeFamily;
extern const LayerFamily kPoolFamily;
extern const LayerFamily kProductFamily;
extern const LayerFamily kResizeFamily;
extern const LayerFamily kFamilyWithoutOperator;

struct LayerFacts {
  LayerKind kind;
  const LayerFamily& family;
  const char* name;               ///< as profiles print it
  LayerParams (*first_params)();  ///< gives the parameters of the kind
  Applies applies = Applies::Nothing;
  unsigned flags = 0;
  /// How it combines two values; of a kind that does not, Combination::Scale.
  Combination combination = Combination::Scale;
  /// The fields, of LayerField, that its operator computes, beside the functions of `applies`.
  unsigned computes = 0;

  bool has(unsigned flag) const { return (flags & flag) != 0; }
};

/// The parameters of a kind, as they are at first.
template <class Params>
LayerParams first_params() {
  return Params();
}

/// A row for each LayerKind, in their order.
inline constexpr LayerFacts kLayerFacts[] = {
    {LayerKind::Convolution, kConvolutionFamily, "convolution", first_params<ConvolutionParams>,
     Applies::Any, kOwnShape | kKeepsZeros, Combination::Scale,
     kWeights | kWeightScales | kBias | kIntegers | kStages},
    {LayerKind::Pool, kPoolFamily, "pool", first_params<PoolParams>, Applies::Relu,
     kOwnShape | kKeepsZeros},
    {LayerKind::Resize, kResizeFamily, "resize", first_params<ResizeParams>, Applies::Nothing,
     kOwnShape | kKeepsZeros},
    {LayerKind::ChannelScale, kElementwiseFamily, "scale", first_params<ScaleParams>, Applies::Any,
     kInPlace | kKeepsZeros},
    {LayerKind::Activate, kElementwiseFamily, "activation", first_params<NoParams>,
     Applies::Scalars, kInPlace | kKeepsZeros},
    {LayerKind::Add, kElementwiseFamily, "add", first_params<NoParams>, Applies::Any,
     kInPlace | kKeepsZeros, Combination::Add},
    {LayerKind::Subtract, kElementwiseFamily, "subtract", first_params<NoParams>, Applies::Any,
     kInPlace | kKeepsZeros, Combination::Subtract},
    {LayerKind::Multiply, kElementwiseFamily, "multiply", first_params<NoParams>, Applies::Any,
     kInPlace | kKeepsZeros, Combination::Multiply},
    {LayerKind::Divide, kElementwiseFamily, "divide", first_params<NoParams>, Applies::Any,
     kInPlace, Combination::Divide},
    {LayerKind::Maximum, kElementwiseFamily, "maximum", first_params<NoParams>, Applies::Any,
     kInPlace | kKeepsZeros, Combination::Maximum},
    {LayerKind::Minimum, kElementwiseFamily, "minimum", first_params<NoParams>, Applies::Any,
     kInPlace | kKeepsZeros, Combination::Minimum},
    {LayerKind::PRelu, kElementwiseFamily, "prelu", first_params<ScaleParams>, Applies::Any,
     kInPlace | kKeepsZeros, Combination::PRelu},
    {LayerKind::Concat, kChannelFamily, "concat", first_params<NoParams>, Applies::Nothing,
     kKeepsZeros},
    {LayerKind::Channels, kChannelFamily, "channels", first_params<ChannelsParams>,
     Applies::Nothing, kKeepsZeros},
    {LayerKind::Copy, kCopyFamily, "copy", first_params<CopyParams>, Applies::Nothing,
     kInOrder | kOwnShape},
    {LayerKind::View, kFamilyWithoutOperator, "view", first_params<NoParams>, Applies::Nothing,
     kInOrder},
    {LayerKind::Convert, kCopyFamily, "convert", first_params<NoParams>},
    // It has taken what it needs of a value when it writes in its place.
    {LayerKind::Softmax, kAxisFamily, "softmax", first_params<SoftmaxParams>, Applies::Nothing,
     kInOrder | kInPlace},
    {LayerKind::Reduce, kAxisFamily, "reduce", first_params<ReduceParams>, Applies::Nothing,
     kInOrder | kOwnShape},
    {LayerKind::Along, kAlongFamily, "along", first_params<AlongParams>, Applies::Nothing,
     kInOrder},
    {LayerKind::MatMul, kProductFamily, "matmul", first_params<Product>, Applies::Any,
     kInOrder | kOwnShape, Combination::Scale,
     kWeights | kWeightScales | kBias | kIntegers | kRounding},
    {LayerKind::Broadcast, kBroadcastFamily, "broadcast", first_params<BroadcastParams>,
     Applies::Any, kInOrder | kOwnShape},
    {LayerKind::Normalize, kNormalizeFamily, "normalize", first_params<NormalizeParams>,
     Applies::Any, kInOrder | kOwnShape},
    {LayerKind::Attention, kAttentionFamily, "attention", first_params<AttentionParams>,
     Applies::Nothing, kInOrder | kOwnShape, Combination::Scale, kBias},
    {LayerKind::Constant, kConstantFamily, "constant", first_params<ConstantParams>,
     Applies::Nothing, kInOrder},
    {LayerKind::Quantize, kFamilyWithoutOperator, "quantize", first_params<QuantizeParams>,
     Applies::Relu},
    {LayerKind::Identity, kFamilyWithoutOperator, "identity", first_params<NoParams>},
};

static_assert(std::size(kLayerFacts) == static_cast<std::size_t>(LayerKind::Identity) + 1,
              "each LayerKind has a row of kLayerFacts");

static_assert(rows_are_in_order(kLayerFacts), "kLayerFacts has the order of LayerKind");

/// The row of a kind. \param kind a named value of LayerKind
inline const LayerFacts& facts_of(LayerKind kind) noexcept {
  return kLayerFacts[static_cast<std::size_t>(kind)];
}

/// The name of a kind, as profiles print it.
inline const char* to_string(LayerKind kind) noexcept { return facts_of(kind).name; }

/// Whether a layer computes each value from two.
inline bool is_combination(LayerKind kind) noexcept {
  return facts_of(kind).combination != Combination::Scale;
}

}  // namespace lenet::native

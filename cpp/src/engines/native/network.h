/// \file
/// What the native engine knows of a network: typed layers, with their weights, over the values of
/// the Graph. Made by read_network.h, simplified, compiled for a processor by program.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "engines/native/channel_sources.h"
#include "engines/native/kernels/kernels.h"
#include "engines/native/tensor.h"
#include "lenet/tensor.h"
#include "model/graph.h"
#include "model/resampling.h"
#include "model/rules/windows.h"

namespace lenet::native {

enum class LayerKind {
  Convolution,  ///< and fully connected layers, whose kernel is as large as the image
  Pool,
  Resize,        ///< of rows and columns, each a weighted sum of some of the input
  ChannelScale,  ///< of each channel: x * scale + bias
  Activate,      ///< the same values, but for the layer's activation
  Add,           ///< of two tensors; and so are those below, of which one may be [channels, 1, 1]
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
  Flatten,    ///< the same values, which may be rounded another way; only before round_as_onednn
  Identity    ///< the same values; only before drop_identities
};

/// The name of a kind, as profiles print it.
const char* to_string(LayerKind kind) noexcept;
const char* to_string(ActivationKind kind) noexcept;

/// How a layer combines two values; of any other layer it is Combination::Scale.
Combination combination_of(LayerKind kind) noexcept;

/// Whether a layer computes each value from two.
inline bool is_combination(LayerKind kind) noexcept {
  return combination_of(kind) != Combination::Scale;
}

enum class PoolKind {
  Max,
  Average,         ///< divided by the values of the window inside the image
  AverageOfWindow  ///< divided by the size of the window inside the padded image
};

/// Of an image in the order of the program: [outer][count][inner].
struct Axis {
  std::int64_t count = 1;
  std::int64_t inner = 1;  ///< from a value to the next
};

/// What Along gives of the values of an axis.
struct Along {
  enum class Kind {
    Sums,        ///< of each value and those before it
    Normalized,  ///< each value by a norm of all
    Hardmax,     ///< 1 for the largest value, 0 for the others
    Largest,     ///< so many as `given`, in their order
    Places,      ///< where these are
  };
  Kind kind = Kind::Sums;
  std::int64_t given = 1;  ///< values; of the first three kinds as many as the axis has
  bool smallest = false;   ///< Largest, Places: the smallest instead
  bool last = false;       ///< Sums: from the end; Largest, Places: of equal values the last first
  bool exclusive = false;  ///< Sums: of those before it alone
  bool of_squares = true;  ///< Normalized: the root of the sum of squares; else the sum of sizes
  double epsilon = 0;      ///< Normalized: added to that sum
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

  std::int64_t count() const {
    std::int64_t product = 1;
    for (const Loop& loop : matrices) product *= loop.count;
    return product;
  }
  /// Places each matrix without gaps, and those of the output one after the other. The steps of
  /// the loops in the operands stay as they are. A transposed matrix lies column by column.
  void lay_out(bool first_transposed = false, bool second_transposed = false);
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

/// Float32 weights of a layer, where they lie.
struct WeightView {
  const char* data = nullptr;  ///< at any address
  std::size_t count = 0;
  std::size_t channel = 0;        ///< numbers from an output channel to the next
  std::size_t tap = 1;            ///< from a tap of one to the next
  const float* scales = nullptr;  ///< that of each channel, by which they are multiplied; null: 1

  float at(std::size_t of_channel, std::size_t of_tap) const {
    float number;
    std::memcpy(&number, data + (of_channel * channel + of_tap * tap) * sizeof(float),
                sizeof(number));
    return scales == nullptr ? number : number * scales[of_channel];
  }
};

struct Layer {
  LayerKind kind = LayerKind::Activate;
  std::string name;  ///< operator and what it gives, for messages
  std::vector<std::size_t> inputs;
  std::size_t output = 0;
  Activation activation;  ///< afterwards

  Window window;  ///< Convolution, Pool
  std::int64_t groups = 1;
  std::int64_t first_channel = 0;  ///< of the input; see split_long_sums
  std::vector<float> weights;      ///< [output channels][input channels / groups][height][width]
  WeightView stored;               ///< in the model or the network, which outlive this; or none
  std::vector<float> bias;         ///< [output channels]; of ChannelScale too
  std::vector<float> scale;        ///< [channels]; of PRelu too

  // In a quantized program, convolutions and MatMuls may have integers instead of weights.
  std::vector<std::int8_t> integers;
  std::vector<std::int8_t> rests;  ///< to be added to twice the integers, until they are split
  /// The scale of the integers of each output channel; until round_as_onednn, one of 127. Of stored
  /// weights that of normalizations; empty: 1.
  std::vector<float> weight_scales;
  /// Quantize; of Identity the range that the program quantizes its input by; after take_roundings,
  /// of a layer with `integers`, how it rounds what it takes.
  QuantParams quant;
  // What round_as_onednn wants to know.
  bool quantized = false;  ///< Convolution: the program quantizes all that it takes
  /// Convolution: of an .onnx, whose bias mostly is whole steps of the sums.
  bool adds_whole_steps = false;
  bool matrix = false;               ///< Convolution: the weights were a matrix [inputs][outputs]
  bool fuses_into_previous = false;  ///< ChannelScale: Paddle makes it part of the layer before it
  float bias_range = 0;  ///< ChannelScale: of a bias that is quantized, what 127 stands for

  std::vector<ChannelSource> channels;  ///< Channels: that of each of the output
  std::vector<Box> boxes;               ///< Copy
  float fill = 0;                       ///< Copy: where no box goes
  Axis axis;                            ///< Softmax, Reduce, Along
  Along along;
  ReduceKind reduce = ReduceKind::Sum;
  bool logarithm = false;  ///< Softmax: of its result
  /// MatMul: where it has one input, `stored` or `weights` are the second operand as a convolution
  /// has them, [columns][sums], and `bias` has a number for each column; or none.
  Product product;
  BroadcastKind broadcast = BroadcastKind::Add;
  double (*combine)(double a, double b) = nullptr;  ///< Broadcast, of Scalar
  std::vector<BroadcastOperand> operands;           ///< Broadcast: two, of Where three
  std::vector<BroadcastLoop> loops;                 ///< Broadcast, the outermost first
  std::vector<float> numbers;                       ///< Constant
  /// Normalize: the rows have `axis.count` values side by side. `scale` and `bias` have a number
  /// for each value of a row, or there are none.
  float epsilon = 0;
  bool subtracts_mean = true;  ///< Normalize: else it divides by the root of the mean square

  PoolKind pool = PoolKind::Max;
  bool adaptive = false;   ///< the windows share the image out evenly
  std::vector<Taps> taps;  ///< Resize: of its rows and columns; without any they stay

  bool relu() const { return activation.kind == ActivationKind::Relu; }
  /// Of the layer's own, or those stored, in float32. The layer outlives the view.
  WeightView view_weights() const;
};

struct Network {
  /// By value of the Graph, and behind them those that passes add; no channels: not computed from
  /// the image. What was flattened keeps its shape.
  std::vector<NetworkTensor> tensors;
  std::deque<Layer> layers;   ///< in the order of execution
  std::vector<float> ranges;  ///< of tensors that a program quantizes; 0, or none at the end: not
  std::deque<std::string> contents;  ///< of constants that the model does not have as they are here
  std::size_t input = 0;
  std::vector<std::size_t> outputs;
  TensorSpec input_spec;  ///< shapes with -1 for the images
  std::vector<TensorSpec> output_specs;
  std::vector<Images> output_images;  ///< where each has the images
  /// Size of the model's files, which bounds what layers hold; infinite for a network of no file.
  double file_bytes = std::numeric_limits<double>::infinity();

  std::size_t add_tensor(const TensorShape& shape) {
    tensors.push_back(shape);
    return tensors.size() - 1;
  }
  Layer& add_layer(LayerKind kind, std::string name, std::vector<std::size_t> inputs,
                   std::size_t output) {
    Layer& layer = layers.emplace_back();
    layer.kind = kind;
    layer.name = std::move(name);
    layer.inputs = std::move(inputs);
    layer.output = output;
    return layer;
  }
};

/// Who gives and who reads each tensor, as the network was when this was made.
struct Links {
  explicit Links(const Network& network);

  // By tensor.
  std::vector<std::size_t> producers;  ///< the layer that gives it; kNone for the network's input
  std::vector<std::size_t> readers;    ///< the last layer that reads it; kNone
  std::vector<std::size_t> uses;       ///< how often it is read, or given as an output
};

/// Bounds what layers hold by the size of the model's files. Operators may share a constant, of
/// which each layer has a copy, packed for its kernel: without a bound a small file could ask for
/// any amount of memory.
class LayerMemory {
 public:
  explicit LayerMemory(double file_bytes) : most_(kFree + kMultiple * file_bytes) {}
  /// \throws Error Unsupported: the layers hold too much
  void add(double bytes);
  double most() const { return most_; }

  static constexpr double kFree = 1 << 26;
  static constexpr double kMultiple = 32;

 private:
  double most_;
  double bytes_ = 0;
};

/// Bounds the memory for tensors, as they are stored: with their borders, and channels in whole
/// vectors. \throws Error Unsupported: more than 2 GiB
void require_tensor_memory(double bytes);

/// Bytes of the numbers that a layer holds.
double bytes_of(const Layer& layer);

/// Whether a convolution's window is the image: a fully connected layer.
inline bool is_whole_image(const TensorShape& image, const Layer& layer,
                           const TensorShape& output) {
  return output.height == 1 && output.width == 1 && layer.window.kernel[0] == image.height &&
         layer.window.kernel[1] == image.width && layer.groups == 1 && !layer.window.pads();
}

inline bool is_max_pool(const Layer& layer) {
  return layer.kind == LayerKind::Pool && layer.pool == PoolKind::Max;
}

/// Whether it is none or a relu, which every kernel of convolutions applies.
inline bool is_none_or_relu(const Activation& activation) {
  return activation.kind == ActivationKind::None || activation.kind == ActivationKind::Relu;
}

/// Whether it only bounds a value: none, a relu, or a clip from 0.
inline bool is_bound(const Activation& activation) {
  return is_none_or_relu(activation) ||
         (activation.kind == ActivationKind::Clip && activation.alpha == 0 && activation.beta > 0);
}

/// Whether a layer has the same numbers for all channels, or none.
bool is_alike(const Layer& layer);

/// Whether it gives 0 for 0.
bool keeps_zero(const Activation& activation);

/// Whether the layer halves the image by the largest of each 2 x 2 of its input.
bool is_max_pool_2x2(const Network& network, const Layer& layer);

/// What a program writes for an output.
struct OutputSource {
  std::size_t tensor = 0;
  bool softmax = false;    ///< applied to the image as it is written
  bool logarithm = false;  ///< of that
};

/// Whether a layer reads and gives values in the order of the program.
bool needs_order(const Layer& layer) noexcept;

/// Whether a layer is a softmax of a whole image that only gives outputs: it is no step of a
/// program, which applies it as it writes them.
inline bool is_written_softmax(const Network& network, const Links& links, const Layer& layer) {
  return layer.kind == LayerKind::Softmax && links.readers[layer.output] == kNone &&
         layer.axis.count == network.tensors[layer.output].shape.values();
}
std::vector<OutputSource> output_sources(const Network& network);

/// How far a tap of a convolution lies from the first, as kernels have it.
/// \throws Error Unsupported: too far for 32 bits.
std::int32_t tap_offset(std::int64_t offset, const Layer& layer);

/// Multiply-adds of a layer for one image.
double multiply_adds(const Network& network, const Layer& layer);

}  // namespace lenet::native

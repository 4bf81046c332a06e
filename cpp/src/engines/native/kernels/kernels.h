/// \file
/// The arithmetic of the native engine, written once over vectors (implementation.h) and built for
/// each instruction set. dispatch.h chooses among them.
///
/// Two layouts of activations, both with a border of zeros where a convolution pads:
///   - blocked, of one image: [channels / lanes][height][width][lanes], where a vector has so many
///     lanes; the last block is filled up with zeros;
///   - interleaved: [height][width][channels][images], as many images as a vector has lanes.
/// One image that is a network's input, and what `conv_columns` and `winograd_rows` give, are
/// planar: [channels][height][width].
///
/// Every output of a convolution is one chain of multiply-adds that starts with the bias and runs
/// over the taps in one order, whatever the kernel, or Winograd's of winograd.h or winograd_rows.h:
/// the same bits in each layout.
///
/// This header is included by files that are compiled for processors that may not be at hand: it
/// must hold no inline function, nor include a header that does.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engines/native/kernels/activation.h"

namespace lenet::native {

/// What becomes of a convolution's sums before they are stored: bias and residual are added, then
/// comes the activation.
struct Epilogue {
  const float* bias;            ///< of whole vectors of channels
  const float* residual;        ///< what is added to the first output; null: nothing
  std::int64_t residual_row;    ///< floats, as `output_row` of the task; columns as in the output
  std::int64_t residual_block;  ///< from a vector of channels to the next
  Activation activation;        ///< relu with the bounds that a clip would have
};

/// At most so many taps are in a run.
constexpr std::int32_t kMaxRun = 64;

/// Taps whose inputs lie side by side.
struct TapRun {
  std::int32_t offset;  ///< of the first from the first of all, in floats
  std::int32_t count;
};

/// Windows over one image, or over several interleaved.
struct ConvTask {
  const float* input;           ///< the first tap of the first window
  const std::int32_t* offsets;  ///< of every tap from the first, in floats; not of conv_channels
  std::int32_t taps;
  const TapRun* runs;  ///< of conv_channels and fully_connected: all taps
  std::int32_t run_count;
  std::int64_t input_column;  ///< floats from a window to the next in its row
  std::int64_t input_row;     ///< floats from a row of windows to the next
  const float* weights;       ///< packed as the kernel asks for
  Epilogue epilogue;          ///< the residual of conv_channels only
  float* output;
  std::int64_t output_column;   ///< floats from a pixel to the next
  std::int64_t output_row;      ///< floats from a row to the next
  std::int64_t output_channel;  ///< floats from a channel, or a block of them, to the next
  std::int64_t output_gap;      ///< of conv_channels: floats behind each row that become 0
  std::int32_t columns;         ///< windows in a row
  std::int32_t rows;
  std::int32_t channels;  ///< of the output
  std::int32_t tile;      ///< channels, or vectors of channels, computed together
  bool pool;              ///< give the largest of each 2 x 2 windows; of interleaved and columns
  /// fully_connected leaves out the products of inputs that are 0, for a single window. All weights
  /// are finite and no bias is -0, so that these products change nothing.
  bool skips_zeros;
  bool prefetches;          ///< of fully_connected: there are more weights than the caches hold
  std::int32_t images;      ///< of conv_channels
  std::int64_t image_step;  ///< floats from an image's tensor to the next one's
  std::int64_t input_image_step;  ///< the same of the input
};

/// Tells where the values lie that a vector of output channels takes from one place among the input
/// channels of its groups.
struct GroupedTerm {
  const std::int32_t* places;  ///< of each lane, in `first` and behind it in `second`
  std::int64_t first;          ///< vectors of input channels, in floats from the first
  std::int64_t second;
};

/// A vector of output channels of a convolution of groups.
struct GroupedTask {
  const float* input;  ///< the first tap of the first window, of the first channels
  std::int64_t input_column;
  std::int64_t input_row;
  std::int64_t tap_column;  ///< floats from a tap to the next in its row
  std::int64_t tap_row;
  std::int32_t width;  ///< taps
  std::int32_t height;
  const float* weights;  ///< [term][height][width][lanes]
  const GroupedTerm* term;
  std::int32_t terms;
  std::int32_t sources;  ///< 2; 1: all terms have `first` alone; 0: and lanes their own channels
  Epilogue epilogue;     ///< without a residual
  float* output;
  std::int64_t output_row;
  std::int32_t columns;  ///< windows in a row
  std::int32_t rows;
};

/// The finite points of Winograd's transforms, beside 0: plus and minus these.
constexpr float kWinogradNear = 0.75F;
constexpr float kWinogradFar = 1.5F;

/// The points of winograd_rows, in pairs whose products are computed together.
constexpr double kWinogradRowPoints[] = {1, -1, 0, __builtin_inf(), 0.5, -0.5, 2, -2};
/// Channels that it computes together.
constexpr std::int32_t kWinogradRowGroup = 2;
/// Its scratch memory is for so many pairs of rows below each other.
constexpr std::int32_t kWinogradRowPairs = 16;

/// A convolution of 5 x 5 with strides of 1, in tiles of 2 x 2 outputs, or of two rows of four
/// columns.
struct WinogradTask {
  const float* input;  ///< the first tap of the first window; one image's is planar
  std::int64_t input_column;
  std::int64_t input_row;
  std::int64_t input_channel;
  /// Transformed: [block of channels][column][input channel][row][block]; of winograd_rows
  /// [block of channels][pair][input channel][row of the kernel][point of the pair][block].
  const float* weights;
  const float* bias;
  float* output;
  std::int64_t output_column;
  std::int64_t output_row;
  std::int64_t output_channel;  ///< from a channel, or a block of them, to the next
  std::int32_t in_channels;
  std::int32_t channels;  ///< of the output
  std::int32_t tiles_across;
  std::int32_t tiles_down;
  /// Memory for one tile: 36 vectors for each input channel. winograd_rows needs 8 vectors for each
  /// input channel and each of 2 * kWinogradRowPairs + 4 rows.
  float* scratch;
  bool relu;
  bool pool;  ///< give the largest of each 2 x 2 outputs
};

/// Vectors of output channels that winograd3x3 computes together, and input channels whose number
/// is filled up to a multiple.
constexpr std::int32_t kWinograd3x3Group = 2;
constexpr std::int32_t kWinograd3x3Channels = 4;

/// A convolution of 3 x 3 with strides of 1, in tiles of 4 x 4 outputs, of blocked tensors.
struct Winograd3x3Task {
  const float* input;  ///< the first pixel inside the border, which is not read
  std::int64_t input_row;
  std::int64_t input_block;
  /// [group of kWinograd3x3Group vectors of output channels, the last one of what is left]
  /// [input channel][3][3][group]
  const float* weights;
  Epilogue epilogue;
  float* output;
  std::int64_t output_row;
  std::int64_t output_block;
  std::int64_t image_step;  ///< floats from an image's tensors to the next one's
  std::int32_t images;
  std::int32_t in_channels;
  std::int32_t in_height;
  std::int32_t in_width;
  std::int32_t padding_top;
  std::int32_t padding_left;
  std::int32_t height;  ///< of the output
  std::int32_t width;
  std::int32_t blocks;  ///< vectors of output channels
  // The part that is computed.
  std::int64_t first_tile;
  std::int64_t last_tile;    ///< behind it; of all images
  std::int32_t first_block;  ///< that begins a group
  std::int32_t last_block;   ///< behind it
  float* scratch;
};

/// How the sum of the integers of a window becomes what an average gives.
struct IntMean {
  std::int32_t zero;  ///< the element that stands for 0
  float step;         ///< what 1 stands for
  float inverse;      ///< that of the result; 0: it is float32
  float least;        ///< of the result, when it is rounded
  float most;
  std::int32_t shift;  ///< taken off what is rounded
};

/// Windows of an image, in elements: float32 here, and integers in int8/.
struct PoolTask {
  const void* input;  ///< the first pixel inside the border
  std::int64_t input_column;
  std::int64_t input_row;
  void* output;
  std::int64_t output_column;
  std::int64_t output_row;
  std::int64_t tap_column;  ///< from a value of a window to the next
  std::int64_t tap_row;
  const std::int32_t* column_begin;  ///< of each output column: its window, clipped to the image
  const std::int32_t* column_end;
  const std::int32_t* row_begin;
  const std::int32_t* row_end;
  // The ends of windows with dilations are those of as many values side by side.
  const float* column_size;  ///< to divide by, of an average
  const float* row_size;
  // Pools of float32 have columns whose windows are equally wide and equally far apart.
  std::int32_t inner_begin;
  std::int32_t inner_end;
  std::int32_t inner_width;
  std::int32_t inner_stride;  ///< columns from one such window to the next
  std::int32_t columns;
  std::int32_t rows;
  std::int32_t values;  ///< of a pixel; of float32, whole vectors
  bool average;
  bool relu;     ///< of float32, and of the largest
  IntMean mean;  ///< of integers, of an average
};

/// Rows and columns that are weighted sums of some of the input.
struct ResizeTask {
  /// Row or column `i` of the output has the taps from begins[i] to begins[i + 1]. A single tap has
  /// the weight 1.
  struct Taps {
    const std::int32_t* begins;
    const std::int32_t* places;
    const float* weights;
  };
  const float* input;  ///< the first pixel inside the border
  std::int64_t input_row;
  float* output;
  std::int64_t output_row;
  Taps row_taps;
  Taps column_taps;
  std::int32_t input_columns;
  std::int32_t columns;
  std::int32_t rows;
  std::int32_t values;  ///< of a pixel, whole vectors; as far as the next one lies
  float* scratch;       ///< a row of the input
};

/// How two values become one.
enum class Combination : std::uint8_t {
  Add,
  Subtract,
  Multiply,
  Divide,
  Maximum,
  Minimum,
  PRelu,  ///< a, of negative a a * b
  Scale   ///< a * b + c
};

/// Values computed from two or three each, with an activation afterwards.
struct CombineTask {
  Combination kind;
  const float* a;
  const float* b;
  const float* c;
  std::int32_t a_step;  ///< floats from a vector to the next: a whole one, or 0
  std::int32_t b_step;  ///< of b and c
  float* output;        ///< may be `a` or `b`
  std::int64_t count;   ///< of whole vectors
  Activation activation;
};

enum class ReduceKind : std::uint8_t {
  Sum,
  Mean,
  Max,
  Min,
  Product,
  L1,
  L2,
  SumOfSquares,
  LogSum,
  LogSumExp
};

/// What Broadcast computes of its operands.
enum class BroadcastKind : std::uint8_t {
  Add,
  Subtract,
  Multiply,
  Divide,
  Maximum,
  Minimum,
  PRelu,  ///< a, of negative a a * b
  Power,
  Equal,  ///< this one and those below give 1 for true and 0 for false
  Less,
  LessOrEqual,
  Greater,
  GreaterOrEqual,
  And,
  Or,
  Xor,
  Where,  ///< b where a is not 0, else c
  Scalar  ///< a function, one value after the other; no kernel computes it, but ops/broadcast.cc
};

/// Softmax of some axes, or one value of each.
struct AxisTask {
  const float* from;
  std::int64_t count;  ///< values of an axis
  std::int64_t inner;  ///< floats from one of these to the next
  std::int64_t width;  ///< axes: side by side, or where `inner` is 1 one after the other
  float* to;           ///< of a softmax as the input, else side by side
};

/// Rows of scores, such as those of an attention, of which the softmax is wanted.
struct ScoresTask {
  const float* from;
  float* to;           ///< may be `from`; its rows lie as those do
  std::int64_t count;  ///< of a row
  std::int64_t step;   ///< floats from a row to the next
  std::int64_t rows;
  float scale;  ///< by which scores are multiplied first
  static constexpr int kTerms = 2;
  const float* terms[kTerms];       ///< what is added to the first row then; null: nothing
  std::int64_t term_steps[kTerms];  ///< floats from what is added to a row to the next
};

/// Rows of values, one after the other, by the mean and variance of each.
struct NormalizeTask {
  const float* from;
  std::int64_t count;  ///< of a row
  std::int64_t rows;
  const float* scale;  ///< of each value of the row; null: 1
  const float* bias;   ///< the same; null: 0
  float epsilon;
  bool subtracts_mean;  ///< else it divides by the root of the mean square
  float* to;
};

/// Rows of values computed from two or three each, in rows one after the other.
struct BroadcastTask {
  BroadcastKind kind;
  const float* operands[3];
  std::int64_t steps[3];      ///< floats from a value to the next in its row
  std::int64_t row_steps[3];  ///< from a row to the next
  std::int64_t count;         ///< of a row
  std::int64_t rows;
  float* to;
};

/// Vectors of channels whose lanes are from those of several others, at each pixel.
struct GatherTask {
  const float* const* inputs;      ///< of each of them, the first pixel
  const std::int64_t* input_rows;  ///< floats from a row to the next
  /// [input][lane]: from `lanes` on a place in this input; below, one in what was gathered of those
  /// before it, at first zeros.
  const std::int32_t* places;
  std::int32_t count;  ///< of inputs
  std::int32_t columns;
  std::int32_t rows;
  float* output;
  std::int64_t output_row;
};

struct Kernels {
  const char* name;    ///< as LENET_NATIVE_ISA has it
  std::int32_t lanes;  ///< floats of a vector
  std::int32_t registers;
  /// How many windows, or pairs of columns that are pooled, conv_interleaved computes together with
  /// `tile` channels.
  int (*widest)(std::int32_t tile, bool pool);

  /// How many of `left` vectors of channels fully_connected computes together.
  int (*dense_vectors)(int left);

  /// Vectors of output channels. Weights: blocks of two vectors, or the last one, each
  /// [tap][block]; the channels padded with zeros.
  void (*conv_channels)(const ConvTask& task);
  /// Windows as large as the image, which are those of different images: in one row. Weights: as
  /// above, but blocks of as many vectors as `dense_vectors` says.
  void (*fully_connected)(const ConvTask& task);
  /// Vectors of images (interleaved). Weights: tiles of `tile` channels, the last filled up, each
  /// [tap][tile]; the output's channels are written as they are.
  void (*conv_interleaved)(const ConvTask& task);
  /// Vectors of windows side by side; input and output planar, `input_column` 1. Reads and writes
  /// up to whole vectors beyond the last column. Weights as conv_interleaved. Null of one lane.
  void (*conv_columns)(const ConvTask& task);
  /// Vectors of output channels, of groups that are not whole vectors.
  void (*conv_grouped)(const GroupedTask& task);
  /// One image, blocks of a vector of channels; null where the vectors are too short for it to pay.
  /// Reads up to a whole vector beyond the last column.
  void (*winograd_channels)(const WinogradTask& task);
  /// Interleaved images, blocks of `winograd_group` channels; null as above.
  void (*winograd_interleaved)(const WinogradTask& task);
  std::int32_t winograd_group;
  /// One image, as conv_columns, and interleaved images, by blocks of kWinogradRowGroup channels;
  /// null as above.
  void (*winograd_rows)(const WinogradTask& task);
  void (*winograd_rows_interleaved)(const WinogradTask& task);
  /// Null where the vectors are too short for it to pay.
  void (*winograd3x3)(const Winograd3x3Task& task);
  /// Floats of scratch memory that it needs for any number of images.
  std::int64_t (*winograd3x3_scratch)(const Winograd3x3Task& task);
  void (*pool)(const PoolTask& task);
  void (*resize)(const ResizeTask& task);
  void (*combine)(const CombineTask& task);
  /// The function of each of `count` values, a multiple of `lanes`; `to` may be `from`.
  void (*activate)(const Activation& of, const float* from, float* to, std::int64_t count);
  /// What the processor does at most: so many steps of multiply-adds on registers only.
  /// \returns how many they were
  double (*multiply_adds)(std::int64_t steps);
  /// images[l][i] to output[i * step + l], for i below `count` and l below `lanes`.
  void (*interleave)(const float* const* images, std::int64_t count, float* output,
                     std::int64_t step);
  void (*gather)(const GatherTask& task);
  void (*softmax)(const AxisTask& task);
  void (*softmax_scores)(const ScoresTask& task);
  /// Sum, mean, largest, least, sum of squares and its root: the sums in double.
  void (*reduce)(ReduceKind kind, const AxisTask& task);
  void (*normalize)(const NormalizeTask& task);
  void (*broadcast)(const BroadcastTask& task);
};

/// What multiplies numbers of bf16, beside the kernels of float32 of the same lanes. Inputs and
/// weights are pairs, each in the place of a float: where the kernel of Kernels has a tap or an
/// input channel, these have two. Sums, and what is added to them, are float32.
struct Bf16Kernels {
  const char* name;  ///< of the instruction set
  void (*conv_channels)(const ConvTask& task);
  void (*fully_connected)(const ConvTask& task);  ///< in blocks of `dense_vectors` as well
  /// What conv_channels computes, by tiles (tiles.h). Taps are chunks of 16 pairs side by side, of
  /// which `offsets` has the first, in numbers. Weights: blocks of one vector. Null where there are
  /// no tiles.
  void (*conv_tiles)(const ConvTask& task);
  /// In tiles of 2 x 4 outputs. Inputs and weights are float32 as in Kernels; input channels are
  /// filled up to pairs of kWinograd3x3Channels.
  void (*winograd3x3)(const Winograd3x3Task& task);
  std::int64_t (*winograd3x3_scratch)(const Winograd3x3Task& task);
  /// Pairs of neighbours, of whole vectors. \param step floats' places from a vector's to the next
  void (*pair_neighbours)(const float* from, std::int64_t count, float* to, std::int64_t step);
  /// Pairs of numbers at the same place. Reads and writes up to whole vectors. \param step floats'
  ///   places from a pair to the next
  void (*pair_rows)(const float* low, const float* high, std::int64_t count, float* to,
                    std::int64_t step);
  double (*multiply_adds)(std::int64_t steps);  ///< as above
};

extern const Kernels kScalar;
#if defined(__x86_64__)
extern const Kernels kSse42;
extern const Kernels kAvx2;
extern const Kernels kAvx512;
extern const Bf16Kernels kAvx512Bf16;
extern const Bf16Kernels kAmxBf16;
extern const Bf16Kernels kPlainTilesBf16;  ///< kAmxBf16 with loops for the tiles, for tests
#elif defined(__aarch64__)
extern const Kernels kNeon;
#elif defined(__wasm_simd128__)
extern const Kernels kSimd128;
#endif

}  // namespace lenet::native

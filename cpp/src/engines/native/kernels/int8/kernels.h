/// The arithmetic of quantized layers, written once over vectors (implementation.h) and built for
/// each instruction set. ../dispatch.h chooses among them.
///
/// A quantized activation is an integer from -128 to 127, or from 0 to 255 less 128. It is
/// stored as an element, of which as many as 32 bits hold are multiplied by weights and summed by
/// one instruction:
///   - of processors with AVX-512 VNNI a byte, with 128 added, four together;
///   - of ARM's with dot products a byte, four together;
///   - of others a number of 16 bits, two together (four bytes would saturate).
/// Channels last: [height][width][channels], with a border of zeros where a convolution pads.
///
/// Sums are exact in 32 bits; what is done in floating point afterwards is one multiplication, one
/// addition and one rounding, to even, for each stage in every set. So all sets give the same bits.
///
/// This header is included by files that are compiled for processors that may not be at hand: it
/// must hold no inline function, nor include a header that does.
#pragma once

#include <cstdint>

#include "engines/native/kernels/kernels.h"

namespace lenet::native::int8 {

/// How integers, sums or what the stage before gave, become others: multiplied, added to,
/// clipped and rounded.
struct Stage {
  const float* factor;  ///< of each channel: integer * factor + addend
  const float* addend;
  float residual;  ///< times the elements of the residual, less its zero, is added; 0: it is not
  float least;     ///< an integer, but of a last stage that does not round
  float most;
  bool exceeds;  ///< values may be more than 32 bits hold, or than `most`, which is not the largest
};

/// Sides of an image.
struct Sides {
  bool top;
  bool bottom;
  bool left;
  bool right;
};

/// Windows over one image; or a fully connected layer over several images, which are its columns.
/// conv_columns takes an image of one channel, and gives few channels.
struct ConvTask {
  const void* input;  ///< elements: the first tap of the first window
  /// How far each group of taps lies from the first one, in elements. The offsets of conv_columns
  /// are in `planes`.
  const std::int32_t* offsets;
  std::int32_t groups;  ///< of as many taps as are multiplied together
  /// Groups of a row of taps, where the next row's lie `input_row` further; else 0.
  std::int32_t row_groups;
  std::int64_t input_column;  ///< elements from a window to the next in its row
  std::int64_t input_row;
  const std::int32_t* weights;  ///< groups of them, packed as the kernel asks for
  const std::int32_t* start;  ///< of each channel's sum: what is added to or taken off its elements
  const Stage* stages;
  std::int32_t stage_count;  ///< at least 1
  std::int32_t shift;        ///< taken off what the last stage gives
  const void* residual;      ///< elements, where a stage adds them; not of a pool
  std::int64_t residual_column;
  std::int64_t residual_row;
  std::int32_t residual_zero;  ///< the element that stands for 0, as a signed number
  void* output;                ///< elements; float32 when `floats`
  std::int64_t output_column;
  std::int64_t output_row;
  std::int32_t columns;
  std::int32_t rows;
  std::int32_t channels;  ///< of the output
  std::int32_t tile;      ///< vectors of channels computed together, a power of 2
  bool pool;  ///< give the largest of each 2 x 2 sums; rows and columns are even, factors positive
  bool floats;  ///< the last stage does not round
  bool spare;   ///< whole vectors may be written where the last channel is
  /// Sides at which the outermost taps of the outermost windows read the border, whose elements are
  /// all the same: conv_channels may add `border` in their place. Where there is one, groups are
  /// [row of taps][column of taps][group of a tap].
  Sides padded;
  const std::int32_t* border;  ///< what taps add that read it: [block of channels][tap][place]
  std::int32_t tap_rows;
  std::int32_t tap_columns;

  // conv_columns alone uses what follows.
  /// Memory for groups of taps: rows for taps one below the other, then rows, from the image's
  /// `first_wide_row` on, for taps side by side. Each has a group of taps for every column.
  std::int32_t* planes;
  std::int32_t plane_row;      ///< groups from a row to the next
  std::int32_t plane_columns;  ///< that are read
  std::int32_t tall_rows;
  std::int32_t wide_rows;
  std::int32_t first_wide_row;
};

constexpr std::int32_t kDepthwiseBlock = 64;

struct Kernels {
  const char* name;     ///< as LENET_NATIVE_ISA has it
  std::int32_t lanes;   ///< numbers of 32 bits in a vector
  std::int32_t bytes;   ///< of an element
  std::int32_t zero;    ///< the element that stands for 0, and for 128 where that was taken off
  std::int32_t widest;  ///< `tile` of a convolution
  std::int32_t widest_linear;

  /// Computes vectors of output channels. Weights, factors and so on are in blocks of `tile`
  /// vectors; what is left is in blocks of the largest power of 2 that fits. Each block is
  /// [group][block], and the channels are padded with zeros.
  void (*conv_channels)(const ConvTask& task);
  /// Computes what conv_channels does by tiles (../tiles.h), for one row or many, without a pool.
  /// `offsets` has one entry for 16 groups, whose elements lie side by side; `tile` is 1. The
  /// pointer is null where the processor has no tiles.
  void (*conv_tiles)(const ConvTask& task);
  /// Computes what conv_channels does for one row of windows that share no inputs: the images of a
  /// batch. There is no pool and no residual, and tiles have up to `widest_linear` vectors.
  void (*fully_connected)(const ConvTask& task);
  /// Computes each channel from the one in its place. A group is one tap, whose weight is the first
  /// element. There is no pool.
  void (*depthwise)(const ConvTask& task);
  /// Computes what `depthwise` does for windows of 3 x 3 without dilation along the rows, 1 or 2
  /// columns apart, and for at least 64 channels, which are rounded. There is no residual. A group
  /// is a column of taps, and `offsets` are those of all nine taps. Weights, factors and so on are
  /// in blocks of kDepthwiseBlock channels, of which the last one ends with the channels. Vector v
  /// of a block has the channels 16 i + 4 v to 16 i + 4 v + 3, for i from 0 to 3. The pointer is
  /// null where there is no such kernel.
  void (*depthwise3x3)(const ConvTask& task);
  /// Computes vectors of columns. It reads and writes `planes` up to two vectors beyond the last
  /// column. Weights are in tiles of channels, each [group][channel]. The pointer is null for
  /// vectors of one lane.
  void (*conv_columns)(const ConvTask& task);
  /// How many of so many channels conv_columns takes together.
  std::int32_t (*columns_tile)(std::int32_t channels);
  void (*pool)(const PoolTask& task);
  /// Measures the processor, as the function of this name in ../kernels.h does.
  double (*multiply_adds)(std::int64_t steps);
  /// values / scale, from `least` to `most`, rounded, less `shift`.
  void (*quantize)(const float* from, std::int64_t count, float scale, float least, float most,
                   std::int32_t shift, void* to);
  /// (elements + shift) * step
  void (*dequantize)(const void* from, std::int64_t count, float step, std::int32_t shift,
                     float* to);
};

extern const Kernels kScalar;
#if defined(__x86_64__)
extern const Kernels kSse42;
extern const Kernels kAvx2;
extern const Kernels kAvx512Vnni;
extern const Kernels kAmx;
extern const Kernels kPlainTiles;  ///< kAmx with loops for the tiles, for tests
#elif defined(__aarch64__)
extern const Kernels kNeon;
extern const Kernels kNeonDotprod;
#endif

}  // namespace lenet::native::int8

/// The kernels of one instruction set, compiled for it with what vectors.h asks for, LENET_KERNELS
/// (the table's name) and LENET_NAME, and without contraction of products and sums, so that all
/// sets round alike.
#include "engines/native/kernels/int8/kernels.h"
#include "engines/native/kernels/int8/vectors.h"
#if LENET_LANES == 16
#include "engines/native/kernels/tiles.h"
#endif

namespace lenet::native::int8 {
namespace {

/// The element that stands for 0: it is in the middle of those without a sign.
constexpr int kZero = static_cast<Element>(-1) > 0 ? 128 : 0;
/// Added to a number from -2^22 to 2^22 it leaves the number, rounded to even, in the lowest bits.
constexpr float kRounder = 12582912;  // 1.5 * 2^23
constexpr std::int32_t kRounderBits = 0x4B400000;

/// A group of taps, in every lane.
inline Ints group(const Element* from) {
  std::int32_t bits;
  __builtin_memcpy(&bits, from, sizeof(bits));
  return all(bits);
}

/// Clipped and rounded; `smallest` where it is NaN.
inline Ints whole(Floats value, float smallest, float largest) {
  const Floats low = larger(value, all(smallest));
  const Floats clipped = low < all(largest) ? low : all(largest);
  return reinterpret_cast<Ints>(clipped + all(kRounder)) - kRounderBits;
}
inline Floats floats(Ints values) { return __builtin_convertvector(values, Floats); }

template <class Number>
inline void store_some(Number* to, typename Lanes<Number>::Vector value, int count) {
  if (count >= kLanes) {
    store(to, value);
#if LENET_LANES == 16
  } else if constexpr (sizeof(Number) == 1) {
    store_first(to, value, count);
#endif
  } else {
    Number values[kLanes];
    store(values, value);
    for (int i = 0; i < count; ++i) to[i] = values[i];
  }
}

inline Floats scaled(Ints values, const Stage& stage, int channel) {
  return floats(values) * load(stage.factor + channel) + load(stage.addend + channel);
}
inline Floats clipped(Floats value, const Stage& stage) {
  return smaller(all(stage.most), larger(all(stage.least), value));
}

/// Tells where a tile begins, and how many elements lie between its first row and its second.
struct Tile {
  const Element* input;
  std::int64_t input_apart;
  std::int64_t output;
  std::int64_t output_apart;
  std::int64_t residual;
  std::int64_t residual_apart;
  /// For an image, the weights to bring into the second-level cache: with each group of taps those
  /// of a vector of channels for one group.
  const std::int32_t* next = nullptr;
  bool pairs = false;  ///< of two rows of windows, not of two halves of one row
  Sides padded = {};   ///< those of the task that it is at; left and right not of halves
};

#include "engines/native/kernels/int8/finish.h"

enum class Side { None, Top, Bottom, Left, Right, All };
template <Side At>
struct Without {
  static constexpr Side value = At;
};
/// Whether a window is at that side of a tile.
template <Side At, int Rows, int Columns>
constexpr bool is_at(int r, int c) {
  return At == Side::All || (At == Side::Top && r == 0) || (At == Side::Bottom && r == Rows - 1) ||
         (At == Side::Left && c == 0) || (At == Side::Right && c == Columns - 1);
}

/// Adds the products of the windows at `at` and some weights to the sums of each row of windows.
/// \tparam LeftOut the side of the tile whose windows are left out
template <Side LeftOut = Side::None, int Block, int Rows, int Columns>
inline void add_products(const Element* at, std::int64_t row, std::int64_t column,
                         const std::int32_t* weights, Ints (&sums)[Rows][Columns][Block]) {
  if constexpr (Block > Columns * Rows) {
    Ints values[Rows][Columns];
    unrolled<Rows, Columns>([&](int r, int c) { values[r][c] = group(at + r * row + c * column); });
    static_assert(LeftOut == Side::None);
    unrolled<Block>([&](int b) {
      const Ints weight = load(weights + b * kLanes);
      unrolled<Rows, Columns>(
          [&](int r, int c) { sums[r][c][b] = dot(sums[r][c][b], values[r][c], weight); });
    });
  } else {
    Ints weight[Block];
    unrolled<Block>([&](int b) { weight[b] = load(weights + b * kLanes); });
    unrolled<Rows, Columns>([&](int r, int c) {
      if (is_at<LeftOut, Rows, Columns>(r, c)) return;
      const Ints value = group(at + r * row + c * column);
      unrolled<Block>([&](int b) { sums[r][c][b] = dot(sums[r][c][b], value, weight[b]); });
    });
  }
}

/// Two rows of windows that lie one row of the image apart: what both read is read once.
/// \tparam First, Last whether the first, and the last, of the two sees this row of the image
template <bool First, bool Last, int Block, int Columns>
inline void add_row(const ConvTask& task, const Element* input, const std::int32_t* offsets,
                    const std::int32_t* weights, Ints (&sums)[2][Columns][Block]) {
  const std::int32_t apart = task.row_groups * Block * kLanes;
  const std::int64_t column = task.input_column;
  for (std::int32_t g = 0; g < task.row_groups; ++g, weights += Block * kLanes) {
    const Element* at = input + offsets[g];
    Ints weight[2][Block];
    unrolled<Block>([&](int b) {
      if (First) weight[0][b] = load(weights + b * kLanes);
      if (Last) weight[1][b] = load(weights - apart + b * kLanes);
    });
    unrolled<Columns>([&](int c) {
      const Ints value = group(at + c * column);
      unrolled<Block>([&](int b) {
        if (First) sums[0][c][b] = dot(sums[0][c][b], value, weight[0][b]);
        if (Last) sums[1][c][b] = dot(sums[1][c][b], value, weight[1][b]);
      });
    });
  }
}

template <int Block, int Columns>
inline void add_rows(const ConvTask& task, const std::int32_t* weights, const Element* input,
                     Ints (&sums)[2][Columns][Block]) {
  const std::int32_t step = task.row_groups;
  const std::int32_t* offsets = task.offsets;
  add_row<true, false>(task, input, offsets, weights, sums);
  for (std::int32_t g = step; g < task.groups; g += step) {
    offsets += step;
    weights += static_cast<std::int64_t>(step) * Block * kLanes;
    add_row<true, true>(task, input, offsets, weights, sums);
  }
  // The row behind the last that `offsets` knows.
  weights += static_cast<std::int64_t>(step) * Block * kLanes;
  add_row<false, true>(task, input + task.input_row, offsets, weights, sums);
}

template <int Block, int Rows, int Columns>
void channels_tile(const ConvTask& task, const std::int32_t* weights, int channel,
                   const Element* input, std::int64_t pixel) {
  Ints sums[Rows][Columns][Block];
  unrolled<Rows, Columns, Block>(
      [&](int r, int c, int b) { sums[r][c][b] = load(task.start + channel + b * kLanes); });
  if (Rows == 2 && task.row_groups > 0) {
    if constexpr (Rows == 2) add_rows(task, weights, input, sums);
  } else {
    const std::int32_t groups = task.groups;
    for (std::int32_t g = 0; g < groups; ++g, weights += Block * kLanes) {
      add_products(input + task.offsets[g], task.input_row, task.input_column, weights, sums);
    }
  }
  Ints results[Columns / Rows][Block];
  unrolled<Columns / Rows, Block>([&](int c, int b) {
    results[c][b] = sums[0][c][b];
    if constexpr (Rows == 2) {
      results[c][b] = larger(larger(sums[0][2 * c][b], sums[0][2 * c + 1][b]),
                             larger(sums[1][2 * c][b], sums[1][2 * c + 1][b]));
    }
  });
  finish_tile<false>(task, &results[0][0], 1, Columns / Rows, Block, channel,
                     {nullptr, 0, pixel, 0, 0, 0});
}

/// Windows side by side, or pairs of them that are pooled, that are computed together.
constexpr int widest_row(int block, int rows) {
  const int sums = kLanes == 1 ? 4 : kRegisters >= 32 ? 24 : 10;
  return most(1, least(12, sums / (block * rows * rows)));
}

template <int Block, int Rows>
void channels_block(const ConvTask& task, const std::int32_t* weights, int channel) {
  constexpr int kMaxUnits = widest_row(Block, Rows);
  const auto* input = static_cast<const Element*>(task.input);
  for (std::int32_t y = 0; y < task.rows / Rows; ++y) {
    for_even_parts(task.columns / Rows, kMaxUnits, [&](int unit, int width) {
      const auto tile = for_count<kMaxUnits>(
          width, [](auto units) { return channels_tile<Block, Rows, Rows * units.value>; });
      tile(task, weights, channel, input + Rows * (y * task.input_row + unit * task.input_column),
           y * task.output_row + unit * task.output_column);
    });
  }
}

/// Calls `compute(block, weights, channel)` for the vectors of channels, block after block.
template <class Compute>
inline void for_blocks(const ConvTask& task, const Compute& compute) {
  const std::int32_t* weights = task.weights;
  int left = (task.channels + kLanes - 1) / kLanes;
  int block = task.tile;
  for (int channel = 0; left > 0; left -= block, channel += block * kLanes) {
    while (block > left) block /= 2;
    compute(block, weights, channel);
    weights += static_cast<std::int64_t>(task.groups) * block * kLanes;
  }
}

void fully_connected(const ConvTask& task) {
  for_blocks(task, [&](int block, const std::int32_t* weights, int channel) {
    const auto compute = for_one_of<8, 4, 2, 1>(
        block, [](auto vectors) { return channels_block<vectors.value, 1>; });
    compute(task, weights, channel);
  });
}

#include "engines/native/kernels/int8/columns.h"
#include "engines/native/kernels/int8/images.h"

/// Calls `work(Constant<vectors>, channel)` for the vectors of channels, several at once while
/// there are so many; the last one begins where it ends with them, if they fill one.
template <class Work>
inline void for_vectors(int channels, const Work& work) {
  constexpr int kAtOnce = 4;
  int c = 0;
  for (; c + kAtOnce * kLanes <= channels; c += kAtOnce * kLanes) work(Constant<kAtOnce>{}, c);
  for (; c < channels; c += kLanes) work(Constant<1>{}, most(0, least(c, channels - kLanes)));
}

/// Calls `work(pixel)` for each of a window.
template <class Work>
inline void for_window(const PoolTask& task, std::int32_t y, std::int32_t x, const Work& work) {
  for (std::int32_t i = task.row_begin[y]; i < task.row_end[y]; ++i) {
    const auto* at = static_cast<const Element*>(task.input) + i * task.input_row;
    for (std::int32_t j = task.column_begin[x]; j < task.column_end[x]; ++j) {
      work(at + j * task.input_column);
    }
  }
}

void largest_of(const PoolTask& task, std::int32_t y, std::int32_t x, Element* output) {
  const auto lowest = static_cast<Element>(task.relu ? task.mean.zero : kZero - 128);
  for_vectors(task.values, [&](auto vectors, int c) {
    constexpr int kVectors = decltype(vectors)::value;
    Elements found[kVectors];
    unrolled<kVectors>([&](int v) { found[v] = lowest - Elements{}; });
    for_window(task, y, x, [&](const Element* pixel) {
      unrolled<kVectors>([&](int v) { found[v] = larger(found[v], load(pixel + c + v * kLanes)); });
    });
    unrolled<kVectors>([&](int v) {
      store_some(output + c + v * kLanes, found[v], task.values - c - v * kLanes);
    });
  });
}

void mean_of(const PoolTask& task, std::int32_t y, std::int32_t x, std::int64_t place) {
  const IntMean& mean = task.mean;
  const float size = task.row_size[y] * task.column_size[x];
  const int pixels =
      (task.row_end[y] - task.row_begin[y]) * (task.column_end[x] - task.column_begin[x]);
  // For a power of 2, a product gives the same as a division, in a tenth of the time.
  const bool divides = (static_cast<int>(size) & (static_cast<int>(size) - 1)) != 0;
  for_vectors(task.values, [&](auto vectors, int c) {
    constexpr int kVectors = decltype(vectors)::value;
    Ints sums[kVectors];
    unrolled<kVectors>([&](int v) { sums[v] = all(-pixels * mean.zero); });
    for_window(task, y, x, [&](const Element* pixel) {
      unrolled<kVectors>([&](int v) { sums[v] += signed_of(widened(pixel + c + v * kLanes)); });
    });
    unrolled<kVectors>([&](int v) {
      const Floats total = floats(sums[v]) * all(mean.step);
      const Floats value = divides ? total / all(size) : total * all(1 / size);
      const int channel = c + v * kLanes;
      const int count = task.values - channel;
      if (mean.inverse == 0) {
        const Floats found = task.relu ? larger(value, Floats{}) : value;
        store_some(static_cast<float*>(task.output) + place + channel, found, count);
      } else {
        const Ints found = whole(value * all(mean.inverse), mean.least, mean.most);
        store_some(static_cast<Element*>(task.output) + place + channel,
                   narrowed(found + (kZero - mean.shift)), count);
      }
    });
  });
}

void pool(const PoolTask& task) {
  for (std::int32_t y = 0; y < task.rows; ++y) {
    for (std::int32_t x = 0; x < task.columns; ++x) {
      const std::int64_t place = y * task.output_row + x * task.output_column;
      if (task.average) {
        mean_of(task, y, x, place);
      } else {
        largest_of(task, y, x, static_cast<Element*>(task.output) + place);
      }
    }
  }
}

double multiply_adds(std::int64_t steps) {
  const Ints weights = all(0x01010101);
  return kLanes * kPerGroup *
         repeat_in_registers<std::int32_t>(steps, [&](Ints sum) { return dot(sum, sum, weights); });
}

void quantize(const float* from, std::int64_t count, float scale, float smallest, float largest,
              std::int32_t shift, void* to) {
  auto* elements = static_cast<Element*>(to);
  const auto of = [&](Floats values) {
    return narrowed(whole(values / all(scale), smallest, largest) + (kZero - shift));
  };
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(elements + i, of(load(from + i)));
  if (i == count) return;
  if (count >= kLanes) {  // some of them again
    const std::int64_t last = count - kLanes;
    store(elements + last, of(load(from + last)));
    return;
  }
  Floats rest{};
  for (int l = 0; l < count; ++l) rest[l] = from[l];
  const Elements found = of(rest);
  for (int l = 0; l < count; ++l) elements[l] = found[l];
}

void dequantize(const void* from, std::int64_t count, float step, std::int32_t shift, float* to) {
  const auto* elements = static_cast<const Element*>(from);
  for (std::int64_t i = 0; i < count; ++i) {
    to[i] = static_cast<float>(static_cast<int>(elements[i]) - kZero + shift) * step;
  }
}

constexpr Kernels kernels_of(const char* name, void (*tiles)(const ConvTask&),
                             double (*limit)(std::int64_t)) {
  return {
      name,
      kLanes,
      sizeof(Element),
      kZero,
      kMaxBlock,
      kLanes == 1        ? 1
      : kRegisters >= 32 ? 8
                         : 4,
      conv_channels,
      tiles,
      fully_connected,
      depthwise,
      depthwise3x3,
      kLanes > 1 ? conv_columns : nullptr,
      columns_tile_of,
      pool,
      limit,
      quantize,
      dequantize,
  };
}

}  // namespace

const Kernels LENET_KERNELS = kernels_of(LENET_NAME, nullptr, multiply_adds);
#if LENET_LANES == 16
const Kernels kAmx = kernels_of("amx", conv_tiles<AmxTiles>, amx_multiply_adds);
const Kernels kPlainTiles = kernels_of("plain", conv_tiles<PlainTiles>, multiply_adds);
#endif

}  // namespace lenet::native::int8

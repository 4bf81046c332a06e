/// The kernels of one instruction set, compiled for it with what vectors.h asks for, LENET_KERNELS
/// (the table's name) and LENET_NAME, and without contraction of products and sums, so that all
/// sets round alike.
#include "engines/native/int8/kernels.h"
#include "engines/native/int8/vectors.h"

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

/// Of `columns` pixels side by side, each with `block` vectors of channels from `channel` on. Apart
/// from the tiles, of which there are many.
__attribute__((noinline)) void finish_tile(const ConvTask& task, const Ints* sums, int columns,
                                           int block, int first, std::int64_t pixel) {
  const Stage* const last = task.stages + task.stage_count - 1;
  for (int c = 0; c < columns; ++c, pixel += task.output_column) {
    for (int b = 0; b < block; ++b, ++sums) {
      const int channel = first + b * kLanes;
      const int count = task.spare ? kLanes : task.channels - channel;
      Ints sum = *sums;
      for (const Stage* stage = task.stages; stage < last; ++stage) {
        sum = whole(scaled(sum, *stage, channel), stage->least, stage->most);
      }
      const Floats value = scaled(sum, *last, channel);
      if (task.floats) {
        store_some(static_cast<float*>(task.output) + pixel + channel, clipped(value, *last),
                   count);
      } else {
        sum = whole(value, last->least, last->most);
        store_some(static_cast<Element*>(task.output) + pixel + channel,
                   narrowed(sum + (kZero - task.shift)), count);
      }
    }
  }
}

/// Adds the products of the windows at `at` and some weights to the sums of each row of windows.
template <int Block, int Rows, int Columns>
inline void add_products(const Element* at, std::int64_t row, std::int64_t column,
                         const std::int32_t* weights, Ints (&sums)[Rows][Columns][Block]) {
  if constexpr (Block > Columns * Rows) {
    Ints values[Rows][Columns];
    unrolled<Rows, Columns>([&](int r, int c) { values[r][c] = group(at + r * row + c * column); });
    unrolled<Block>([&](int b) {
      const Ints weight = load(weights + b * kLanes);
      unrolled<Rows, Columns>(
          [&](int r, int c) { sums[r][c][b] = dot(sums[r][c][b], values[r][c], weight); });
    });
  } else {
    Ints weight[Block];
    unrolled<Block>([&](int b) { weight[b] = load(weights + b * kLanes); });
    unrolled<Rows, Columns>([&](int r, int c) {
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
  finish_tile(task, &results[0][0], Columns / Rows, Block, channel, pixel);
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

// ---- images

/// Windows of two rows, or of two halves of one row, or of one row.
constexpr int kRowsOfTile = kRegisters >= 32 ? 2 : 1;
constexpr int kMaxBlock = kLanes == 1 ? 1 : 2;
/// Windows of each of them. Weights, a value and a product need registers too.
constexpr int kMaxColumns = kLanes == 1 ? 4 : kRegisters >= 32 ? 7 : 5;

/// Where a tile begins, and elements from its first row to its second.
struct Tile {
  const Element* input;
  std::int64_t input_apart;
  std::int64_t output;
  std::int64_t output_apart;
  std::int64_t residual;
  std::int64_t residual_apart;
};

/// The integers of a residual.
inline Ints signed_of(Ints bits) {
  constexpr int kUnused = 32 - 8 * sizeof(Element);
  return kZero > 0 ? bits : (bits << kUnused) >> kUnused;
}

/// What becomes of sums, which stay in registers.
template <int Block, int Rows, int Columns>
inline __attribute__((always_inline)) void give(const ConvTask& task, const Tile& tile, int first,
                                                Ints (&sums)[Rows][Columns][Block]) {
  const Stage* stage = task.stages;
  Floats values[Rows][Columns][Block];
  const auto scale = [&] {
    unrolled<Block>([&](int b) {
      const Floats factor = load(stage->factor + first + b * kLanes);
      const Floats addend = load(stage->addend + first + b * kLanes);
      unrolled<Rows, Columns>(
          [&](int r, int c) { values[r][c][b] = floats(sums[r][c][b]) * factor + addend; });
    });
    if (stage->residual == 0) return;
    const auto* from = static_cast<const Element*>(task.residual) + tile.residual + first;
    const Floats factor = all(stage->residual);
    unrolled<Rows, Columns, Block>([&](int r, int c, int b) {
      const Ints added = signed_of(
          widened(from + r * tile.residual_apart + c * task.residual_column + b * kLanes));
      values[r][c][b] += floats(added - task.residual_zero) * factor;
    });
  };
  scale();
  for (int s = 1; s < task.stage_count; ++s, scale()) {
    unrolled<Rows, Columns, Block>([&](int r, int c, int b) {
      sums[r][c][b] = whole(values[r][c][b], stage->least, stage->most);
    });
    ++stage;
  }
  const std::int64_t output = tile.output + first;
  const auto place = [&](int r, int c, int b) {
    return output + r * tile.output_apart + c * task.output_column + b * kLanes;
  };
  if (task.floats) {
    auto* const to = static_cast<float*>(task.output);
    unrolled<Rows, Columns, Block>([&](int r, int c, int b) {
      store_some(to + place(r, c, b), clipped(values[r][c][b], *stage),
                 task.channels - first - b * kLanes);
    });
    return;
  }
  auto* const to = static_cast<Element*>(task.output);
#if LENET_LANES == 16
  const Floats highest = all(stage->most);
  const int lowest = static_cast<int>(stage->least) + kZero - task.shift;
  constexpr int kVectors = Rows * Columns * Block;
  const auto vector = [&](int i) {
    const int v = least(i, kVectors - 1);
    return rounded(smaller(highest, values[v / (Columns * Block)][v / Block % Columns][v % Block]));
  };
  unrolled<(kVectors + 3) / 4>([&](int g) {
    const auto packed = narrowed(vector(4 * g), vector(4 * g + 1), vector(4 * g + 2),
                                 vector(4 * g + 3), kZero - task.shift, lowest);
    unrolled<4>([&](int k) {
      const int v = 4 * g + k;
      if (v >= kVectors) return;
      const int b = v % Block;
      store_some(to + place(v / (Columns * Block), v / Block % Columns, b), packed.vectors[k],
                 task.channels - first - b * kLanes);
    });
  });
#else
  unrolled<Rows, Columns, Block>([&](int r, int c, int b) {
    const Ints value = whole(values[r][c][b], stage->least, stage->most);
    store_some(to + place(r, c, b), narrowed(value + (kZero - task.shift)),
               task.channels - first - b * kLanes);
  });
#endif
}

template <int Block, int Rows, int Columns>
void image_tile(const ConvTask& task, const std::int32_t* weights, int channel, const Tile& tile) {
  Ints sums[Rows][Columns][Block];
  unrolled<Block>([&](int b) {
    const Ints start = load(task.start + channel + b * kLanes);
    unrolled<Rows, Columns>([&](int r, int c) { sums[r][c][b] = start; });
  });
  const std::int32_t groups = task.groups;
  for (std::int32_t g = 0; g < groups; ++g, weights += Block * kLanes) {
    add_products(tile.input + task.offsets[g], tile.input_apart, task.input_column, weights, sums);
  }
  give(task, tile, channel, sums);
}

/// Of each channel by itself.
template <int Block, int Rows, int Columns>
void depthwise_tile(const ConvTask& task, const std::int32_t* weights, int channel,
                    const Tile& tile) {
  Ints sums[Rows][Columns][Block];
  unrolled<Block>([&](int b) {
    const Ints start = load(task.start + channel + b * kLanes);
    unrolled<Rows, Columns>([&](int r, int c) { sums[r][c][b] = start; });
  });
  const std::int32_t taps = task.groups;
  const Element* const input = tile.input + channel;
  for (std::int32_t t = 0; t < taps; ++t, weights += Block * kLanes) {
    const Element* const at = input + task.offsets[t];
    unrolled<Block>([&](int b) {
      const Ints weight = load(weights + b * kLanes);
      unrolled<Rows, Columns>([&](int r, int c) {
        const Ints value = widened(at + r * tile.input_apart + c * task.input_column + b * kLanes);
        sums[r][c][b] = dot(sums[r][c][b], value, weight);
      });
    });
  }
  give(task, tile, channel, sums);
}

using TileFunction = void(const ConvTask&, const std::int32_t*, int, const Tile&);

/// Calls the tile of `choose(columns)` for all windows.
template <class Choose>
inline void for_tiles(const ConvTask& task, const std::int32_t* weights, int channel,
                      const Choose& choose) {
  int rows = task.rows;
  int columns = task.columns;
  if (task.input_row == columns * task.input_column &&
      task.output_row == columns * task.output_column &&
      (task.residual == nullptr || task.residual_row == columns * task.residual_column)) {
    columns *= rows;  // one follows the other
    rows = 1;
  }
  for (int y = 0; y < rows;) {
    const bool pairs = kRowsOfTile == 2 && columns <= kMaxColumns && rows - y > 1;
    for_even_parts(columns, pairs ? kMaxColumns : kRowsOfTile * kMaxColumns, [&](int x, int size) {
      const int width = pairs ? size : (size + kRowsOfTile - 1) / kRowsOfTile;
      const auto at = [&](std::int64_t row, std::int64_t column) { return y * row + x * column; };
      const auto apart = [&](std::int64_t row, std::int64_t column) {
        return pairs ? row : (size - width) * column;
      };
      choose(width)(
          task, weights, channel,
          {static_cast<const Element*>(task.input) + at(task.input_row, task.input_column),
           apart(task.input_row, task.input_column), at(task.output_row, task.output_column),
           apart(task.output_row, task.output_column), at(task.residual_row, task.residual_column),
           apart(task.residual_row, task.residual_column)});
    });
    y += pairs ? 2 : 1;
  }
}

template <int Block>
TileFunction* image_tile_of(int columns) {
  return for_count<kMaxColumns>(columns, [](auto width) -> TileFunction* {
    return image_tile<Block, kRowsOfTile, width.value>;
  });
}

TileFunction* depthwise_tile_of(int columns) {
  return for_count<kMaxColumns>(columns, [](auto width) -> TileFunction* {
    return depthwise_tile<1, kRowsOfTile, width.value>;
  });
}

void conv_channels(const ConvTask& task) {
  for_blocks(task, [&](int block, const std::int32_t* weights, int channel) {
    if (task.pool) {
      (block == 2 ? channels_block<2, 2> : channels_block<1, 2>)(task, weights, channel);
    } else {
      for_tiles(task, weights, channel, block == 2 ? image_tile_of<kMaxBlock> : image_tile_of<1>);
    }
  });
}

void depthwise(const ConvTask& task) {
  for_blocks(task, [&](int, const std::int32_t* weights, int channel) {
    for_tiles(task, weights, channel, depthwise_tile_of);
  });
}

#if LENET_LANES == 16
/// 64 channels of windows side by side.
template <int Stride, int Columns>
void depthwise3x3_tile(const ConvTask& task, const std::int32_t* weights, int place,
                       const Element* input, Element* output) {
  const std::int64_t pixel = task.offsets[1];
  Ints sums[Columns][4];
  unrolled<Columns, 4>([&](int c, int v) { sums[c][v] = load(task.start + place + v * kLanes); });
  unrolled<(Columns - 1) * Stride + 3>([&](int i) {
    const Element* const at = input + i * pixel;
    const FourOfTaps taps = interleaved(at, at + task.offsets[3], at + task.offsets[6]);
    unrolled<3, 4>([&](int t, int v) {
      const int c = (i - t) / Stride;
      if (i < t || (i - t) % Stride != 0 || c >= Columns) return;
      sums[c][v] =
          dot(sums[c][v], taps.vectors[v], load(weights + t * kDepthwiseBlock + v * kLanes));
    });
  });
  const Stage* stage = task.stages;
  for (; stage + 1 < task.stages + task.stage_count; ++stage) {
    unrolled<Columns, 4>([&](int c, int v) {
      sums[c][v] = whole(scaled(sums[c][v], *stage, place + v * kLanes), stage->least, stage->most);
    });
  }
  const Floats highest = all(stage->most);
  const int added = kZero - task.shift;
  const int lowest = static_cast<int>(stage->least) + added;
  unrolled<Columns>([&](int c) {
    const auto of = [&](int v) {
      return rounded(smaller(highest, scaled(sums[c][v], *stage, place + v * kLanes)));
    };
    _mm512_storeu_si512(output + c * task.output_column,
                        mixed(of(0), of(1), of(2), of(3), added, lowest));
  });
}

template <int Stride>
void depthwise3x3_rows(const ConvTask& task) {
  constexpr int kColumns = 4;
  for (std::int32_t y = 0; y < task.rows; ++y) {
    const std::int32_t* weights = task.weights;
    for (int place = 0; place < task.channels; place += kDepthwiseBlock) {
      const int channel = least(place, task.channels - kDepthwiseBlock);
      const auto* input = static_cast<const Element*>(task.input) + y * task.input_row + channel;
      auto* output = static_cast<Element*>(task.output) + y * task.output_row + channel;
      for_even_parts(task.columns, kColumns, [&](int x, int width) {
        const auto tile = for_count<kColumns>(
            width, [](auto columns) { return depthwise3x3_tile<Stride, columns.value>; });
        tile(task, weights, place, input + x * task.input_column, output + x * task.output_column);
      });
      weights += 3 * kDepthwiseBlock;
    }
  }
}

void depthwise3x3(const ConvTask& task) {
  (task.input_column == task.offsets[1] ? depthwise3x3_rows<1> : depthwise3x3_rows<2>)(task);
}
#else
constexpr void (*depthwise3x3)(const ConvTask&) = nullptr;
#endif

// ---- vectors of columns

constexpr int kPerGroup = sizeof(std::int32_t) / sizeof(Element);
constexpr int kBits = 8 * sizeof(Element);
using Groups = Lanes<std::uint32_t>::Vector;

inline Groups lowest(const Element* from) { return reinterpret_cast<Groups>(widened(from)); }

void fill_planes(const ConvTask& task) {
  const auto* input = static_cast<const Element*>(task.input);
  auto* planes = reinterpret_cast<std::uint32_t*>(task.planes);
  for (std::int32_t x = 0; x < task.plane_columns; x += kLanes) {
    if (task.tall_rows > 0) {
      const Element* at = input + x;
      Groups group{};
      for (int k = 0; k < kPerGroup - 1; ++k, at += task.input_row) {
        group = group >> kBits | lowest(at) << (32 - kBits);
      }
      for (std::int32_t y = 0; y < task.tall_rows; ++y, at += task.input_row) {
        group = group >> kBits | lowest(at) << (32 - kBits);
        store(planes + y * task.plane_row + x, group);
      }
    }
    for (std::int32_t y = 0; y < task.wide_rows; ++y) {
      const Element* at = input + (task.first_wide_row + y) * task.input_row + x;
      Groups group = lowest(at);
      unrolled<kPerGroup - 1>([&](int k) { group |= lowest(at + k + 1) << ((k + 1) * kBits); });
      store(planes + (task.tall_rows + y) * task.plane_row + x, group);
    }
  }
}

/// Channels of `count` pixels, from vectors of pixels.
template <int Channels>
__attribute__((noinline)) void give_pixels(const ConvTask& task, const Ints (&sums)[Channels],
                                           int channel, Element* output, int count) {
  Ints values[Channels];
  unrolled<Channels>([&](int o) { values[o] = sums[o]; });
  for (const Stage* stage = task.stages; stage < task.stages + task.stage_count; ++stage) {
    const Stage now = *stage;
    unrolled<Channels>([&](int o) {
      const Floats scaled = floats(values[o]) * all(now.factor[channel + o]);
      values[o] = whole(scaled + all(now.addend[channel + o]), now.least, now.most);
    });
  }
  constexpr int kGroups = (Channels + kPerGroup - 1) / kPerGroup;
  std::int32_t pixels[kGroups][kLanes];
  unrolled<kGroups>([&](int g) {
    Groups group{};
    unrolled<kPerGroup>([&](int k) {
      const int o = g * kPerGroup + k;
      if (o >= Channels) return;
      const auto element = reinterpret_cast<Groups>(values[o] + (kZero - task.shift));
      group |= (element & ((1U << kBits) - 1)) << (k * kBits);
    });
    store(pixels[g], reinterpret_cast<Ints>(group));
  });
  constexpr int kRest = Channels % kPerGroup;
  for (int i = 0; i < count; ++i, output += task.output_column) {
    unrolled<Channels / kPerGroup>([&](int g) {
      __builtin_memcpy(output + g * kPerGroup, &pixels[g][i], sizeof(std::int32_t));
    });
    if constexpr (kRest > 0) {
      __builtin_memcpy(output + Channels - kRest, &pixels[kGroups - 1][i], kRest * sizeof(Element));
    }
  }
}

template <int Channels, int Rows>
void columns_tile(const ConvTask& task, const std::int32_t* weights, int channel,
                  const std::int32_t* planes, Element* output, int count) {
  Ints sums[Channels][Rows][2];
  unrolled<Channels, Rows, 2>(
      [&](int o, int r, int half) { sums[o][r][half] = all(task.start[channel + o]); });
  for (std::int32_t g = 0; g < task.groups; ++g, weights += Channels) {
    const std::int32_t* at = planes + task.offsets[g];
    Ints taps[Rows][2];
    unrolled<Rows, 2>(
        [&](int r, int half) { taps[r][half] = load(at + r * task.plane_row + half * kLanes); });
    unrolled<Channels>([&](int o) {
      const Ints weight = all(weights[o]);
      unrolled<Rows, 2>([&](int r, int half) {
        sums[o][r][half] = dot(sums[o][r][half], taps[r][half], weight);
      });
    });
  }
  unrolled<2 / Rows>([&](int part) {
    Ints found[Channels];
    unrolled<Channels>([&](int o) {
      found[o] = sums[o][0][part];
      if constexpr (Rows == 2) {
        found[o] = larger_of_pairs(larger(sums[o][0][0], sums[o][1][0]),
                                   larger(sums[o][0][1], sums[o][1][1]));
      }
    });
    give_pixels(task, found, channel, output + part * kLanes * task.output_column,
                least(count / Rows - part * kLanes, kLanes));
  });
}

std::int32_t columns_tile_of(std::int32_t channels) {
  constexpr int kMaxChannels = kRegisters >= 32 ? 6 : 2;
  return channels == 5 ? least(4, kMaxChannels)
                       : least(channels == 7 || channels == 8 ? 4 : channels, kMaxChannels);
}

template <int Channels>
void columns_rows(const ConvTask& task, const std::int32_t* weights, int channel) {
  const int rows = task.pool ? 2 : 1;
  auto* output = static_cast<Element*>(task.output) + channel;
  for (std::int32_t y = 0; y < task.rows; y += rows) {
    for (std::int32_t x = 0; x < task.columns; x += 2 * kLanes) {
      (task.pool ? columns_tile<Channels, 2>
                 : columns_tile<Channels, 1>)(task, weights, channel,
                                              task.planes + y * task.plane_row + x,
                                              output + y / rows * task.output_row +
                                                  x / rows * task.output_column,
                                              task.columns - x);
    }
  }
}

void conv_columns(const ConvTask& task) {
  fill_planes(task);
  const std::int32_t* weights = task.weights;
  for (int channel = 0; channel < task.channels;) {
    const int tile = columns_tile_of(task.channels - channel);
    const auto compute =
        for_one_of<6, 4, 3, 2, 1>(tile, [](auto of) { return columns_rows<of.value>; });
    compute(task, weights, channel);
    weights += task.groups * tile;
    channel += tile;
  }
}

// ---- the rest

/// Vectors of channels; the last one begins where it ends with them, if there are that many.
template <class Work>
inline void for_vectors(int channels, const Work& work) {
  for (int c = 0; c < channels; c += kLanes) work(most(0, least(c, channels - kLanes)));
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
  for_vectors(task.values, [&](int c) {
    Elements found = lowest - Elements{};
    for_window(task, y, x, [&](const Element* pixel) { found = larger(found, load(pixel + c)); });
    store_some(output + c, found, task.values - c);
  });
}

void mean_of(const PoolTask& task, std::int32_t y, std::int32_t x, std::int64_t place) {
  const IntMean& mean = task.mean;
  const Floats size = all(task.row_size[y] * task.column_size[x]);
  for_vectors(task.values, [&](int c) {
    Ints sum{};
    for_window(task, y, x,
               [&](const Element* pixel) { sum += signed_of(widened(pixel + c)) - mean.zero; });
    const Floats value = floats(sum) * all(mean.step) / size;
    const int count = task.values - c;
    if (mean.inverse == 0) {
      const Floats found = task.relu ? larger(value, Floats{}) : value;
      store_some(static_cast<float*>(task.output) + place + c, found, count);
    } else {
      const Ints found = whole(value * all(mean.inverse), mean.least, mean.most);
      store_some(static_cast<Element*>(task.output) + place + c,
                 narrowed(found + (kZero - mean.shift)), count);
    }
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

void quantize(const float* from, std::int64_t count, float inverse, float smallest, float largest,
              std::int32_t shift, void* to) {
  auto* elements = static_cast<Element*>(to);
  const auto of = [&](Floats values) {
    return narrowed(whole(values * all(inverse), smallest, largest) + (kZero - shift));
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

}  // namespace

const Kernels LENET_KERNELS = {
    LENET_NAME,
    kLanes,
    sizeof(Element),
    kZero,
    kMaxBlock,
    kLanes == 1        ? 1
    : kRegisters >= 32 ? 8
                       : 4,
    conv_channels,
    fully_connected,
    depthwise,
    depthwise3x3,
    kLanes > 1 ? conv_columns : nullptr,
    columns_tile_of,
    pool,
    multiply_adds,
    quantize,
    dequantize,
};

}  // namespace lenet::native::int8

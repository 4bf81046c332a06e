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
  } else {
    Number values[kLanes];
    store(values, value);
    for (int i = 0; i < count; ++i) to[i] = values[i];
  }
}

/// Of the channels from `channel` on, at one pixel.
inline void finish(const ConvTask& task, Ints sum, int channel, std::int64_t pixel) {
  const int count = task.spare ? kLanes : task.channels - channel;
  for (const Stage* stage = task.stages; stage < task.stages + task.stage_count; ++stage) {
    Floats value = floats(sum) * load(stage->factor + channel);
    value += load(stage->addend + channel);
    if (task.floats) {
      if (task.relu) value = larger(value, Floats{});
      return store_some(static_cast<float*>(task.output) + pixel + channel, value, count);
    }
    sum = whole(value, stage->least, stage->most);
  }
  const Elements elements = narrowed(sum + (kZero - task.shift));
  store_some(static_cast<Element*>(task.output) + pixel + channel, elements, count);
}

/// Of `columns` pixels side by side, each with `block` vectors of channels from `channel` on. Apart
/// from the tiles, of which there are many.
__attribute__((noinline)) void finish_tile(const ConvTask& task, const Ints* sums, int columns,
                                           int block, int channel, std::int64_t pixel) {
  for (int c = 0; c < columns; ++c, pixel += task.output_column) {
    for (int b = 0; b < block; ++b, ++sums) finish(task, *sums, channel + b * kLanes, pixel);
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

void conv_channels(const ConvTask& task) {
  const std::int32_t* weights = task.weights;
  int left = (task.channels + kLanes - 1) / kLanes;
  int block = task.tile;
  for (int channel = 0; left > 0; left -= block, channel += block * kLanes) {
    while (block > left) block /= 2;
    if (task.pool) {
      (block == 2 ? channels_block<2, 2> : channels_block<1, 2>)(task, weights, channel);
    } else {
      const auto compute = for_one_of<8, 4, 2, 1>(
          block, [](auto vectors) { return channels_block<vectors.value, 1>; });
      compute(task, weights, channel);
    }
    weights += static_cast<std::int64_t>(task.groups) * block * kLanes;
  }
}

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

void pool(const PoolTask& task) {
  for (std::int32_t y = 0; y < task.rows; ++y) {
    for (std::int32_t x = 0; x < task.columns; ++x) {
      auto* output =
          static_cast<Element*>(task.output) + y * task.output_row + x * task.output_column;
      const auto lowest = static_cast<Element>(task.relu ? kZero : kZero - 128);
      for (std::int32_t c = 0; c < task.values; ++c) output[c] = lowest;
      for (std::int32_t i = task.row_begin[y]; i < task.row_end[y]; ++i) {
        for (std::int32_t j = task.column_begin[x]; j < task.column_end[x]; ++j) {
          const auto* input =
              static_cast<const Element*>(task.input) + i * task.input_row + j * task.input_column;
          for (std::int32_t c = 0; c < task.values; ++c) {
            output[c] = output[c] > input[c] ? output[c] : input[c];
          }
        }
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
    kLanes == 1        ? 1
    : kRegisters >= 32 ? 4
                       : 2,
    kLanes == 1        ? 1
    : kRegisters >= 32 ? 8
                       : 4,
    conv_channels,
    kLanes > 1 ? conv_columns : nullptr,
    columns_tile_of,
    pool,
    multiply_adds,
    quantize,
    dequantize,
};

}  // namespace lenet::native::int8

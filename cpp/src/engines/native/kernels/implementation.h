/// \file
/// The kernels of one instruction set, compiled for it with what vectors.h asks for, LENET_KERNELS
/// (the table's name) and LENET_NAME. No header with inline functions, but for intrinsics, which
/// leave none behind, and those that are internal: the linker would take one copy for the whole
/// library, perhaps this one.
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "engines/native/kernels/kernels.h"
#include "engines/native/kernels/vectors.h"

namespace lenet::native {
namespace {

using Vector = Floats;

inline Vector rectified(Vector value, bool relu) { return relu ? larger(value, Vector{}) : value; }

#include "engines/native/kernels/functions.h"

inline bool is_bound(const Activation& of) {
  return of.kind == ActivationKind::Relu || of.kind == ActivationKind::Clip;
}

/// Relu and clip, with the bounds of both; any other is left to `activate_stored`.
inline Vector activated(Vector value, const Activation& activation) {
  if (!is_bound(activation)) return value;
  value = larger(value, all(activation.alpha));
  return value < activation.beta ? value : all(activation.beta);
}

/// Of a sum with its bias. \param residual what is added in its place, or null
inline Vector finished(Vector sum, const Epilogue& epilogue, const float* residual) {
  if (residual != nullptr) sum += load(residual);
  return activated(sum, epilogue.activation);
}

/// Applies any other activation to vectors that have been stored: `columns` times
/// `blocks` of them, each so many floats from the next.
inline void activate_stored(const Activation& of, float* output, int columns, std::int64_t column,
                            int blocks, std::int64_t block) {
  if (of.kind == ActivationKind::None || is_bound(of)) return;
  const bool dense = column == kLanes;
  for (int b = 0; b < blocks; ++b) {
    for (int c = 0; c < (dense ? 1 : columns); ++c) {
      float* const at = output + b * block + c * column;
      activate(of, at, at, dense ? std::int64_t{kLanes} * columns : kLanes);
    }
  }
}

/// Bit i: whether lane i is not 0.
inline std::uint64_t nonzero_lanes(Vector values) {
#if LENET_LANES == 16 && defined(__AVX512F__)
  return _mm512_cmp_ps_mask(reinterpret_cast<__m512>(values), _mm512_setzero_ps(), _CMP_NEQ_UQ);
#elif LENET_LANES == 8 && defined(__AVX__)
  const auto different =
      _mm256_cmp_ps(reinterpret_cast<__m256>(values), _mm256_setzero_ps(), _CMP_NEQ_UQ);
  return static_cast<unsigned>(_mm256_movemask_ps(different));
#elif LENET_LANES == 4 && defined(__SSE__)
  const auto different = _mm_cmpneq_ps(reinterpret_cast<__m128>(values), _mm_setzero_ps());
  return static_cast<unsigned>(_mm_movemask_ps(different));
#elif LENET_LANES == 4 && defined(__aarch64__)
  const uint32x4_t same = vceqzq_f32(reinterpret_cast<float32x4_t>(values));
  return vaddvq_u32(vbicq_u32(uint32x4_t{1, 2, 4, 8}, same));
#else
  std::uint64_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= std::uint64_t{values[i] != 0} << i;
  return bits;
#endif
}

/// How many windows (or pairs of pairs, when they are pooled) are computed together with `tile`
/// channels: their sums, their values and one weight are in registers.
constexpr int widest_tile(int tile, bool pool) {
  const int group = pool ? 4 : 1;
  int width = pool ? 3 : 8;
  while (width > 1 && group * width * (tile + 1) + 1 > kRegisters) --width;
  return width;
}

int widest(std::int32_t tile, bool pool) { return widest_tile(tile, pool); }

// ---- convolution, vectors of output channels

/// The products of `Taps` taps side by side.
template <int Block, int Columns, int Taps>
inline void add_taps(const float* const (&windows)[Columns], const float* weights,
                     Vector (&sums)[Columns][Block]) {
  unrolled<Taps>([&](int t) {
    Vector row[Block];
    unrolled<Block>([&](int b) { row[b] = load(weights + (t * Block + b) * kLanes); });
    unrolled<Columns>([&](int c) {
      const Vector value = all(windows[c][t]);
      unrolled<Block>([&](int b) { sums[c][b] += value * row[b]; });
    });
  });
}

/// \param epilogue its bias and residual are those of the tile
template <int Block, int Columns>
void channels_tile(const ConvTask& task, const float* weights, const Epilogue& epilogue,
                   const float* input, float* output) {
  Vector sums[Columns][Block];
  unrolled<Columns, Block>([&](int c, int b) { sums[c][b] = load(epilogue.bias + b * kLanes); });
  constexpr int kChunk = 2;
  for (std::int32_t tap = 0; tap < task.taps; tap += task.run) {
    const float* windows[Columns];
    windows[0] = input + task.offsets[tap];
    for (int c = 1; c < Columns; ++c) windows[c] = windows[0] + c * task.input_column;
    std::int32_t left = task.run;
    for (; left >= kChunk; left -= kChunk, weights += kChunk * Block * kLanes) {
      add_taps<Block, Columns, kChunk>(windows, weights, sums);
      unrolled<Columns>([&](int c) { windows[c] += kChunk; });
    }
    for (; left > 0; --left, weights += Block * kLanes) {
      add_taps<Block, Columns, 1>(windows, weights, sums);
      unrolled<Columns>([&](int c) { ++windows[c]; });
    }
  }
  const std::int64_t to = task.output_column;
  const float* const residual = epilogue.residual;
  if (residual != nullptr) {
    unrolled<Columns, Block>(
        [&](int c, int b) { sums[c][b] += load(residual + c * to + b * epilogue.residual_block); });
  }
  unrolled<Columns, Block>([&](int c, int b) {
    store(output + c * to + b * task.output_channel, activated(sums[c][b], epilogue.activation));
  });
}

/// Bit i: whether value i is not 0. \param count 64 at most; whole vectors are read
inline std::uint64_t nonzero(const float* values, int count) {
  std::uint64_t bits = 0;
  for (int i = 0; i < count; i += kLanes) bits |= nonzero_lanes(load(values + i)) << i;
  return count < 64 ? bits & ((std::uint64_t{1} << count) - 1) : bits;
}

/// One window. What is multiplied by 0 is not read: behind a relu, about half of the weights.
template <int Block>
void one_window(const ConvTask& task, const float* weights, const Epilogue& epilogue,
                float* output) {
  Vector sums[Block];
  unrolled<Block>([&](int b) { sums[b] = load(epilogue.bias + b * kLanes); });
  for (std::int32_t tap = 0; tap < task.taps; tap += task.run) {
    const float* values = task.input + task.offsets[tap];
    for (std::int32_t left = task.run; left > 0; left -= 64, values += 64) {
      const int count = least(left, 64);
      for (std::uint64_t bits = nonzero(values, count); bits != 0; bits &= bits - 1) {
        const int i = __builtin_ctzll(bits);
        const Vector value = all(values[i]);
        const float* row = weights + i * Block * kLanes;
        unrolled<Block>([&](int b) { sums[b] += value * load(row + b * kLanes); });
      }
      weights += static_cast<std::int64_t>(count) * Block * kLanes;
    }
  }
  unrolled<Block>([&](int b) {
    const bool adds = epilogue.residual != nullptr;
    const float* residual = adds ? epilogue.residual + b * epilogue.residual_block : nullptr;
    store(output + b * task.output_channel, finished(sums[b], epilogue, residual));
  });
  activate_stored(epilogue.activation, output, 1, kLanes, Block, task.output_channel);
}

constexpr int columns_of(int block) { return most(1, least(12, (kRegisters - block - 1) / block)); }

/// \param epilogue its bias and residual are those of the block
template <int Block>
void channels_block(const ConvTask& task, const float* weights, const Epilogue& epilogue,
                    float* output) {
  if (task.skips_zeros && task.columns == 1) {
    return one_window<Block>(task, weights, epilogue, output);
  }
  for (std::int32_t y = 0; y < task.rows; ++y) {
    for_even_parts(task.columns, columns_of(Block), [&](int column, int width) {
      const auto tile = for_count<columns_of(Block)>(
          width, [](auto columns) { return channels_tile<Block, columns.value>; });
      Epilogue of_tile = epilogue;
      if (of_tile.residual != nullptr) {
        of_tile.residual += y * epilogue.residual_row + column * task.output_column;
      }
      float* const to = output + y * task.output_row + column * task.output_column;
      tile(task, weights, of_tile, task.input + y * task.input_row + column * task.input_column,
           to);
      activate_stored(epilogue.activation, to, width, task.output_column, Block,
                      task.output_channel);
    });
  }
}

int block_of(int left, int tile) {
  const int most = least(left, tile);
  return most >= 8 ? 8 : most >= 6 ? 6 : most >= 4 ? 4 : most >= 2 ? 2 : 1;
}

void conv_channels(const ConvTask& task) {
  int left = (task.channels + kLanes - 1) / kLanes;
  const float* weights = task.weights;
  Epilogue epilogue = task.epilogue;
  float* output = task.output;
  while (left > 0) {
    const int block = block_of(left, task.tile);
    (block == 8   ? channels_block<8>
     : block == 6 ? channels_block<6>
     : block == 4 ? channels_block<4>
     : block == 2 ? channels_block<2>
                  : channels_block<1>)(task, weights, epilogue, output);
    left -= block;
    weights += static_cast<std::int64_t>(task.taps) * block * kLanes;
    epilogue.bias += block * kLanes;
    if (epilogue.residual != nullptr) epilogue.residual += block * epilogue.residual_block;
    output += block * task.output_channel;
  }
}

#include "engines/native/kernels/grouped.h"

// ---- convolution, vectors of images or of columns

/// Sums of `Channels` channels, of which `channels` are real, at `Rows` x `Columns` windows; two
/// rows are pooled. \tparam Planar whether a vector has windows side by side rather than images
template <bool Planar, int Channels, int Rows, int Columns>
void tile(const ConvTask& task, const float* weights, const float* bias, const float* input,
          float* output, int channels) {
  const std::int64_t column = Planar ? kLanes : task.input_column;
  const std::int64_t to_column = Planar ? kLanes : task.output_column;
  Vector sums[Channels][Rows][Columns];
  unrolled<Channels, Rows, Columns>([&](int o, int r, int c) { sums[o][r][c] = all(bias[o]); });
  for (std::int32_t tap = 0; tap < task.taps; ++tap, weights += Channels) {
    const float* at = input + task.offsets[tap];
    Vector values[Rows][Columns];
    unrolled<Rows, Columns>(
        [&](int r, int c) { values[r][c] = load(at + r * task.input_row + c * column); });
    unrolled<Channels>([&](int o) {
      const Vector weight = all(weights[o]);
      unrolled<Rows, Columns>([&](int r, int c) { sums[o][r][c] += values[r][c] * weight; });
    });
  }
  unrolled<Channels>([&](int o) {
    if (o >= channels) return;
    float* to = output + o * task.output_channel;
    const Vector(&found)[Rows][Columns] = sums[o];
    unrolled<Columns / Rows>([&](int c) {
      Vector result = found[0][c];
      if constexpr (Planar && Rows == 2) {
        result = larger_of_pairs(larger(found[0][2 * c], found[1][2 * c]),
                                 larger(found[0][2 * c + 1], found[1][2 * c + 1]));
      } else if constexpr (Rows == 2) {
        result = larger(larger(found[0][2 * c], found[0][2 * c + 1]),
                        larger(found[1][2 * c], found[1][2 * c + 1]));
      }
      store(to + c * to_column, activated(result, task.epilogue.activation));
    });
  });
}

template <int Channels>
void interleaved(const ConvTask& task) {
  constexpr int kMaxPlain = widest_tile(Channels, false);
  constexpr int kMaxPooled = widest_tile(Channels, true);
  const int rows = task.pool ? 2 : 1;
  for (std::int32_t y = 0; y < task.rows / rows; ++y) {
    const float* weights = task.weights;
    for (std::int32_t o = 0; o < task.channels; o += Channels) {
      for_even_parts(
          task.columns / rows, task.pool ? kMaxPooled : kMaxPlain, [&](int unit, int width) {
            const auto plain = [](auto units) { return tile<false, Channels, 1, units.value>; };
            const auto pooled = [](auto pairs) {
              return tile<false, Channels, 2, 2 * pairs.value>;
            };
            const auto compute = task.pool ? for_count<kMaxPooled>(width, pooled)
                                           : for_count<kMaxPlain>(width, plain);
            float* const to = task.output + o * task.output_channel + y * task.output_row +
                              unit * task.output_column;
            compute(task, weights, task.epilogue.bias + o,
                    task.input + rows * (y * task.input_row + unit * task.input_column), to,
                    task.channels - o);
            activate_stored(task.epilogue.activation, to, width, task.output_column,
                            least(Channels, task.channels - o), task.output_channel);
          });
      weights += static_cast<std::int64_t>(task.taps) * Channels;
    }
  }
}

void conv_interleaved(const ConvTask& task) {
  (task.tile == 6   ? interleaved<6>
   : task.tile == 4 ? interleaved<4>
   : task.tile == 3 ? interleaved<3>
   : task.tile == 2 ? interleaved<2>
                    : interleaved<1>)(task);
}

template <int Channels>
void columns(const ConvTask& task) {
  const float* weights = task.weights;
  for (std::int32_t o = 0; o < task.channels; o += Channels) {
    const int real = task.channels - o;
    float* output = task.output + o * task.output_channel;
    for (std::int32_t y = 0; y < task.rows; y += task.pool ? 2 : 1) {
      const float* input = task.input + y * task.input_row;
      float* row = output + (task.pool ? y / 2 : y) * task.output_row;
      for (std::int32_t x = 0; x < task.columns; x += 2 * kLanes) {
        if (task.pool) {
          tile<true, Channels, 2, 2>(task, weights, task.epilogue.bias + o, input + x, row + x / 2,
                                     real);
        } else {
          tile<true, Channels, 1, 2>(task, weights, task.epilogue.bias + o, input + x, row + x,
                                     real);
        }
        activate_stored(task.epilogue.activation, row + (task.pool ? x / 2 : x), task.pool ? 1 : 2,
                        kLanes, least(Channels, real), task.output_channel);
      }
    }
    weights += static_cast<std::int64_t>(task.taps) * Channels;
  }
}

void conv_columns(const ConvTask& task) {
  (task.tile == 6   ? columns<6>
   : task.tile == 4 ? columns<4>
   : task.tile == 3 ? columns<3>
   : task.tile == 2 ? columns<2>
                    : columns<1>)(task);
}

// ---- the rest

void pool(const PoolTask& task) {
  for (std::int32_t y = 0; y < task.rows; ++y) {
    for (std::int32_t x = 0; x < task.columns; ++x) {
      const float* window = static_cast<const float*>(task.input) +
                            task.row_begin[y] * task.input_row +
                            task.column_begin[x] * task.input_column;
      const std::int32_t height = task.row_end[y] - task.row_begin[y];
      const std::int32_t width = task.column_end[x] - task.column_begin[x];
      float* output =
          static_cast<float*>(task.output) + y * task.output_row + x * task.output_column;
      const float size = task.average ? task.row_size[y] * task.column_size[x] : 1;
      for (std::int32_t v = 0; v < task.values; v += kLanes) {
        Vector result = load(window + v);
        for (std::int32_t i = 0; i < height; ++i) {
          for (std::int32_t j = i == 0 ? 1 : 0; j < width; ++j) {
            const Vector next = load(window + i * task.input_row + j * task.input_column + v);
            result = task.average ? result + next : larger(next, result);
          }
        }
        if (task.average) result /= all(size);
        store(output + v, rectified(result, task.relu));
      }
    }
  }
}

double multiply_adds(std::int64_t steps) {
  // Numbers stay as they are; a processor may take longer for those that grow or vanish.
  const Vector factor = all(1e-12F);
  return kLanes * repeat_in_registers<float>(steps, [&](Vector sum) { return sum + sum * factor; });
}

/// Exchanges rows `Half` apart, block by block; all halves together transpose.
template <int Half>
inline void transpose_blocks(Vector (&rows)[kLanes]) {
  if constexpr (Half > 0) {
    Ints low{};
    Ints high{};
    for (int i = 0; i < kLanes; ++i) {
      low[i] = (i & Half) == 0 ? i : kLanes + i - Half;
      high[i] = (i & Half) == 0 ? i + Half : kLanes + i;
    }
    unrolled<kLanes>([&](int i) {
      if ((i & Half) != 0) return;
      const Vector a = rows[i];
      const Vector b = rows[i + Half];
      rows[i] = shuffled(a, b, low);
      rows[i + Half] = shuffled(a, b, high);
    });
    transpose_blocks<Half / 2>(rows);
  }
}

void interleave(const float* const* images, std::int64_t count, float* output, std::int64_t step) {
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    Vector rows[kLanes];
    for (int l = 0; l < kLanes; ++l) rows[l] = load(images[l] + i);
    transpose_blocks<kLanes / 2>(rows);
    for (int l = 0; l < kLanes; ++l) store(output + (i + l) * step, rows[l]);
  }
  for (; i < count; ++i) {
    for (int l = 0; l < kLanes; ++l) output[i * step + l] = images[l][i];
  }
}

#include "engines/native/kernels/layout.h"

#if LENET_LANES >= 8
#include "engines/native/kernels/winograd.h"
#else
constexpr void (*winograd_channels)(const WinogradTask&) = nullptr;
constexpr void (*winograd_interleaved)(const WinogradTask&) = nullptr;
constexpr int kWinogradGroup = 1;
#endif

}  // namespace

const Kernels LENET_KERNELS = {LENET_NAME,
                               kLanes,
                               kRegisters,
                               widest,
                               block_of,
                               conv_channels,
                               conv_interleaved,
                               kLanes > 1 ? conv_columns : nullptr,
                               conv_grouped,
                               winograd_channels,
                               winograd_interleaved,
                               kWinogradGroup,
                               pool,
                               combine,
                               activate,
                               multiply_adds,
                               interleave,
                               gather};

}  // namespace lenet::native

/// \file
/// The kernels of one instruction set, compiled for it with what vectors.h asks for, LENET_KERNELS
/// (the table's name) and LENET_NAME. No header with inline functions, but for intrinsics, which
/// leave none behind, and those that are internal: the linker would take one copy for the whole
/// library, perhaps this one.
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

#include "engines/native/kernels/gelu_table.h"
#include "engines/native/kernels/kernels.h"
#include "engines/native/kernels/vectors.h"
#ifdef LENET_BF16
#include "engines/native/kernels/tiles.h"
#endif

namespace lenet::native {
namespace {

using Vector = Floats;

inline Vector rectified(Vector value, bool relu) { return relu ? larger(value, Vector{}) : value; }

#include "engines/native/kernels/functions.h"

/// Relu and clip, with the bounds of both, are applied in registers; others are not.
inline bool is_bound(const Activation& of) {
  return of.kind == ActivationKind::Relu || of.kind == ActivationKind::Clip;
}
inline bool is_other(const Activation& of) {
  return of.kind != ActivationKind::None && !is_bound(of);
}

inline Vector bounded(Vector value, Vector low, Vector high) {
  return smaller(larger(value, low), high);
}

/// Any other activation than a bound is left to `activate_stored`.
inline Vector activated(Vector value, const Activation& activation) {
  if (!is_bound(activation)) return value;
  return bounded(value, all(activation.alpha), all(activation.beta));
}

/// Adds the residual to a sum that includes the bias, and applies the activation.
/// \param residual of this vector; null where there is none
inline Vector finished(Vector sum, const Epilogue& epilogue, const float* residual) {
  if (residual != nullptr) sum += load(residual);
  return activated(sum, epilogue.activation);
}

/// Applies any other activation to vectors that have been stored: `columns` times
/// `blocks` of them, each so many floats from the next.
inline void activate_stored(const Activation& of, float* output, int columns, std::int64_t column,
                            int blocks, std::int64_t block) {
  if (!is_other(of)) return;
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
#elif LENET_LANES == 4 && defined(__wasm_simd128__)
  return wasm_i32x4_bitmask(wasm_f32x4_ne(v128_t(values), wasm_f32x4_splat(0)));
#else
  std::uint64_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= std::uint64_t{values[i] != 0} << i;
  return bits;
#endif
}

#ifdef LENET_BF16
#include "engines/native/kernels/bf16.h"
#else
// What is multiplied, which in bf16.h is something else.
constexpr bool kIsBf16 = false;
constexpr int kPaired = 1;
constexpr int kFactors = kLanes;
inline void add_product(Vector& sum, Vector value, Vector weight) {
  sum = multiply_add(value, weight, sum);
}
inline Vector broadcast(const float* at) { return all(*at); }
inline std::uint64_t nonzero_factors(Vector values) { return nonzero_lanes(values); }
inline void store_factors(float* to, Vector values) { store(to, values); }
inline Vector paired(Vector low, Vector) { return low; }
#endif

#include "engines/native/kernels/direct.h"

#ifndef LENET_BF16

/// How many windows (or pairs of pairs, when they are pooled) are computed together with `tile`
/// channels: their sums, their values and one weight are in registers.
constexpr int widest_tile(int tile, bool pool) {
  const int group = pool ? 4 : 1;
  int width = pool ? 3 : 8;
  while (width > 1 && group * width * (tile + 1) + 1 > kRegisters) --width;
  return width;
}

int widest(std::int32_t tile, bool pool) { return widest_tile(tile, pool); }

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
      unrolled<Rows, Columns>(
          [&](int r, int c) { add_product(sums[o][r][c], values[r][c], weight); });
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
  for_one_of<6, 4, 3, 2, 1>(task.tile, [](auto tile) { return interleaved<tile.value>; })(task);
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
  for_one_of<6, 4, 3, 2, 1>(task.tile, [](auto tile) { return columns<tile.value>; })(task);
}

// ---- the rest

#include "engines/native/kernels/pool.h"
#include "engines/native/kernels/resize.h"

double multiply_adds(std::int64_t steps) {
  // Numbers stay as they are; a processor may take longer for those that grow or vanish.
  const Vector factor = all(1e-12F);
  return kLanes * repeat_in_registers<float>(
                      steps, [&](Vector sum) { return multiply_add(sum, factor, sum); });
}

/// Exchanges rows `Half` apart, block by block; all halves together transpose.
template <int Half>
inline void transpose_blocks(Vector (&rows)[kLanes]) {
  if constexpr (Half > 0) {
    Ints low{};
    Ints high{};
    expanded<kLanes>([&](int i) __attribute__((always_inline)) {
      low[i] = (i & Half) == 0 ? i : kLanes + i - Half;
      high[i] = (i & Half) == 0 ? i + Half : kLanes + i;
    });
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
#include "engines/native/kernels/rows.h"

#endif  // LENET_BF16

#if LENET_LANES >= 8
// clang-format off: each part uses those before it.
#include "engines/native/kernels/winograd3x3_tiles.h"
#include "engines/native/kernels/winograd3x3_transforms.h"
#include "engines/native/kernels/winograd3x3.h"
// clang-format on
#ifndef LENET_BF16
#include "engines/native/kernels/winograd.h"
#include "engines/native/kernels/winograd_rows.h"
#endif
#else
constexpr void (*winograd_channels)(const WinogradTask&) = nullptr;
constexpr void (*winograd_interleaved)(const WinogradTask&) = nullptr;
constexpr int kWinogradGroup = 1;
constexpr void (*winograd_rows)(const WinogradTask&) = nullptr;
constexpr void (*winograd_rows_interleaved)(const WinogradTask&) = nullptr;
constexpr void (*winograd3x3)(const Winograd3x3Task&) = nullptr;
constexpr std::int64_t (*winograd3x3_scratch)(const Winograd3x3Task&) = nullptr;
#endif

}  // namespace

#ifdef LENET_BF16
namespace {

constexpr Bf16Kernels bf16_kernels(const char* name, void (*tiles)(const ConvTask&),
                                   double (*limit)(std::int64_t)) {
  return {name,        conv_channels,       fully_connected, tiles,
          winograd3x3, winograd3x3_scratch, pair_neighbours, pair_rows,
          limit};
}

}  // namespace

const Bf16Kernels LENET_KERNELS = bf16_kernels(LENET_NAME, nullptr, multiply_adds);
const Bf16Kernels kAmxBf16 = bf16_kernels("amxbf16", conv_tiles<AmxTiles>, amx_multiply_adds);
const Bf16Kernels kPlainTilesBf16 = bf16_kernels("plain", conv_tiles<PlainTiles>, multiply_adds);
#else
const Kernels LENET_KERNELS = {LENET_NAME,
                               kLanes,
                               kRegisters,
                               widest,
                               dense_vectors,
                               conv_channels,
                               fully_connected,
                               conv_interleaved,
                               kLanes > 1 ? conv_columns : nullptr,
                               conv_grouped,
                               winograd_channels,
                               winograd_interleaved,
                               kWinogradGroup,
                               winograd_rows,
                               winograd_rows_interleaved,
                               winograd3x3,
                               winograd3x3_scratch,
                               pool,
                               resize,
                               combine,
                               activate,
                               multiply_adds,
                               interleave,
                               gather,
                               softmax,
                               softmax_scores,
                               reduce,
                               normalize,
                               broadcast_rows};
#endif

}  // namespace lenet::native

/// \file
/// Vectors of one instruction set, for its kernels of float32 and of integers. What it is compiled
/// with (cmake/NativeKernels.cmake) defines LENET_LANES, the numbers of 32 bits in a vector, and
/// LENET_REGISTERS, the vector registers. Everything has internal linkage: each set has its own.
#pragma once

#include <cstdint>

namespace lenet::native {
namespace {

constexpr int kLanes = LENET_LANES;
constexpr int kRegisters = LENET_REGISTERS;

template <class Number>
struct Lanes {
  using Vector __attribute__((vector_size(kLanes * sizeof(Number)))) = Number;
  using Unaligned __attribute__((aligned(alignof(Number)), may_alias)) = Vector;
};
using Floats = Lanes<float>::Vector;
using Ints = Lanes<std::int32_t>::Vector;

template <class Number>
inline auto load(const Number* from) {
  return typename Lanes<Number>::Vector(
      *reinterpret_cast<const typename Lanes<Number>::Unaligned*>(from));
}
template <class Number>
inline void store(Number* to, typename Lanes<Number>::Vector value) {
  *reinterpret_cast<typename Lanes<Number>::Unaligned*>(to) = value;
}
inline Floats all(float value) { return value - Floats{}; }
inline Ints all(std::int32_t value) { return value - Ints{}; }
/// `b` where one is NaN.
template <class Vector>
inline Vector larger(Vector a, Vector b) {
  return a > b ? a : b;
}
template <class Vector>
inline Vector smaller(Vector a, Vector b) {
  return a < b ? a : b;
}
#if defined(__AVX512F__) && LENET_LANES == 16
inline Floats larger(Floats a, Floats b) {  // one instruction, which GCC does not find
  // The mask has all lanes: GCC 12 warns of what _mm512_max_ps leaves undefined.
  return Floats(_mm512_maskz_max_ps(0xffff, __m512(a), __m512(b)));
}
inline Floats smaller(Floats a, Floats b) {
  return Floats(_mm512_maskz_min_ps(0xffff, __m512(a), __m512(b)));
}
#elif defined(__AVX__) && LENET_LANES == 8
inline Floats larger(Floats a, Floats b) { return Floats(_mm256_max_ps(__m256(a), __m256(b))); }
inline Floats smaller(Floats a, Floats b) { return Floats(_mm256_min_ps(__m256(a), __m256(b))); }
#elif defined(__SSE__) && LENET_LANES == 4
inline Floats larger(Floats a, Floats b) { return Floats(_mm_max_ps(__m128(a), __m128(b))); }
inline Floats smaller(Floats a, Floats b) { return Floats(_mm_min_ps(__m128(a), __m128(b))); }
#elif defined(__wasm_simd128__) && LENET_LANES == 4
inline Floats larger(Floats a, Floats b) { return Floats(wasm_f32x4_pmax(v128_t(b), v128_t(a))); }
inline Floats smaller(Floats a, Floats b) { return Floats(wasm_f32x4_pmin(v128_t(b), v128_t(a))); }
#endif

/// a * b + c, rounded once where the set has multiply-adds. A compiler that may join products and
/// sums by itself does so where it likes, and differently for the two layouts.
inline Floats multiply_add(Floats a, Floats b, Floats c) {
#if defined(__AVX512F__) && LENET_LANES == 16
  return Floats(_mm512_fmadd_ps(__m512(a), __m512(b), __m512(c)));
#elif defined(__FMA__) && LENET_LANES == 8
  return Floats(_mm256_fmadd_ps(__m256(a), __m256(b), __m256(c)));
#elif defined(__aarch64__) && LENET_LANES == 4
  return Floats(vfmaq_f32(float32x4_t(c), float32x4_t(a), float32x4_t(b)));
#else
  return a * b + c;
#endif
}
inline Floats multiply_add(Floats a, float b, Floats c) { return multiply_add(a, all(b), c); }

/// Keeps a value that has been loaded in a register: GCC would load it for each use.
inline void keep(Floats& value) {
#if defined(__x86_64__) && LENET_LANES > 1
  __asm__("" : "+v"(value));
#elif defined(__aarch64__) && LENET_LANES > 1
  __asm__("" : "+w"(value));
#else
  static_cast<void>(value);
#endif
}

constexpr int most(int a, int b) { return a > b ? a : b; }
constexpr int least(int a, int b) { return a < b ? a : b; }

template <int Value>
struct Constant {
  static constexpr int value = Value;
};

/// Calls `work` with all indices below the counts, in order. Written out by the compiler, which
/// keeps vectors of an array in registers only where their indices are constants.
template <int Count, class Work>
inline __attribute__((always_inline)) void unrolled(Work work) {
#pragma GCC unroll 16
  for (int i = 0; i < Count; ++i) work(i);
}
template <int Rows, int Columns, class Work>
inline __attribute__((always_inline)) void unrolled(Work work) {
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < Columns; ++c) work(r, c);
  }
}
template <int Blocks, int Rows, int Columns, class Work>
inline __attribute__((always_inline)) void unrolled(Work work) {
#pragma GCC unroll 16
  for (int b = 0; b < Blocks; ++b) {
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
      for (int c = 0; c < Columns; ++c) work(b, r, c);
    }
  }
}

/// Calls `work` for each index without a loop, so that the indices are constants from the
/// beginning: when a loop is unrolled late, some vectors are kept in memory too. The caller has the
/// attribute `flatten`, which makes `work` a part of it.
template <int Count, int First = 0, class Work>
inline __attribute__((always_inline)) void expanded(const Work& work) {
  if constexpr (Count == 1) {
    work(First);
  } else {
    expanded<Count / 2, First>(work);
    expanded<Count - Count / 2, First + Count / 2>(work);
  }
}

/// Values of `a` and `b`, counted through.
template <class Vector>
inline Vector shuffled(Vector a, Vector b, Ints places) {
#ifdef __clang__
  // Without a loop: Clang would learn too late that places are constants, and branch for each.
  Vector result{};
  expanded<kLanes>([&](int i) __attribute__((always_inline)) {
    result[i] = places[i] < kLanes ? a[places[i]] : b[places[i] - kLanes];
  });
  return result;
#else
  return __builtin_shuffle(a, b, places);
#endif
}

#if defined(__clang__) && defined(__AVX512F__) && LENET_LANES == 16
inline Floats shuffled(Floats a, Floats b, Ints places) {  // which Clang makes several of
  return Floats(_mm512_permutex2var_ps(__m512(a), __m512i(places), __m512(b)));
}
#elif defined(__clang__) && defined(__AVX2__) && LENET_LANES == 8
inline Floats shuffled(Floats a, Floats b, Ints places) {
  const __m256 of_a = _mm256_permutevar8x32_ps(__m256(a), __m256i(places));
  const __m256 of_b = _mm256_permutevar8x32_ps(__m256(b), __m256i(places));
  return Floats(_mm256_blendv_ps(of_a, of_b, __m256(places << 28)));  // by bit 3
}
#endif

/// The larger of each two neighbours in `low` and `high` side by side.
template <class Vector>
inline Vector larger_of_pairs(Vector low, Vector high) {
  if constexpr (kLanes == 1) {
    return larger(low, high);
  } else {
    Ints even{};
    Ints odd{};
    expanded<kLanes>([&](int i) __attribute__((always_inline)) {
      even[i] = 2 * i;
      odd[i] = 2 * i + 1;
    });
    return larger(shuffled(low, high, even), shuffled(low, high, odd));
  }
}

/// What `of` gives for Constant<count>, or for Constant<Most> where `count` is more.
template <int Most, class Of>
inline auto for_count(int count, const Of& of) {
  if constexpr (Most > 1) {
    if (count < Most) return for_count<Most - 1>(count, of);
  }
  return of(Constant<Most>{});
}

/// What `of` gives for the first Constant of these, from the largest on, that `count` is not below;
/// or for the last.
template <int First, int... Others, class Of>
inline auto for_one_of(int count, const Of& of) {
  if constexpr (sizeof...(Others) > 0) {
    if (count < First) return for_one_of<Others...>(count, of);
  }
  return of(Constant<First>{});
}

/// Repeats multiply-adds on registers only, with enough sums in flight to hide their latency.
/// \param add gives a sum with the products of itself and something
/// \returns how many sums were added to
template <class Number, class Add>
inline double repeat_in_registers(std::int64_t steps, const Add& add) {
  constexpr int kSums = kRegisters >= 32 ? 16 : 14;
  using Vector = typename Lanes<Number>::Vector;
  Vector sums[kSums];
  // Different numbers that the compiler does not know, or it would leave some sums out, or all.
  unrolled<kSums>([&](int i) { sums[i] = all(static_cast<Number>(steps + i)); });
  for (std::int64_t step = 0; step < steps; ++step) {
    unrolled<kSums>([&](int i) { sums[i] = add(sums[i]); });
  }
  Vector total{};
  unrolled<kSums>([&](int i) { total = larger(total, sums[i]); });
  volatile Number used = total[0];
  static_cast<void>(used);
  return static_cast<double>(steps) * kSums;
}

/// Calls `work(first, size)` for parts of nearly the same size, rather than full ones and a small
/// last.
template <class Work>
inline void for_even_parts(int count, int max_size, const Work& work) {
  const int parts = (count + max_size - 1) / max_size;
  int first = 0;
  for (int p = 0; p < parts; ++p) {
    const int size = (count - first + parts - p - 1) / (parts - p);
    work(first, size);
    first += size;
  }
}

}  // namespace
}  // namespace lenet::native

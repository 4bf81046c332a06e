/// What the kernels of integers need of one instruction set beside ../vectors.h. Compiled
/// with LENET_ELEMENT too, the type of an element, and LENET_DOTPROD for ARM's dot products.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "engines/native/kernels/vectors.h"

namespace lenet::native::int8 {
namespace {

using Element = LENET_ELEMENT;
using Elements = Lanes<Element>::Vector;

// For each set:
//   dot: the sum with the products of a group of taps and their weights;
//   narrowed: the elements of values that fit them;
//   widened: elements, their bits in the lowest of 32.
// The compiler's conversions of vectors take elements apart one by one.

#if LENET_LANES == 16
inline Ints dot(Ints sum, Ints taps, Ints weights) {
  return reinterpret_cast<Ints>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum),
                                                    reinterpret_cast<__m512i>(taps),
                                                    reinterpret_cast<__m512i>(weights)));
}
/// Keeps what is used several times from being read from memory each time.
inline Ints in_register(Ints vector) {
  __asm__("" : "+v"(vector));
  return vector;
}
constexpr __mmask16 kAll = 0xffff;  // the compiler warns of the functions without a mask
inline Elements narrowed(Ints values) {
  return reinterpret_cast<Elements>(
      _mm512_maskz_cvtepi32_epi8(kAll, reinterpret_cast<__m512i>(values)));
}
inline Ints widened(const Element* from) {
  return reinterpret_cast<Ints>(
      _mm512_maskz_cvtepu8_epi32(kAll, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
inline Ints rounded(Floats values) {  // of NaN and what is too large, the least
  return reinterpret_cast<Ints>(_mm512_maskz_cvtps_epi32(kAll, reinterpret_cast<__m512>(values)));
}
inline Floats whole_floats(Floats values) {  // rounded to even
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return Floats(_mm512_maskz_roundscale_ps(kAll, __m512(values), kNearest));
}
/// Four vectors of values as elements: of each four, then of the next. `added` is added; those that
/// are less than `lowest` then become that.
inline __m512i mixed(Ints a, Ints b, Ints c, Ints d, int added, int lowest) {
  const auto of = [](Ints values) { return reinterpret_cast<__m512i>(values); };
  const __m512i shift = _mm512_set1_epi16(static_cast<short>(added));
  const __m512i ab = _mm512_adds_epi16(_mm512_packs_epi32(of(a), of(b)), shift);
  const __m512i cd = _mm512_adds_epi16(_mm512_packs_epi32(of(c), of(d)), shift);
  return _mm512_max_epu8(_mm512_packus_epi16(ab, cd), _mm512_set1_epi8(static_cast<char>(lowest)));
}
/// The same, one vector after the other.
inline __m512i in_order(Ints a, Ints b, Ints c, Ints d, int added, int lowest) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_maskz_permutexvar_epi32(kAll, order, mixed(a, b, c, d, added, lowest));
}
template <int Which>
inline Elements quarter(__m512i vectors) {
  constexpr __mmask8 kFour = 0xf;
  return Elements(_mm512_maskz_extracti32x4_epi32(kFour, vectors, Which));
}
/// Two vectors to one place, two to another.
inline void store_halves(__m512i vectors, Element* first, Element* second) {
  constexpr __mmask8 kFour = 0xf;
  const auto store_at = [](Element* to, __m256i half) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), half);
  };
  store_at(first, _mm512_maskz_extracti64x4_epi64(kFour, vectors, 0));
  store_at(second, _mm512_maskz_extracti64x4_epi64(kFour, vectors, 1));
}
/// Groups of three taps, of 64 channels in the order in which mixed() puts them right.
struct FourOfTaps {
  Ints vectors[4];
};
inline FourOfTaps interleaved(const Element* a, const Element* b, const Element* c) {
  const __m512i of_a = _mm512_loadu_si512(a);
  const __m512i of_b = _mm512_loadu_si512(b);
  const __m512i of_c = _mm512_loadu_si512(c);
  const __m512i none = _mm512_setzero_si512();
  const __m512i ab[] = {_mm512_unpacklo_epi8(of_a, of_b), _mm512_unpackhi_epi8(of_a, of_b)};
  const __m512i c0[] = {_mm512_unpacklo_epi8(of_c, none), _mm512_unpackhi_epi8(of_c, none)};
  return {{Ints(_mm512_unpacklo_epi16(ab[0], c0[0])), Ints(_mm512_unpackhi_epi16(ab[0], c0[0])),
           Ints(_mm512_unpacklo_epi16(ab[1], c0[1])), Ints(_mm512_unpackhi_epi16(ab[1], c0[1]))}};
}
/// The first `count` elements.
inline void store_first(Element* to, Elements values, int count) {
  _mm_mask_storeu_epi8(to, static_cast<__mmask16>((1U << count) - 1), __m128i(values));
}
#elif LENET_LANES == 8
inline Ints dot(Ints sum, Ints taps, Ints weights) {
  const auto products =
      _mm256_madd_epi16(reinterpret_cast<__m256i>(taps), reinterpret_cast<__m256i>(weights));
  return sum + reinterpret_cast<Ints>(products);
}
inline Elements narrowed(Ints values) {
  const auto whole = reinterpret_cast<__m256i>(values);
  return reinterpret_cast<Elements>(
      _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1)));
}
inline Ints widened(const Element* from) {
  return reinterpret_cast<Ints>(
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}
#elif LENET_LANES == 4 && defined(__x86_64__)
inline Ints dot(Ints sum, Ints taps, Ints weights) {
  const auto products =
      _mm_madd_epi16(reinterpret_cast<__m128i>(taps), reinterpret_cast<__m128i>(weights));
  return sum + reinterpret_cast<Ints>(products);
}
inline Elements narrowed(Ints values) {
  const auto whole = reinterpret_cast<__m128i>(values);
  return reinterpret_cast<Elements>(_mm_cvtsi128_si64(_mm_packs_epi32(whole, whole)));
}
inline Ints widened(const Element* from) {
  return reinterpret_cast<Ints>(
      _mm_cvtepu16_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
}
#elif LENET_LANES == 4 && defined(LENET_DOTPROD)
inline Ints dot(Ints sum, Ints taps, Ints weights) {
  return reinterpret_cast<Ints>(vdotq_s32(reinterpret_cast<int32x4_t>(sum),
                                          reinterpret_cast<int8x16_t>(taps),
                                          reinterpret_cast<int8x16_t>(weights)));
}
inline Elements narrowed(Ints values) {
  const int16x4_t halves = vmovn_s32(reinterpret_cast<int32x4_t>(values));
  const int8x8_t bytes = vmovn_s16(vcombine_s16(halves, halves));
  return reinterpret_cast<Elements>(vget_lane_s32(vreinterpret_s32_s8(bytes), 0));
}
inline Ints widened(const Element* from) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, from, sizeof(bits));
  const uint16x8_t halves = vmovl_u8(vcreate_u8(bits));
  return reinterpret_cast<Ints>(vmovl_u16(vget_low_u16(halves)));
}
#elif LENET_LANES == 4
inline Ints dot(Ints sum, Ints taps, Ints weights) {
  const auto of_taps = reinterpret_cast<int16x8_t>(taps);
  const auto of_weights = reinterpret_cast<int16x8_t>(weights);
  const int32x4_t low = vmull_s16(vget_low_s16(of_taps), vget_low_s16(of_weights));
  const int32x4_t high = vmull_high_s16(of_taps, of_weights);
  return sum + reinterpret_cast<Ints>(vpaddq_s32(low, high));
}
inline Elements narrowed(Ints values) {
  return reinterpret_cast<Elements>(vmovn_s32(reinterpret_cast<int32x4_t>(values)));
}
inline Ints widened(const Element* from) {
  return reinterpret_cast<Ints>(vmovl_u16(vreinterpret_u16_s16(vld1_s16(from))));
}
#else
inline Ints dot(Ints sum, Ints taps, Ints weights) {
  const auto low = [](std::int32_t pair) { return static_cast<std::int16_t>(pair & 0xffff); };
  const auto high = [](std::int32_t pair) { return pair >> 16; };
  return sum + low(taps[0]) * low(weights[0]) + high(taps[0]) * high(weights[0]);
}
inline Elements narrowed(Ints values) { return Elements{static_cast<Element>(values[0])}; }
inline Ints widened(const Element* from) { return Ints{static_cast<std::uint16_t>(*from)}; }
#endif

}  // namespace
}  // namespace lenet::native::int8

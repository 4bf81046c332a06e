#define LENET_LANES 8
#define LENET_REGISTERS 16
#define LENET_ELEMENT std::int16_t
#define LENET_KERNELS kAvx2
#define LENET_NAME "avx2"
#include <immintrin.h>

#include "engines/native/int8/vectors.h"

namespace lenet::native::int8 {
namespace {

/// The sum with the products of a group of taps and their weights.
inline Ints dot(Ints sum, Ints taps, Ints weights) {
  const auto products =
      _mm256_madd_epi16(reinterpret_cast<__m256i>(taps), reinterpret_cast<__m256i>(weights));
  return sum + reinterpret_cast<Ints>(products);
}

// The compiler's conversions of vectors take elements apart one by one.

inline Elements narrowed(Ints values) {
  const auto whole = reinterpret_cast<__m256i>(values);
  return reinterpret_cast<Elements>(
      _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1)));
}

/// Elements, their bits in the lowest of 32.
inline Ints widened(const Element* from) {
  return reinterpret_cast<Ints>(
      _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

}  // namespace
}  // namespace lenet::native::int8

#include "engines/native/int8/implementation.h"

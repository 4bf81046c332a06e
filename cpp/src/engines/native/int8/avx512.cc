#define LENET_LANES 16
#define LENET_REGISTERS 32
#define LENET_KERNELS kAvx512
#define LENET_NAME "avx512"
#include <immintrin.h>

#include <cstdint>

namespace lenet::native::int8 {
namespace {

constexpr int kLanes = LENET_LANES;
using Ints = std::int32_t __attribute__((vector_size(kLanes * sizeof(std::int32_t))));
using Element = std::int16_t;
constexpr int kZero = 0;

/// The sum with the products of a group of taps and their weights.
inline Ints dot(Ints sum, Ints taps, Ints weights) {
  const auto products =
      _mm512_madd_epi16(reinterpret_cast<__m512i>(taps), reinterpret_cast<__m512i>(weights));
  return sum + reinterpret_cast<Ints>(products);
}

using Elements = Element __attribute__((vector_size(kLanes * sizeof(Element))));

// The compiler's conversions of vectors take elements apart one by one; and of the functions
// without a mask it warns.
constexpr __mmask16 kAll = 0xffff;

inline Elements narrowed(Ints values) {
  return reinterpret_cast<Elements>(
      _mm512_maskz_cvtepi32_epi16(kAll, reinterpret_cast<__m512i>(values)));
}

/// Elements, their bits in the lowest of 32.
inline Ints widened(const Element* from) {
  return reinterpret_cast<Ints>(_mm512_maskz_cvtepu16_epi32(
      kAll, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
}

}  // namespace
}  // namespace lenet::native::int8

#include "engines/native/int8/implementation.h"

#define LENET_LANES 16
#define LENET_REGISTERS 32
#define LENET_ELEMENT std::uint8_t
#define LENET_KERNELS kAvx512Vnni
#define LENET_NAME "avx512vnni"
#include <immintrin.h>

#include "engines/native/int8/vectors.h"

namespace lenet::native::int8 {
namespace {

/// The sum with the products of a group of taps and their weights.
inline Ints dot(Ints sum, Ints taps, Ints weights) {
  return reinterpret_cast<Ints>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sum),
                                                    reinterpret_cast<__m512i>(taps),
                                                    reinterpret_cast<__m512i>(weights)));
}

// The compiler's conversions of vectors take elements apart one by one; and of the functions
// without a mask it warns.
constexpr __mmask16 kAll = 0xffff;

inline Elements narrowed(Ints values) {
  return reinterpret_cast<Elements>(
      _mm512_maskz_cvtepi32_epi8(kAll, reinterpret_cast<__m512i>(values)));
}

/// Elements, their bits in the lowest of 32.
inline Ints widened(const Element* from) {
  return reinterpret_cast<Ints>(
      _mm512_maskz_cvtepu8_epi32(kAll, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
}

}  // namespace
}  // namespace lenet::native::int8

#include "engines/native/int8/implementation.h"

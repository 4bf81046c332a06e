#define LENET_LANES 8
#define LENET_REGISTERS 16
#define LENET_KERNELS kAvx2
#define LENET_NAME "avx2"
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
  const auto products = _mm256_madd_epi16(reinterpret_cast<__m256i>(taps), reinterpret_cast<__m256i>(weights));
  return sum + reinterpret_cast<Ints>(products);
}

}  // namespace
}  // namespace lenet::native::int8

#include "engines/native/int8/implementation.h"

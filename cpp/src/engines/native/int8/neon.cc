#define LENET_LANES 4
#define LENET_REGISTERS 32
#define LENET_ELEMENT std::int16_t
#define LENET_KERNELS kNeon
#define LENET_NAME "neon"
#include <arm_neon.h>

#include "engines/native/int8/vectors.h"

namespace lenet::native::int8 {
namespace {

/// The sum with the products of a group of taps and their weights.
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

/// Elements, their bits in the lowest of 32.
inline Ints widened(const Element* from) {
  return reinterpret_cast<Ints>(vmovl_u16(vreinterpret_u16_s16(vld1_s16(from))));
}

}  // namespace
}  // namespace lenet::native::int8

#include "engines/native/int8/implementation.h"

#define LENET_LANES 4
#define LENET_REGISTERS 32
#define LENET_ELEMENT std::int8_t
#define LENET_KERNELS kNeonDotprod
#define LENET_NAME "neondotprod"
#include <arm_neon.h>

#include "engines/native/int8/vectors.h"

namespace lenet::native::int8 {
namespace {

/// The sum with the products of a group of taps and their weights.
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

/// Elements, their bits in the lowest of 32.
inline Ints widened(const Element* from) {
  std::uint32_t bits;
  __builtin_memcpy(&bits, from, sizeof(bits));
  const uint16x8_t halves = vmovl_u8(vcreate_u8(bits));
  return reinterpret_cast<Ints>(vmovl_u16(vget_low_u16(halves)));
}

}  // namespace
}  // namespace lenet::native::int8

#include "engines/native/int8/implementation.h"

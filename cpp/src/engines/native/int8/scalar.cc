#define LENET_LANES 1
#define LENET_REGISTERS 16
#define LENET_ELEMENT std::int16_t
#define LENET_KERNELS kScalar
#define LENET_NAME "scalar"
#include "engines/native/int8/vectors.h"

namespace lenet::native::int8 {
namespace {

/// The sum with the products of a group of taps and their weights.
inline Ints dot(Ints sum, Ints taps, Ints weights) {
  const auto low = [](std::int32_t pair) { return static_cast<std::int16_t>(pair & 0xffff); };
  const auto high = [](std::int32_t pair) { return pair >> 16; };
  return sum + low(taps[0]) * low(weights[0]) + high(taps[0]) * high(weights[0]);
}

inline Elements narrowed(Ints values) { return Elements{static_cast<Element>(values[0])}; }

/// Elements, their bits in the lowest of 32.
inline Ints widened(const Element* from) { return Ints{static_cast<std::uint16_t>(*from)}; }

}  // namespace
}  // namespace lenet::native::int8

#include "engines/native/int8/implementation.h"

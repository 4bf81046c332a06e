#include "finite.h"

#include <cstdint>
#include <cstring>

namespace lenet {

bool all_finite(const float* values, std::size_t count) noexcept {
  // On the bits, so that the loop vectorizes: the exponent of NaN and infinity is all ones.
  constexpr std::uint32_t kExponent = 0x7f800000U;
  std::uint32_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, values + i, sizeof(bits));
    found |= static_cast<std::uint32_t>((bits & kExponent) == kExponent);
  }
  return found == 0;
}

}  // namespace lenet

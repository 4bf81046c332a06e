#include "finite.h"

#include <cstdint>
#include <cstring>

namespace lenet {
namespace {

/// On the bits: of NaN and infinity all bits of the exponent are ones, so that one more at its end
/// carries into the place of the sign. Many sums side by side, so that the loop vectorizes.
template <typename Bits>
bool none_has_exponent(std::string_view values, Bits exponent) noexcept {
  constexpr auto kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  const auto one = static_cast<Bits>(kSign - exponent);
  constexpr std::size_t kLanes = 64 / sizeof(Bits);
  const std::size_t count = values.size() / sizeof(Bits);
  Bits found[kLanes] = {};
  const auto add = [&](std::size_t first, std::size_t lanes) {
    for (std::size_t j = 0; j < lanes; ++j) {
      Bits bits = 0;
      std::memcpy(&bits, values.data() + (first + j) * sizeof(Bits), sizeof(Bits));
      found[j] |= static_cast<Bits>((bits & static_cast<Bits>(~kSign)) + one);
    }
  };
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) add(i, kLanes);
  add(i, count - i);
  Bits any = 0;
  for (const Bits lane : found) any |= lane;
  return (any & kSign) == 0;
}

}  // namespace

bool all_finite(std::string_view values, int dtype) noexcept {
  if (dtype == kFloat16) return none_has_exponent<std::uint16_t>(values, 0x7c00);
  if (dtype == kBfloat16) return none_has_exponent<std::uint16_t>(values, 0x7f80);
  if (dtype == kFloat32) return none_has_exponent<std::uint32_t>(values, 0x7f800000);
  if (dtype == kFloat64)
    return none_has_exponent<std::uint64_t>(values, std::uint64_t{0x7ff} << 52);
  return true;
}

}  // namespace lenet

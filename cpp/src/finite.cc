#include "finite.h"

#include <cstdint>
#include <cstring>

namespace lenet {
namespace {

/// On the bits: of NaN and infinity all bits of the exponent are ones, so that one more at its end
/// carries into the place of the sign. Many sums side by side, so that the loop vectorizes.
template <typename Bits>
bool none_has_exponent(const void* values, std::size_t count, Bits exponent) noexcept {
  constexpr auto kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  const auto one = static_cast<Bits>(kSign - exponent);
  constexpr std::size_t kLanes = 64 / sizeof(Bits);
  const auto* bytes = static_cast<const char*>(values);
  Bits found[kLanes] = {};
  const auto add = [&](std::size_t first, std::size_t lanes) {
    for (std::size_t j = 0; j < lanes; ++j) {
      Bits bits = 0;
      std::memcpy(&bits, bytes + (first + j) * sizeof(Bits), sizeof(Bits));
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
  switch (dtype) {
    case kFloat16:
      return none_has_exponent<std::uint16_t>(values.data(), values.size() / 2, 0x7c00);
    case kBfloat16:
      return none_has_exponent<std::uint16_t>(values.data(), values.size() / 2, 0x7f80);
    case kFloat32:
      return none_has_exponent<std::uint32_t>(values.data(), values.size() / 4, 0x7f800000);
    case kFloat64:
      return none_has_exponent<std::uint64_t>(values.data(), values.size() / 8,
                                              std::uint64_t{0x7ff} << 52);
    default:
      return true;
  }
}

}  // namespace lenet

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

template <typename Bits>
bool each_is_below_infinity(std::string_view values, Bits exponent) noexcept {
  constexpr auto kSign = static_cast<Bits>(Bits{1} << (8 * sizeof(Bits) - 1));
  const auto infinity = static_cast<Bits>(kSign | exponent);  // the negative one
  for (std::size_t at = 0; at + sizeof(Bits) <= values.size(); at += sizeof(Bits)) {
    Bits bits = 0;
    std::memcpy(&bits, values.data() + at, sizeof(Bits));
    if ((bits & exponent) == exponent && bits != infinity) return false;
  }
  return true;
}

/// Calls `action` with the bits of the exponent of a type, as an integer of its size.
/// \returns what it returns; true for a type that is not floating-point
template <typename Action>
bool with_exponent(int dtype, const Action& action) noexcept {
  if (dtype == kFloat16) return action(std::uint16_t{0x7c00});
  if (dtype == kBfloat16) return action(std::uint16_t{0x7f80});
  if (dtype == kFloat32) return action(std::uint32_t{0x7f800000});
  if (dtype == kFloat64) return action(std::uint64_t{0x7ff} << 52);
  return true;
}

}  // namespace

bool all_finite(std::string_view values, int dtype) noexcept {
  return with_exponent(dtype, [&](auto exponent) { return none_has_exponent(values, exponent); });
}

bool all_below_infinity(std::string_view values, int dtype) noexcept {
  return with_exponent(dtype,
                       [&](auto exponent) { return each_is_below_infinity(values, exponent); });
}

}  // namespace lenet

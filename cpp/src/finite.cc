#include "finite.h"

#include <cstdint>
#include <cstring>

namespace lenet {
namespace {

/// On the bits, so that the loop vectorizes: the exponent of NaN and infinity is all ones.
template <typename Bits>
bool none_has_exponent(const void* values, std::size_t count, Bits exponent) noexcept {
  const auto* bytes = static_cast<const char*>(values);
  Bits found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Bits bits = 0;
    std::memcpy(&bits, bytes + i * sizeof(Bits), sizeof(Bits));
    found |= static_cast<Bits>((bits & exponent) == exponent);
  }
  return found == 0;
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

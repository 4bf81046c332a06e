/// \file
/// What the containers of compressed images tell beside pixels.
#pragma once

#include <cstdint>
#include <string_view>

namespace lenet {

struct Container {
  std::int64_t height = 0;  ///< 0 when it is not told
  std::int64_t width = 0;
  int orientation = 1;  ///< EXIF's, 1 to 8
};

inline std::uint32_t big_endian(std::string_view bytes) {
  std::uint32_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

}  // namespace lenet

#pragma once

#include <cstdint>
#include <string_view>

namespace lenet::tests {

/// The checksum of a PNG's chunk, and of zlib's crc32: annex D of the PNG specification.
inline std::uint32_t crc32(std::string_view bytes) {
  std::uint32_t crc = 0xffffffffU;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1U) != 0 ? 0xedb88320U : 0U);
  }
  return ~crc;
}

}  // namespace lenet::tests

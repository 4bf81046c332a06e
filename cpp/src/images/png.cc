#include "images/png.h"

#include <array>

#include "images/exif.h"
#include "io/bad_file.h"
#include "io/byte_reader.h"

namespace lenet {
namespace {

constexpr std::string_view kSignature("\x89PNG\r\n\x1a\n", 8);

}  // namespace

bool is_png(std::string_view bytes) { return bytes.substr(0, kSignature.size()) == kSignature; }

std::uint32_t crc32(std::string_view bytes) {
  // As annex D of the PNG specification defines it.
  static const std::array<std::uint32_t, 256> kTable = [] {
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t i = 0; i < table.size(); ++i) {
      std::uint32_t crc = i;
      for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1U) != 0 ? 0xedb88320U : 0U);
      table[i] = crc;
    }
    return table;
  }();
  std::uint32_t crc = 0xffffffffU;
  for (const char byte : bytes) {
    crc = crc >> 8 ^ kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xffU];
  }
  return ~crc;
}

Container read_png(std::string_view bytes, const std::string& path) {
  Container container;
  ByteReader reader(bytes);
  reader.take(kSignature.size());
  for (;;) {
    const std::uint32_t length = reader.read_big_endian_32();
    const std::string_view chunk = reader.take(4 + std::uint64_t{length});
    const std::uint32_t expected = reader.read_big_endian_32();
    if (!reader.ok()) bad_file(path, "is a PNG that is cut short");
    const std::string_view type = chunk.substr(0, 4);
    if (crc32(chunk) != expected) {
      bad_file(path, "is a damaged PNG: the checksum of its chunk " + std::string(type) +
                         " does not fit");
    }
    if (type == "IHDR" && chunk.size() >= 12) {
      container.width = big_endian(chunk.substr(4, 4));
      container.height = big_endian(chunk.substr(8, 4));
    }
    if (type == "eXIf") container.orientation = exif_orientation(chunk.substr(4));
    if (type == "IEND") return container;
  }
}

}  // namespace lenet

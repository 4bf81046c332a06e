#include "io/npz.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "io/file.h"

namespace lenet {
namespace {

using Table = std::array<std::uint32_t, 256>;

constexpr Table remainders() {
  constexpr std::uint32_t kPolynomial = 0xEDB88320U;
  Table table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1U) ^ ((value & 1U) * kPolynomial);
    table[byte] = value;
  }
  return table;
}

/// The checksum that archives have. \param before of the bytes that come first
std::uint32_t crc32(std::string_view bytes, std::uint32_t before) {
  static constexpr Table kRemainders = remainders();
  std::uint32_t value = ~before;
  for (const char byte : bytes) {
    value = kRemainders[(value ^ static_cast<unsigned char>(byte)) & 0xFFU] ^ (value >> 8U);
  }
  return ~value;
}

/// Appends an integer of so many bytes, the lowest first.
void append(std::string& to, std::uint64_t number, int bytes) {
  for (int i = 0; i < bytes; ++i) to += static_cast<char>(number >> (8 * i) & 0xFFU);
}

}  // namespace

void write_npz(const std::string& path, const std::vector<NamedArray>& arrays) {
  constexpr int kVersion = 20;
  constexpr int kUtf8Names = 1 << 11;
  constexpr int kFirstDay = 1 << 5 | 1;  // 1980-01-01: the same arrays give the same bytes
  std::vector<std::string> texts;        // in front of each array
  texts.reserve(arrays.size() + 1);      // which the pieces point into
  std::vector<std::string_view> pieces;
  std::string directory;
  std::uint64_t size = 0;
  for (const NamedArray& each : arrays) {
    const std::string name = each.name + ".npy";
    const std::string head = npy_header(each.array.dtype, each.array.shape);
    const std::uint64_t bytes = head.size() + each.array.bytes.size();
    // What both the array and the directory say of it.
    std::string about;
    append(about, kVersion, 2);
    append(about, kUtf8Names, 2);
    append(about, 0, 2);  // stored
    append(about, 0, 2);  // midnight
    append(about, kFirstDay, 2);
    append(about, crc32(each.array.bytes, crc32(head, 0)), 4);
    append(about, bytes, 4);
    append(about, bytes, 4);
    append(about, name.size(), 2);
    append(about, 0, 2);  // nothing else
    std::string& text = texts.emplace_back("PK\x03\x04");
    text += about + name + head;
    directory += "PK\x01\x02";
    append(directory, kVersion, 2);
    directory += about;
    append(directory, 0, 10);  // no comment, the first disk, no attributes
    append(directory, size, 4);
    directory += name;
    pieces.insert(pieces.end(), {text, each.array.bytes});
    size += text.size() + each.array.bytes.size();
  }
  if (size > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(ErrorCode::Unsupported,
                "'" + path + "' would take 4 GiB or more; write fewer images, or a .npy");
  }
  std::string& end = texts.emplace_back(directory + "PK\x05\x06");
  append(end, 0, 4);  // the first disk
  append(end, arrays.size(), 2);
  append(end, arrays.size(), 2);
  append(end, directory.size(), 4);
  append(end, size, 4);
  append(end, 0, 2);  // no comment
  pieces.emplace_back(end);
  write_atomically(path, pieces);
}

}  // namespace lenet

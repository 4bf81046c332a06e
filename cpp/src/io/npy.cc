#include "io/npy.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "io/bad_file.h"
#include "io/byte_reader.h"
#include "lenet/error.h"

namespace lenet {
namespace {

constexpr std::string_view kNpyMagic = "\x93NUMPY";

std::size_t item_size(const Array& array) {
  return static_cast<std::size_t>(array.dtype.back() - '0');
}

/// The text between the quotes, brackets or separators that follow `key` in a .npy header.
std::string_view header_value(std::string_view header, std::string_view key, std::string_view open,
                              char close, const std::string& path) {
  const auto at = header.find(key);
  const auto start = at == header.npos ? at : header.find(open, at + key.size());
  const auto end = start == header.npos ? start : header.find(close, start + open.size());
  if (end == header.npos) bad_file(path, "is damaged: no " + std::string(key) + " in its header");
  return header.substr(start + open.size(), end - start - open.size());
}

Shape parse_shape(std::string_view text, const std::string& path) {
  Shape shape;
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    std::string_view item = text.substr(0, comma);
    while (!item.empty() && item.front() == ' ') item.remove_prefix(1);
    text.remove_prefix(std::min(comma + 1, text.size()));
    if (item.empty()) continue;
    std::int64_t value = 0;
    const auto result = std::from_chars(item.data(), item.data() + item.size(), value);
    if (result.ec != std::errc() || result.ptr != item.data() + item.size() || value < 0) {
      bad_file(path, "is damaged: its header has a bad shape");
    }
    shape.push_back(value);
  }
  return shape;
}

}  // namespace

void require_whole(const Array& array, const std::string& path) {
  std::size_t needed = 0;
  try {
    needed = element_count(array.shape);
  } catch (const Error& error) {
    bad_file(path, std::string("is damaged: ") + error.what());
  }
  // By division: the product of a shape and an item size need not fit.
  const std::size_t items = array.bytes.size() / item_size(array);
  if (items != needed || array.bytes.size() % item_size(array) != 0) {
    bad_file(path, "is damaged: shape " + to_string(array.shape) + " needs " +
                       std::to_string(needed) + " values of " + std::to_string(item_size(array)) +
                       " bytes, it has " + std::to_string(array.bytes.size()) + " bytes");
  }
}

bool is_npy(std::string_view bytes) { return bytes.substr(0, kNpyMagic.size()) == kNpyMagic; }

Array parse_npy(std::string_view bytes, const std::string& path) {
  ByteReader reader(bytes);
  reader.take(kNpyMagic.size());
  const auto major = reader.read<std::uint8_t>();
  reader.read<std::uint8_t>();
  const std::uint64_t header_bytes =
      major == 1 ? reader.read<std::uint16_t>() : reader.read<std::uint32_t>();
  if (major < 1 || major > 3) bad_file(path, "has an unknown .npy format version");
  const std::string_view header = reader.take(header_bytes);
  if (!reader.ok()) bad_file(path, "is cut short in its header");
  Array array;
  array.dtype = header_value(header, "'descr':", "'", '\'', path);
  const std::string_view order = header_value(header, "'fortran_order':", " ", ',', path);
  array.shape = parse_shape(header_value(header, "'shape':", "(", ')', path), path);
  if (order != "True" && order != "False") {
    bad_file(path, "is damaged: fortran_order in its header is neither True nor False");
  }
  if (order == "True" && array.shape.size() > 1) {
    bad_file(path, "is in Fortran order; save numpy.ascontiguousarray(array)");
  }
  static constexpr std::string_view kKnown[] = {"|u1", "<f4", "<i4", "<i8"};
  if (std::find(std::begin(kKnown), std::end(kKnown), array.dtype) == std::end(kKnown)) {
    bad_file(path, "has element type " + array.dtype +
                       "; expected uint8 or float32 images, or uint8, int32 or int64 labels");
  }
  array.bytes = reader.take(reader.remaining());
  require_whole(array, path);
  return array;
}

std::string npy_header(const Shape& shape) {
  std::string text = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
  for (const std::int64_t dimension : shape) text += std::to_string(dimension) + ", ";
  text += "), }";
  // Magic, version, length and text together are a multiple of 64 bytes, the last a line feed.
  constexpr std::size_t kPreambleBytes = 10;
  constexpr std::size_t kAlignment = 64;
  const std::size_t used = kPreambleBytes + text.size() + 1;
  text.append((kAlignment - used % kAlignment) % kAlignment, ' ');
  text += '\n';
  const auto length = static_cast<std::uint16_t>(text.size());
  std::string header(kNpyMagic);
  header += {'\x01', '\x00', static_cast<char>(length & 0xff), static_cast<char>(length >> 8)};
  return header + text;
}

}  // namespace lenet

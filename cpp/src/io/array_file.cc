#include "io/array_file.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "io/byte_reader.h"
#include "io/printable.h"

namespace lenet {
namespace {

constexpr std::string_view kNpyMagic = "\x93NUMPY";

/// \throws Error BadInput naming `path` unless there are just as many bytes as the shape needs.
Array whole(Array array, const std::string& path) {
  std::size_t needed = 0;
  try {
    needed = element_count(array.shape);
  } catch (const Error& error) {
    bad_file(path, std::string("is damaged: ") + error.what());
  }
  const auto item_size = static_cast<std::size_t>(array.dtype.back() - '0');
  // By division: the product of a shape and an item size need not fit.
  if (array.bytes.size() / item_size != needed || array.bytes.size() % item_size != 0) {
    bad_file(path, "is damaged: shape " + to_string(array.shape) + " needs " +
                       std::to_string(needed) + " values of " + std::to_string(item_size) +
                       " bytes, it has " + std::to_string(array.bytes.size()) + " bytes");
  }
  return array;
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

constexpr std::string_view kSpace = " \t\n\v\f\r";

/// Takes a number, and the white space and comments before it; -1 where there is none.
std::int64_t take_number(std::string_view& header) {
  std::size_t at = header.find_first_not_of(kSpace);
  while (at < header.size() && header[at] == '#') {
    at = header.find_first_not_of(kSpace, header.find_first_of("\r\n", at));
  }
  header.remove_prefix(std::min(at, header.size()));
  std::int64_t value = -1;
  const auto end = std::from_chars(header.data(), header.data() + header.size(), value).ptr;
  header.remove_prefix(static_cast<std::size_t>(end - header.data()));
  return value;
}

Shape parse_shape(std::string_view text, const std::string& path) {
  Shape shape;
  while (text.find_first_not_of(" ,") != text.npos) {
    shape.push_back(take_number(text));
    if (shape.back() < 0 || (!text.empty() && text[0] != ',')) {
      bad_file(path, "is damaged: its header has a bad shape");
    }
    text.remove_prefix(std::min<std::size_t>(1, text.size()));
  }
  return shape;
}

/// An IDX file begins with two zero bytes, a type and the number of dimensions.
bool is_idx(std::string_view bytes) {
  return bytes.size() >= 4 && bytes[0] == '\0' && bytes[1] == '\0' && bytes[3] >= 1 &&
         bytes[3] <= 4;
}

Array parse_idx(std::string_view bytes, const std::string& path) {
  ByteReader reader(bytes);
  const std::uint32_t magic = reader.read_big_endian_32();
  if (magic >> 8 != 0x08) bad_file(path, "is an IDX file of a type other than unsigned bytes");
  Shape shape;
  for (std::uint32_t i = 0; i < (magic & 0xffU); ++i) shape.push_back(reader.read_big_endian_32());
  if (!reader.ok()) bad_file(path, "is cut short in its header");
  return whole({"|u1", shape, reader.take(reader.remaining())}, path);
}

}  // namespace

void bad_file(const std::string& path, const std::string& problem) {
  throw Error(ErrorCode::BadInput, "'" + path + "' " + printable(problem));
}

std::string npy_header(const std::string& dtype, const Shape& shape) {
  std::string text = "{'descr': '" + dtype + "', 'fortran_order': False, 'shape': (";
  for (const std::int64_t dimension : shape) text += std::to_string(dimension) + ", ";
  text += "), }";
  // Magic, version, length and text together are a multiple of 64 bytes, the last a line feed.
  constexpr std::size_t kPreambleBytes = 10;
  constexpr std::size_t kAlignment = 64;
  const std::size_t used = kPreambleBytes + text.size() + 1;
  text.append((kAlignment - used % kAlignment) % kAlignment, ' ');
  text += '\n';
  const auto length = static_cast<std::uint16_t>(text.size());
  std::string header = "\x93NUMPY";
  header += {'\x01', '\x00', static_cast<char>(length & 0xff), static_cast<char>(length >> 8)};
  return header + text;
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
  const std::string dtype(header_value(header, "'descr':", "'", '\'', path));
  const std::string_view order = header_value(header, "'fortran_order':", " ", ',', path);
  const Shape shape = parse_shape(header_value(header, "'shape':", "(", ')', path), path);
  if (order != "True" && order != "False") {
    bad_file(path, "is damaged: fortran_order in its header is neither True nor False");
  }
  if (order == "True" && shape.size() > 1) {
    bad_file(path, "is in Fortran order; save numpy.ascontiguousarray(array)");
  }
  static constexpr std::string_view kKnown[] = {"|u1", "<f4", "<i4", "<i8"};
  if (std::find(std::begin(kKnown), std::end(kKnown), dtype) == std::end(kKnown)) {
    bad_file(path, "has element type " + dtype +
                       "; expected uint8 or float32 images, or uint8, int32 or int64 labels");
  }
  return whole({dtype, shape, reader.take(reader.remaining())}, path);
}

Array parse_netpbm(std::string_view bytes, const std::string& path) {
  const bool is_colour = bytes[1] == '6';
  std::string_view left = bytes.substr(2);
  // White space ends the magic number and each of the numbers: digits that run into something else
  // are not a size.
  const auto is_ended = [&left] { return !left.empty() && kSpace.find(left[0]) != kSpace.npos; };
  const auto next = [&] {
    const std::int64_t value = is_ended() ? take_number(left) : -1;
    return is_ended() ? value : -1;
  };
  const std::int64_t width = next();
  const std::int64_t height = next();
  const std::int64_t maximum = next();
  if (width < 1 || height < 1 || maximum < 1) {
    bad_file(path, std::string("is damaged: bad ") + (is_colour ? "PPM" : "PGM") + " header");
  }
  if (maximum != 255) {
    bad_file(path, "has a greatest value of " + std::to_string(maximum) + "; expected 255");
  }
  const Shape shape = is_colour ? Shape{height, width, 3} : Shape{height, width};
  return whole({"|u1", shape, left.substr(1)}, path);  // behind the white space
}

Array parse_array(std::string_view bytes, const std::string& path) {
  if (is_npy(bytes)) return parse_npy(bytes, path);
  if (bytes.substr(0, 2) == "P5") return parse_netpbm(bytes, path);
  if (is_idx(bytes)) return parse_idx(bytes, path);
  if (bytes.substr(0, 2) == "\x1f\x8b") {
    bad_file(path, "is compressed; unpack it first (gunzip)");
  }
  bad_file(path, bytes.empty() ? "is empty" : "is neither .npy, IDX nor PGM (binary, P5)");
}

}  // namespace lenet

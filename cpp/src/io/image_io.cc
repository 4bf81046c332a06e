#include "lenet/image_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstring>
#include <filesystem>
#include <limits>
#include <new>
#include <random>
#include <string_view>
#include <utility>

#include "io/byte_reader.h"
#include "io/file.h"
#include "io/printable.h"
#include "lenet/error.h"

namespace lenet {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kNpyMagic = "\x93NUMPY";
constexpr float kMaxPixel = 255.0F;
constexpr unsigned char kIdxUint8 = 0x08;
constexpr int kMaxLinks = 40;  // as Linux follows

[[noreturn]] void bad_file(const std::string& path, const std::string& problem) {
  throw Error(ErrorCode::BadInput, "'" + path + "' " + printable(problem));
}

/// An array as it lies in a file.
struct Array {
  std::string dtype;  ///< NumPy's: "|u1", "<f4", ...
  Shape shape;
  std::string_view bytes;
};

std::size_t item_size(const Array& array) {
  return static_cast<std::size_t>(array.dtype.back() - '0');
}

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

/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
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

Array parse_idx(std::string_view bytes, const std::string& path) {
  ByteReader reader(bytes);
  const std::uint32_t magic = reader.read_big_endian_32();
  if (magic >> 8 != kIdxUint8) bad_file(path, "is an IDX file of a type other than unsigned bytes");
  Array array;
  array.dtype = "|u1";
  for (std::uint32_t i = 0; i < (magic & 0xffU); ++i) {
    array.shape.push_back(reader.read_big_endian_32());
  }
  if (!reader.ok()) bad_file(path, "is cut short in its header");
  array.bytes = reader.take(reader.remaining());
  require_whole(array, path);
  return array;
}

/// Netpbm's binary grey map: "P5", width, height, greatest value, one white space, pixels.
Array parse_pgm(std::string_view bytes, const std::string& path) {
  std::size_t at = 2;
  const auto next_number = [&] {
    const auto is_space = [&] { return std::isspace(static_cast<unsigned char>(bytes[at])) != 0; };
    while (at < bytes.size() && (is_space() || bytes[at] == '#')) {
      if (bytes[at] == '#') at = std::min(bytes.find('\n', at), bytes.size() - 1);
      ++at;
    }
    std::int64_t value = 0;
    const auto result = std::from_chars(bytes.data() + at, bytes.data() + bytes.size(), value);
    if (result.ec != std::errc() || value < 1) bad_file(path, "is damaged: bad PGM header");
    at = static_cast<std::size_t>(result.ptr - bytes.data());
    return value;
  };
  const std::int64_t width = next_number();
  const std::int64_t height = next_number();
  const std::int64_t maximum = next_number();
  if (maximum != 255) {
    bad_file(path, "has a greatest value of " + std::to_string(maximum) + "; expected 255");
  }
  Array array{"|u1", {height, width}, bytes.substr(std::min(at + 1, bytes.size()))};
  require_whole(array, path);
  return array;
}

/// An IDX file begins with two zero bytes, a type and the number of dimensions.
bool is_idx(std::string_view bytes) {
  return bytes.size() >= 4 && bytes[0] == '\0' && bytes[1] == '\0' && bytes[3] >= 1 &&
         bytes[3] <= 4;
}

Array parse_array(std::string_view bytes, const std::string& path) {
  if (bytes.substr(0, kNpyMagic.size()) == kNpyMagic) return parse_npy(bytes, path);
  if (bytes.substr(0, 2) == "P5") return parse_pgm(bytes, path);
  if (is_idx(bytes)) return parse_idx(bytes, path);
  if (bytes.substr(0, 2) == "\x1f\x8b") {
    bad_file(path, "is compressed; unpack it first (gunzip)");
  }
  bad_file(path, bytes.empty() ? "is empty" : "is neither .npy, IDX nor PGM (binary, P5)");
}

template <typename T>
std::vector<std::int64_t> widen(const Array& array) {
  std::vector<std::int64_t> values;
  for (ByteReader reader(array.bytes); !reader.at_end();) values.push_back(reader.read<T>());
  return values;
}

[[noreturn]] void fail_to_write(const std::string& path, const std::string& temporary, int error) {
  if (!temporary.empty()) unlink(temporary.c_str());
  const bool place = error == ENOENT || error == EACCES || error == ENOTDIR || error == EROFS ||
                     error == EISDIR || error == EPERM || error == ELOOP || error == ENAMETOOLONG;
  throw Error(place ? ErrorCode::FileNotFound : ErrorCode::BackendFailure,
              "cannot write '" + path + "': " + std::strerror(error));
}

bool write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(file, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
  return true;
}

/// A device or a pipe (/dev/stdout, /dev/null) is written to; a rename would replace it.
void write_in_place(const std::string& path, std::string_view header, std::string_view values) {
  const int file = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) fail_to_write(path, "", errno);
  const bool written = write_all(file, header) && write_all(file, values);
  const int error = errno;
  const bool closed = close(file) == 0;
  if (!written || !closed) fail_to_write(path, "", written ? errno : error);
}

/// A new file in the folder of `target`, with the permissions that the process gives to new files.
std::pair<int, std::string> create_beside(const fs::path& target) {
  constexpr int kAttempts = 100;
  std::random_device random;
  std::string path;
  int file = -1;
  for (int i = 0; i < kAttempts && file < 0; ++i) {
    path = (target.parent_path() / (".lenet-" + std::to_string(random()))).string();
    file = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0 && errno != EEXIST) break;
  }
  return {file, path};
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

}  // namespace

Tensor read_images(const std::string& path) {
  const std::string contents = read_file(path);
  const Array array = parse_array(contents, path);
  Tensor images;
  images.shape = array.shape;
  switch (array.shape.size()) {
    case 2:
      images.shape.insert(images.shape.begin(), {1, 1});
      break;
    case 3:
      images.shape.insert(images.shape.begin() + 1, 1);
      break;
    case 4:
      break;
    default:
      bad_file(path, "has shape " + to_string(array.shape) +
                         "; images have two, three or four dimensions");
  }
  if (array.dtype != "|u1" && array.dtype != "<f4") {
    bad_file(path, "has element type " + array.dtype + "; images are uint8 or float32");
  }
  try {
    images.data.resize(element_count(array.shape));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::BackendFailure, "not enough memory for the images of '" + path +
                                               "', shape " + to_string(array.shape));
  }
  if (array.dtype == "|u1") {
    std::transform(array.bytes.begin(), array.bytes.end(), images.data.begin(), [](char byte) {
      return static_cast<float>(static_cast<unsigned char>(byte)) / kMaxPixel;
    });
  } else if (!images.data.empty()) {
    std::memcpy(images.data.data(), array.bytes.data(), array.bytes.size());
  }
  return images;
}

std::vector<std::int64_t> read_labels(const std::string& path) {
  const std::string contents = read_file(path);
  const Array array = parse_array(contents, path);
  if (array.shape.size() != 1) {
    bad_file(path, "has shape " + to_string(array.shape) + "; labels have one dimension");
  }
  if (array.dtype == "|u1") return widen<std::uint8_t>(array);
  if (array.dtype == "<i4") return widen<std::int32_t>(array);
  if (array.dtype == "<i8") return widen<std::int64_t>(array);
  bad_file(path, "has element type " + array.dtype + "; labels are uint8, int32 or int64");
}

void write_npy(const std::string& path, const Tensor& tensor) {
  const std::string header = npy_header(tensor.shape);
  const std::string_view values(reinterpret_cast<const char*>(tensor.data.data()),
                                tensor.data.size() * sizeof(float));
  std::error_code failed;
  const fs::file_status status = fs::status(path, failed);
  if (fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status)) {
    write_in_place(path, header, values);
    return;
  }
  // A link stays a link: what it leads to is replaced.
  fs::path target = path;
  for (int links = 0; links < kMaxLinks && fs::is_symlink(target, failed); ++links) {
    target = target.parent_path() / fs::read_symlink(target, failed);
  }
  if (fs::is_symlink(target, failed)) fail_to_write(path, "", ELOOP);
  if (target.filename().native().size() > NAME_MAX) fail_to_write(path, "", ENAMETOOLONG);
  const auto [file, temporary] = create_beside(target);
  if (file < 0) fail_to_write(path, "", errno);
  const bool written = write_all(file, header) && write_all(file, values);
  const int error = errno;
  const bool closed = close(file) == 0;
  if (!written || !closed) fail_to_write(path, temporary, written ? errno : error);
  if (rename(temporary.c_str(), target.c_str()) != 0) fail_to_write(path, temporary, errno);
}

}  // namespace lenet

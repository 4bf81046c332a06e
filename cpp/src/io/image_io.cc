#include "lenet/image_io.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <new>
#include <string_view>

#include "io/atomic_file.h"
#include "io/bad_file.h"
#include "io/byte_reader.h"
#include "io/file.h"
#include "io/netpbm.h"
#include "io/npy.h"
#include "lenet/error.h"

namespace lenet {
namespace {

constexpr float kMaxPixel = 255.0F;
constexpr unsigned char kIdxUint8 = 0x08;

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

Array parse_pgm(std::string_view bytes, const std::string& path) {
  const Netpbm image = parse_netpbm(bytes, path);
  return {"|u1", {image.height, image.width}, image.pixels};
}

/// An IDX file begins with two zero bytes, a type and the number of dimensions.
bool is_idx(std::string_view bytes) {
  return bytes.size() >= 4 && bytes[0] == '\0' && bytes[1] == '\0' && bytes[3] >= 1 &&
         bytes[3] <= 4;
}

Array parse_array(std::string_view bytes, const std::string& path) {
  if (is_npy(bytes)) return parse_npy(bytes, path);
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
  write_atomically(path, {header, values});
}

}  // namespace lenet

#include "lenet/image_io.h"

#include <new>
#include <string_view>
#include <utility>

#include "io/array_file.h"
#include "io/byte_reader.h"
#include "io/file.h"
#include "io/image_numbers.h"

namespace lenet {
namespace {

template <typename T>
std::vector<std::int64_t> widen(const Array& array) {
  std::vector<std::int64_t> values;
  for (ByteReader reader(array.bytes); !reader.at_end();) values.push_back(reader.read<T>());
  return values;
}

/// Of a model of float32.
void require_image_type(const std::string& dtype, const std::string& path) {
  if (dtype == "|u1" || dtype == "<f4") return;
  bad_file(path, "has element type " + dtype + "; images are uint8 or float32");
}

}  // namespace

ImageNumbers read_image_numbers(const std::string& path, bool integers) {
  const std::string contents = read_file(path);
  const Array array = parse_array(contents, path);
  const std::size_t dimensions = array.shape.size();
  if (dimensions < 2 || dimensions > 4) {
    bad_file(path,
             "has shape " + to_string(array.shape) + "; images have two, three or four dimensions");
  }
  if (!integers) require_image_type(array.dtype, path);
  ImageNumbers numbers{array.dtype, {}};
  Tensor& images = numbers.values;
  const auto take = [&](const auto& values) {
    constexpr std::int64_t kMostExact = std::int64_t{1} << 24;
    for (const std::int64_t value : values) {
      if (value > kMostExact || value < -kMostExact) {
        bad_file(path, "holds the integer " + std::to_string(value) +
                           "; those up to 16777216 are read, which float32 has");
      }
      images.data.push_back(static_cast<float>(value));
    }
  };
  try {
    images.data.reserve(element_count(array.shape));
    if (array.dtype == "|u1") {
      const auto* pixels = reinterpret_cast<const std::uint8_t*>(array.bytes.data());
      images.data.assign(pixels, pixels + array.bytes.size());
    } else if (array.dtype == "<i4") {
      take(widen<std::int32_t>(array));
    } else if (array.dtype == "<i8") {
      take(widen<std::int64_t>(array));
    } else {
      images.data.resize(element_count(array.shape));
      array.bytes.copy(reinterpret_cast<char*>(images.data.data()), array.bytes.size());
    }
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::BackendFailure, "not enough memory for the images of '" + path +
                                               "', shape " + to_string(array.shape));
  }
  images.shape = array.shape;
  if (dimensions == 2) images.shape.insert(images.shape.begin(), 1);
  if (dimensions < 4) images.shape.insert(images.shape.begin() + 1, 1);
  return numbers;
}

Tensor to_input(ImageNumbers numbers, const std::string& path, const std::string& dtype) {
  constexpr float kMostOfPixel = 255;
  if (dtype != "float32" || numbers.dtype == "<f4") return std::move(numbers.values);
  require_image_type(numbers.dtype, path);
  for (float& value : numbers.values.data) value /= kMostOfPixel;
  return std::move(numbers.values);
}

Tensor read_images(const std::string& path) {
  return to_input(read_image_numbers(path, false), path, "float32");
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
  const std::string header = npy_header("<f4", tensor.shape);
  const std::string_view values(reinterpret_cast<const char*>(tensor.data.data()),
                                tensor.data.size() * sizeof(float));
  write_atomically(path, {header, values});
}

}  // namespace lenet

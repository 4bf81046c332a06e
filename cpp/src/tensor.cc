#include "lenet/tensor.h"

#include <algorithm>
#include <limits>

#include "lenet/error.h"

namespace lenet {

std::size_t element_count(const Shape& shape) {
  std::size_t count = 1;
  for (const std::int64_t dimension : shape) {
    if (dimension < 0) {
      throw Error(ErrorCode::BadInput, "negative dimension in shape " + to_string(shape));
    }
    const auto size = static_cast<std::size_t>(dimension);
    if (size != 0 && count > std::numeric_limits<std::size_t>::max() / sizeof(float) / size) {
      throw Error(ErrorCode::BadInput, "shape " + to_string(shape) + " is too large");
    }
    count *= size;
  }
  return count;
}

bool fits(const Shape& shape, const TensorSpec& declared, std::int64_t images) {
  const Shape& sizes = declared.shape;
  const auto same = [](std::int64_t size, std::int64_t given) { return size < 0 || size == given; };
  if (!declared.by_image) {
    return std::equal(sizes.begin(), sizes.end(), shape.begin(), shape.end(), same);
  }
  // The first may be a fixed one, met by several runs.
  if (shape.empty() || shape[0] != images) return false;
  return sizes.empty() ||
         std::equal(sizes.begin() + 1, sizes.end(), shape.begin() + 1, shape.end(), same);
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += i == 0 ? "" : ", ";
    text += i == 0 && shape[i] == -1 ? "N" : std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace lenet

/// \file
/// What the tests of the native engine's programs share.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "engines/native/kernels/dispatch.h"
#include "engines/native/network.h"

namespace lenet::tests {

/// The kernels of each instruction set of this processor, once.
/// \param named native::kernels_named, or that of int8
template <class Kernels>
std::vector<const Kernels*> available_kernels(const Kernels& (*named)(const char*)) {
  std::vector<const Kernels*> found;
  for (const std::string& set : native::available_sets()) {
    const Kernels* kernels = &named(set.c_str());
    if (std::find(found.begin(), found.end(), kernels) == found.end()) found.push_back(kernels);
  }
  return found;
}

/// The same numbers each time.
class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  std::int64_t from(std::int64_t least, std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(least, most)(engine_);
  }
  bool coin() { return from(0, 1) == 0; }
  /// A power of 2.
  float power(std::int64_t least, std::int64_t most) {
    return std::ldexp(1.0F, static_cast<int>(from(least, most)));
  }
  std::vector<float> values(std::int64_t count) {
    std::vector<float> found(static_cast<std::size_t>(count));
    for (float& value : found) value = std::normal_distribution<float>()(engine_);
    return found;
  }

 private:
  std::mt19937 engine_;
};

/// How many windows fit along a direction (0: rows, 1: columns) of an image of that size.
inline std::int64_t count_windows(std::int64_t size, const native::Window& window, std::size_t i) {
  const std::int64_t padded = size + window.padding[2 * i] + window.padding[2 * i + 1];
  return (padded - window.dilations[i] * (window.kernel[i] - 1) - 1) / window.strides[i] + 1;
}

/// The value of a tensor [channels, height, width], 0 outside the image.
inline double value_at(const std::vector<double>& image, const native::TensorShape& shape,
                       std::int64_t c, std::int64_t y, std::int64_t x) {
  if (y < 0 || x < 0 || y >= shape.height || x >= shape.width) return 0;
  return image[static_cast<std::size_t>((c * shape.height + y) * shape.width + x)];
}

}  // namespace lenet::tests

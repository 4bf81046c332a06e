#include "agreement.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace lenet {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Compares the values of one image. \param count how many there are
Difference compare_image(const float* reference, const float* found, std::size_t count, bool real,
                         double tolerance) {
  double scale = 1;
  for (std::size_t i = 0; i < count; ++i) {
    const double magnitude = std::abs(static_cast<double>(reference[i]));
    if (std::isfinite(magnitude)) scale = std::max(scale, magnitude);
  }
  Difference all;
  for (std::size_t i = 0; i < count; ++i) {
    const double a = reference[i];
    const double b = found[i];
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    const bool finite = std::isfinite(a) && std::isfinite(b);
    const double difference = finite ? std::abs(a - b) : kInfinity;
    all.largest = std::max(all.largest, difference);
    all.share = std::max(all.share, real ? difference / (tolerance * scale) : kInfinity);
  }
  return all;
}

}  // namespace

Difference compare(const Tensor& reference, const Tensor& found, bool real, double tolerance) {
  if (reference.shape != found.shape) return {kInfinity, kInfinity};
  const std::size_t images = reference.shape.empty() || reference.shape[0] == 0
                                 ? 1
                                 : static_cast<std::size_t>(reference.shape[0]);
  const std::size_t count = reference.data.size() / images;
  Difference all;
  for (std::size_t i = 0; i < images; ++i) {
    const Difference one = compare_image(reference.data.data() + i * count,
                                         found.data.data() + i * count, count, real, tolerance);
    all.largest = std::max(all.largest, one.largest);
    all.share = std::max(all.share, one.share);
  }
  return all;
}

}  // namespace lenet

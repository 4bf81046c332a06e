#include "engines/native/runtime/softmax.h"

#include <algorithm>
#include <cmath>

namespace lenet::native {

void softmax(const float* from, const Axis& axis, bool logarithm, float* to) {
  const std::int64_t end = axis.count * axis.inner;
  float largest = *from;
  for (std::int64_t i = 0; i < end; i += axis.inner) largest = std::max(largest, from[i]);
  double sum = 0;
  for (std::int64_t i = 0; i < end; i += axis.inner) {
    const float shifted = from[i] - largest;
    const float power = std::exp(shifted);
    sum += power;
    to[i] = logarithm ? shifted : power;
  }
  const double log_sum = std::log(sum);
  for (std::int64_t i = 0; i < end; i += axis.inner) {
    to[i] = static_cast<float>(logarithm ? to[i] - log_sum : to[i] / sum);
  }
}

}  // namespace lenet::native

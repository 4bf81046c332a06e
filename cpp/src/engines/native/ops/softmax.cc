#include "engines/native/ops/softmax.h"

#include <algorithm>
#include <cmath>

namespace lenet::native {

void softmax(float* row, std::int64_t count) {
  const float largest = *std::max_element(row, row + count);
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    row[i] = std::exp(row[i] - largest);
    sum += row[i];
  }
  for (std::int64_t i = 0; i < count; ++i) row[i] = static_cast<float>(row[i] / sum);
}

}  // namespace lenet::native

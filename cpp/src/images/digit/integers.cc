#include "images/digit/integers.h"

#include <cstdlib>

namespace lenet::digit {

Value median_magnitude(const Grid& grid) {
  Histogram magnitudes;
  for (const Value value : grid.values) magnitudes.add(std::abs(value));
  return magnitudes.quartile(2);
}

}  // namespace lenet::digit

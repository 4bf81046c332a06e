#include "engines/native/runtime/placement.h"

#include "engines/native/network.h"

namespace lenet::native {

void Placement::lay_out(std::int64_t vector) {
  // Elements that are multiplied together with the last ones of an image of integers.
  constexpr std::int64_t kRestOfTaps = 64;
  const std::int64_t rows = shape.height() + 2 * border;
  std::int64_t columns = shape.width() + 2 * border;
  lanes = 1;
  column = 1;
  planes = shape.channels();
  beyond = vector;
  switch (layout) {
    case Layout::Vectors:
      lanes = column = vector;
      planes = round_up(shape.channels(), vector) / vector;
      break;
    case Layout::Order:
      break;
    case Layout::Planes:
      columns = round_up(columns, 2 * vector);
      beyond = 4 * vector;
      break;
    case Layout::ChannelsLast:
      lanes = column = shape.channels();
      planes = 1;
      beyond = vector + kRestOfTaps;
      break;
    case Layout::Images:
      column = shape.channels() * vector;
      planes = 1;
      break;
  }
  require_tensor_memory(static_cast<double>(element_bytes * planes * column) *
                        static_cast<double>(rows) * static_cast<double>(columns));
  row = column * columns;
  size = row * rows * planes + beyond;
  block = layout == Layout::ChannelsLast ? 0 : layout == Layout::Images ? vector : row * rows;
}

void Placement::clear_behind(float* first) const {
  const std::int64_t rest = behind();
  if (rest == 0) return;
  first += (planes - 1) * block + lanes - rest;
  for (std::int64_t y = 0; y < shape.height(); ++y, first += row) {
    for (std::int64_t x = 0; x < shape.width(); ++x) std::fill_n(first + x * column, rest, 0.0F);
  }
}

}  // namespace lenet::native

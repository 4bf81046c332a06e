/// \file
/// Rows and columns that are weighted sums of some of the input, in vectors of channels or images.
///
/// Part of implementation.h.

/// The weighted sum of vectors that lie `step` floats apart.
inline Vector weighted(const ResizeTask::Taps& taps, std::int32_t at, const float* from,
                       std::int64_t step) {
  const std::int32_t first = taps.begins[at];
  const std::int32_t end = taps.begins[at + 1];
  Vector sum = load(from + taps.places[first] * step);
  if (end == first + 1) return sum;
  sum *= all(taps.weights[first]);
  for (std::int32_t i = first + 1; i < end; ++i) {
    sum = multiply_add(load(from + taps.places[i] * step), taps.weights[i], sum);
  }
  return sum;
}

void resize(const ResizeTask& task) {
  const ResizeTask::Taps& rows = task.row_taps;
  const std::int64_t line = std::int64_t{task.input_columns} * task.values;
  for (std::int32_t y = 0; y < task.rows; ++y) {
    const float* from = task.input + rows.places[rows.begins[y]] * task.input_row;
    if (rows.begins[y + 1] > rows.begins[y] + 1) {
      for (std::int64_t v = 0; v < line; v += kLanes) {
        store(task.scratch + v, weighted(rows, y, task.input + v, task.input_row));
      }
      from = task.scratch;
    }
    float* to = task.output + y * task.output_row;
    for (std::int32_t x = 0; x < task.columns; ++x, to += task.values) {
      for (std::int32_t v = 0; v < task.values; v += kLanes) {
        store(to + v, weighted(task.column_taps, x, from + v, task.values));
      }
    }
  }
}

/// \file
/// Pools of vectors: each value is one of the same channel, or image.
///
/// Part of implementation.h.

struct Largest {
  static constexpr float kNothing = -__builtin_inff();
  static constexpr float kOfEmpty = -__FLT_MAX__;  ///< as Paddle and onnxruntime have it
  static Vector join(Vector a, Vector b) { return larger(b, a); }
};
struct Sum {
  static constexpr float kNothing = 0;
  static constexpr float kOfEmpty = 0;
  static Vector join(Vector a, Vector b) { return a + b; }
};

/// A window, or a part of one. A large one is taken in four parts: sums wait for each other.
template <class Kind>
inline Vector pooled_part(const PoolTask& task, const float* window, std::int32_t rows,
                          std::int32_t columns) {
  constexpr std::int32_t kLarge = 16;
  const std::int64_t step = task.tap_column;
  if (columns < 4 || rows * columns < kLarge) {
    Vector result = load(window);
    for (std::int32_t y = 0; y < rows; ++y, window += task.tap_row) {
      for (std::int32_t x = y == 0 ? 1 : 0; x < columns; ++x) {
        result = Kind::join(result, load(window + x * step));
      }
    }
    return result;
  }
  Vector a = load(window);
  Vector b = load(window + step);
  Vector c = load(window + 2 * step);
  Vector d = load(window + 3 * step);
  for (std::int32_t y = 0; y < rows; ++y, window += task.tap_row) {
    std::int32_t x = y == 0 ? 4 : 0;
    for (; x + 4 <= columns; x += 4) {
      const float* const at = window + x * step;
      a = Kind::join(a, load(at));
      b = Kind::join(b, load(at + step));
      c = Kind::join(c, load(at + 2 * step));
      d = Kind::join(d, load(at + 3 * step));
    }
    for (; x < columns; ++x) a = Kind::join(a, load(window + x * step));
  }
  return Kind::join(Kind::join(a, b), Kind::join(c, d));
}

/// One window. The values of a large one are summed in parts: an addition to a sum that has grown
/// rounds more coarsely, and where all pixels are alike it always rounds the same way.
template <class Kind>
inline Vector pooled(const PoolTask& task, const float* window, std::int32_t rows,
                     std::int32_t columns) {
  const std::int32_t most = columns < 4 ? 256 : 1024;  // one sum for all, or four
  if (std::int64_t{rows} * columns <= most) {
    return pooled_part<Kind>(task, window, rows, columns);
  }
  const std::int32_t part_columns = least(columns, most);
  const std::int32_t part_rows = most / part_columns;
  Vector result = all(Kind::kNothing);
  for (std::int32_t y = 0; y < rows; y += part_rows) {
    for (std::int32_t x = 0; x < columns; x += part_columns) {
      const float* const part = window + y * task.tap_row + x * task.tap_column;
      const Vector found = pooled_part<Kind>(task, part, least(part_rows, rows - y),
                                             least(part_columns, columns - x));
      result = Kind::join(result, found);
    }
  }
  return result;
}

constexpr int kPoolTile = kRegisters >= 32 ? 8 : 4;

/// Windows of `Kernel` columns side by side, `Stride` columns from each other: each column of the
/// image first, and then those of a window.
template <class Kind, int Kernel, int Stride>
inline void pool_tile(const PoolTask& task, const float* window, std::int32_t rows,
                      Vector (&results)[kPoolTile]) {
  constexpr int kColumns = (kPoolTile - 1) * Stride + Kernel;
  Vector columns[kColumns];
#pragma GCC unroll 32
  for (int x = 0; x < kColumns; ++x) columns[x] = load(window + x * task.input_column);
  for (std::int32_t y = 1; y < rows; ++y) {
    window += task.tap_row;
#pragma GCC unroll 32
    for (int x = 0; x < kColumns; ++x) {
      columns[x] = Kind::join(columns[x], load(window + x * task.input_column));
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kPoolTile; ++i) {
    results[i] = columns[i * Stride];
#pragma GCC unroll 4
    for (int k = 1; k < Kernel; ++k) {
      results[i] = Kind::join(results[i], columns[i * Stride + k]);
    }
  }
}

/// A row of one vector of a pixel. \param output of the first pixel
template <class Kind, int Kernel, int Stride>
void pool_row(const PoolTask& task, std::int32_t y, const float* input, float* output) {
  const std::int32_t rows = task.row_end[y] - task.row_begin[y];
  input += task.row_begin[y] * task.input_row;
  const auto give = [&](std::int32_t x, Vector result) {
    if (task.average) result /= all(task.row_size[y] * task.column_size[x]);
    store(output + x * task.output_column, rectified(result, task.relu));
  };
  // The last tile begins where it ends with the others.
  const std::int32_t last = task.inner_end - kPoolTile;
  for (std::int32_t x = 0; x < task.columns;) {
    const std::int32_t width = task.column_end[x] - task.column_begin[x];
    if (rows <= 0 || width <= 0) {
      give(x++, all(Kind::kOfEmpty));
      continue;
    }
    const bool tiled =
        Kernel > 0 && x >= task.inner_begin && x < task.inner_end && last >= task.inner_begin;
    if (tiled) x = least(x, last);
    const float* const window = input + task.column_begin[x] * task.input_column;
    if (tiled) {
      Vector results[kPoolTile];
      pool_tile<Kind, most(Kernel, 1), Stride>(task, window, rows, results);
      unrolled<kPoolTile>([&](int i) { give(x + i, results[i]); });
      x += kPoolTile;
    } else {
      give(x++, pooled<Kind>(task, window, rows, width));
    }
  }
}

template <class Kind>
void pool_rows(const PoolTask& task) {
  const int width = task.inner_width;
  const int stride = task.inner_stride;
  const auto of_row = width == 3 && stride == 1   ? pool_row<Kind, 3, 1>
                      : width == 3 && stride == 2 ? pool_row<Kind, 3, 2>
                      : width == 2 && stride == 2 ? pool_row<Kind, 2, 2>
                                                  : pool_row<Kind, 0, 1>;
  for (std::int32_t y = 0; y < task.rows; ++y) {
    for (std::int32_t v = 0; v < task.values; v += kLanes) {
      of_row(task, y, static_cast<const float*>(task.input) + v,
             static_cast<float*>(task.output) + y * task.output_row + v);
    }
  }
}

void pool(const PoolTask& task) { (task.average ? pool_rows<Sum> : pool_rows<Largest>)(task); }

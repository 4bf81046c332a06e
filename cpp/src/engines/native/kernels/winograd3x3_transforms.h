/// \file
/// The transforms of winograd3x3.h: of weights, tiles and sums. In each direction those of six
/// points, or in bf16, of the columns of a tile, of the four points 0, 1, -1 and infinity, which
/// take an array of another size.
///
/// Part of implementation.h, after winograd3x3_tiles.h.

/// Both directions of a transform that makes `ToRows` x `To` values of `FromRows` x `From`: those
/// of each column, then those of each row.
/// \param load_at gives the value of a row and column, and `store_at` takes those of the result
template <int FromRows, int ToRows, int From, int To, class Load, class Store>
inline __attribute__((always_inline)) void transform_both(
    void (&transform_column)(const Vector (&)[FromRows], Vector (&)[ToRows]),
    void (&transform_row)(const Vector (&)[From], Vector (&)[To]), const Load& load_at,
    const Store& store_at) {
  Vector half[ToRows][From];
  unrolled<From>([&](int x) {
    Vector column[FromRows];
    unrolled<FromRows>([&](int y) { column[y] = load_at(y, x); });
    Vector values[ToRows];
    transform_column(column, values);
    unrolled<ToRows>([&](int y) { half[y][x] = values[y]; });
  });
  unrolled<ToRows>([&](int y) {
    Vector values[To];
    transform_row(half[y], values);
    unrolled<To>([&](int x) { store_at(y, x, values[x]); });
  });
}

/// One direction of an input tile; of 5 x 5 too.
inline void transform_input(const Vector (&from)[6], Vector (&to)[6]) {
  constexpr float kA = kWinogradNear;
  constexpr float kB = kWinogradFar;
  const Vector even_a = multiply_add(from[2], -kB * kB, from[4]);
  const Vector odd_a = multiply_add(from[1], -kB * kB, from[3]);
  const Vector even_b = multiply_add(from[2], -kA * kA, from[4]);
  const Vector odd_b = multiply_add(from[1], -kA * kA, from[3]);
  const Vector inner_0 = multiply_add(from[2], -(kA * kA + kB * kB), from[4]);
  const Vector inner_5 = multiply_add(from[3], -(kA * kA + kB * kB), from[5]);
  to[0] = multiply_add(from[0], kA * kA * kB * kB, inner_0);
  to[1] = multiply_add(odd_a, kA, even_a);
  to[2] = multiply_add(-odd_a, kA, even_a);
  to[3] = multiply_add(odd_b, kB, even_b);
  to[4] = multiply_add(-odd_b, kB, even_b);
  to[5] = multiply_add(from[1], kA * kA * kB * kB, inner_5);
}

inline void transform_input(const Vector (&from)[4], Vector (&to)[4]) {
  to[0] = from[0] - from[2];
  to[1] = from[2] + from[1];
  to[2] = from[2] - from[1];
  to[3] = from[3] - from[1];
}

/// One direction of the transform of the weights.
inline void transform_weights(const Vector (&from)[3], Vector (&to)[kPoints3x3]) {
  constexpr float kA = kWinogradNear;
  constexpr float kB = kWinogradFar;
  const Vector even_a = multiply_add(from[2], kA * kA, from[0]);
  const Vector even_b = multiply_add(from[2], kB * kB, from[0]);
  to[0] = from[0];
  to[1] = multiply_add(from[1], kA, even_a);
  to[2] = multiply_add(-from[1], kA, even_a);
  to[3] = multiply_add(from[1], kB, even_b);
  to[4] = multiply_add(-from[1], kB, even_b);
  to[5] = from[2];
}

inline void transform_weights(const Vector (&from)[3], Vector (&to)[4]) {
  const Vector even = (from[0] + from[2]) * 0.5F;
  to[0] = from[0];
  to[1] = multiply_add(from[1], 0.5F, even);
  to[2] = multiply_add(-from[1], 0.5F, even);
  to[3] = from[2];
}

/// The weights of some input channels, or pairs of them.
/// \param from [channel][3][3][Vectors]
/// \param to [plane][channel][Vectors]
template <int Vectors>
void transform_panel(const float* from, std::int64_t channels, float* to) {
  constexpr int kWidth = Vectors * kLanes;
  const auto transform = [](const float* at, const auto& store_at) {
    transform_both<3, kRowPoints3x3, 3, kPoints3x3>(
        transform_weights, transform_weights,
        [&](int y, int x) { return load(at + (3 * y + x) * kWidth); }, store_at);
  };
  for (std::int64_t i = 0; i < channels * Vectors; ++i, to += kLanes) {
    const float* at = from + i / Vectors * kPaired * kTaps3x3 * kWidth + i % Vectors * kLanes;
    const auto place = [&](int y, int x) { return to + (y * kPoints3x3 + x) * kPanelPlane; };
    if constexpr (kIsBf16) {
      Vector low[kPlanes3x3];
      transform(at, [&](int y, int x, Vector value) { low[y * kPoints3x3 + x] = value; });
      transform(at + kTaps3x3 * kWidth, [&](int y, int x, Vector value) {
        store(place(y, x), paired(low[y * kPoints3x3 + x], value));
      });
    } else {
      transform(at, [&](int y, int x, Vector value) { store(place(y, x), value); });
    }
  }
}

/// A whole tile of a block of channels.
/// \param to of the first plane; the others are `plane` apart
__attribute__((noinline)) void transform_whole(const float* from, std::int64_t row,
                                               std::int64_t plane, float* to) {
  transform_both<kRowPoints3x3, kRowPoints3x3, kPoints3x3, kPoints3x3>(
      transform_input, transform_input,
      [&](int y, int x) { return load(from + y * row + x * kLanes); },
      [&](int y, int x, Vector value) { store_factors(to + (y * kPoints3x3 + x) * plane, value); });
}

/// A row of a tile with any number of outputs, in its place.
inline void transform_line(int outputs, Vector* line, int step) {
  constexpr float kA = kWinogradNear;
  constexpr float kB = kWinogradFar;
  Vector from[kPoints3x3];
  Vector to[kPoints3x3]{};
  for (int i = 0; i < kPoints3x3; ++i) from[i] = line[i * step];
  if (outputs == kTile3x3) {
    transform_input(from, to);
  } else if (outputs == 3) {  // the points 0, a, -a, b and infinity
    Vector inner[4];
    for (int i = 0; i < 4; ++i) inner[i] = multiply_add(from[i], -kB, from[i + 1]);
    to[0] = multiply_add(inner[0], -kA * kA, inner[2]);
    to[1] = multiply_add(inner[1], kA, inner[2]);
    to[2] = multiply_add(-inner[1], kA, inner[2]);
    to[3] = multiply_add(from[1], -kA * kA, from[3]);
    to[5] = multiply_add(inner[1], -kA * kA, inner[3]);
  } else {  // 0, a, -a and infinity
    to[0] = multiply_add(from[0], -kA * kA, from[2]);
    to[1] = multiply_add(from[1], kA, from[2]);
    to[2] = multiply_add(-from[1], kA, from[2]);
    to[5] = multiply_add(from[1], -kA * kA, from[3]);
  }
  for (int i = 0; i < kPoints3x3; ++i) line[i * step] = to[i];
}

/// A column of a tile with any number of outputs, in its place.
inline void transform_column(int outputs, Vector* line) {
  if constexpr (kTileRows3x3 == kTile3x3) return transform_line(outputs, line, kPoints3x3);
  Vector from[4];
  Vector to[4];
  for (int i = 0; i < 4; ++i) from[i] = line[i * kPoints3x3];
  transform_input(from, to);
  for (int i = 0; i < 4; ++i) line[i * kPoints3x3] = to[i];
}

/// A tile of a block of channels. What lies outside of the image is 0.
/// \param image the first pixel of the block
/// \param to of the first plane
inline void transform_tile(const Winograd3x3Task& task, const TilePlace& place, const float* image,
                           std::int64_t plane, float* to) {
  const std::int32_t top = place.y - task.padding_top;
  const std::int32_t left = place.x - task.padding_left;
  const int first_row = most(0, -top);
  const int last_row = least(kRowPoints3x3, task.in_height - top);
  const int first_column = most(0, -left);
  const int last_column = least(kPoints3x3, task.in_width - left);
  const bool whole = place.rows == kTileRows3x3 && place.columns == kTile3x3;
  if (whole && first_row == 0 && last_row == kRowPoints3x3 && first_column == 0 &&
      last_column == kPoints3x3) {
    const float* from = image + top * task.input_row + left * kLanes;
    return transform_whole(from, task.input_row, plane, to);
  }
  Vector copy[kPlanes3x3]{};
  for (int y = first_row; y < last_row; ++y) {
    for (int x = first_column; x < last_column; ++x) {
      copy[y * kPoints3x3 + x] = load(image + (top + y) * task.input_row + (left + x) * kLanes);
    }
  }
  if (whole) {
    const auto* from = reinterpret_cast<const float*>(copy);
    return transform_whole(from, kPoints3x3 * kLanes, plane, to);
  }
  for (int x = 0; x < kPoints3x3; ++x) transform_column(place.rows, copy + x);
  for (int y = 0; y < kRowPoints3x3; ++y) {
    transform_line(place.columns, copy + y * kPoints3x3, 1);
  }
  for (int p = 0; p < kPlanes3x3; ++p) store_factors(to + p * plane, copy[p]);
}

/// One direction of an output tile with four, divided by what kOutputScale has.
inline void transform_sums(const Vector (&from)[kPoints3x3], Vector (&to)[kTile3x3]) {
  constexpr double kA = kWinogradNear;
  constexpr double kB = kWinogradFar;
  const Vector sum_a = from[1] + from[2];
  const Vector sum_b = from[3] + from[4];
  const Vector difference_a = from[1] - from[2];
  const Vector difference_b = from[3] - from[4];
  const Vector even = multiply_add(sum_b, static_cast<float>(-kA * kA / (kB * kB)), sum_a);
  const Vector odd = multiply_add(difference_b, static_cast<float>(-kB / kA), difference_a);
  to[0] = multiply_add(even, static_cast<float>(kB * kB / (2 * (kA * kA - kB * kB))), from[0]);
  to[1] = multiply_add(difference_b, static_cast<float>(-kA / kB), difference_a);
  to[2] = sum_a - sum_b;
  to[3] = multiply_add(odd, static_cast<float>(kA / (2 * (kA * kA - kB * kB))), from[5]);
}

inline void transform_sums(const Vector (&from)[4], Vector (&to)[2]) {
  to[0] = from[0] + from[1] + from[2];
  to[1] = from[1] - from[2] + from[3];
}

constexpr double square(double value) { return value * value; }
constexpr double kSquares = square(kWinogradNear) - square(kWinogradFar);
constexpr double kOutputScale[kTile3x3] = {1 / square(double{kWinogradNear} * kWinogradFar),
                                           1 / (2 * kWinogradNear * kSquares), 1 / (2 * kSquares),
                                           1};
constexpr double row_scale(int y) { return kTileRows3x3 == kTile3x3 ? kOutputScale[y] : 1; }

/// What is added to an output, whose epilogue has the residual of the first; or null.
inline const float* residual_at(const Epilogue& epilogue, int y, int x) {
  if (epilogue.residual == nullptr) return nullptr;
  return epilogue.residual + y * epilogue.residual_row + x * kLanes;
}

/// A whole tile of a vector of channels.
/// \param sums of the first plane
__attribute__((noinline)) void finish_whole(const float* sums, Vector bias,
                                            const Epilogue& epilogue, float* output,
                                            std::int64_t output_row) {
  transform_both<kRowPoints3x3, kTileRows3x3, kPoints3x3, kTile3x3>(
      transform_sums, transform_sums,
      [&](int y, int x) { return load(sums + (y * kPoints3x3 + x) * kSumsPlane); },
      [&](int y, int x, Vector value) {
        const float scale = static_cast<float>(row_scale(y) * kOutputScale[x]);
        store(output + y * output_row + x * kLanes,
              finished(multiply_add(value, scale, bias), epilogue, residual_at(epilogue, y, x)));
      });
}

/// A row of any output tile, in its place.
inline void finish_line(int outputs, Vector* line, int step) {
  constexpr double kA = kWinogradNear;
  constexpr double kB = kWinogradFar;
  Vector from[kPoints3x3];
  Vector to[kTile3x3]{};
  for (int i = 0; i < kPoints3x3; ++i) from[i] = line[i * step];
  if (outputs == kTile3x3) {
    transform_sums(from, to);
    for (int i = 0; i < kTile3x3; ++i) to[i] *= all(static_cast<float>(kOutputScale[i]));
  } else if (outputs == 3) {
    const Vector plus = from[1] * static_cast<float>(1 / (2 * kA * kA * (kA - kB)));
    const Vector minus = from[2] * static_cast<float>(-1 / (2 * kA * kA * (kA + kB)));
    const Vector far = from[3] * static_cast<float>(-1 / (kB * kSquares));
    to[0] = multiply_add(from[0], static_cast<float>(1 / (kA * kA * kB)), plus) + minus + far;
    to[1] = multiply_add(far, kWinogradFar, (plus - minus) * kWinogradNear);
    to[2] = multiply_add(far, static_cast<float>(kB * kB),
                         multiply_add(plus + minus, static_cast<float>(kA * kA), from[5]));
  } else {
    const Vector inner = multiply_add(from[1] + from[2], 0.5F, -from[0]);
    to[0] = inner * static_cast<float>(1 / (kA * kA));
    to[1] = multiply_add(from[1] - from[2], static_cast<float>(1 / (2 * kA)), from[5]);
  }
  for (int i = 0; i < kTile3x3; ++i) line[i * step] = to[i];
}

/// A column of any output tile, in its place.
inline void finish_column(int outputs, Vector* line) {
  if constexpr (kTileRows3x3 == kTile3x3) return finish_line(outputs, line, kPoints3x3);
  Vector from[4];
  Vector to[2];
  for (int i = 0; i < 4; ++i) from[i] = line[i * kPoints3x3];
  transform_sums(from, to);
  for (int i = 0; i < 2; ++i) line[i * kPoints3x3] = to[i];
}

/// A tile of a vector of output channels.
void store_tile(const Winograd3x3Task& task, const TilePlace& place, const float* sums,
                std::int32_t block, float* output) {
  Epilogue epilogue = task.epilogue;
  const Vector bias = load(epilogue.bias + block * kLanes);
  if (epilogue.residual != nullptr) {
    epilogue.residual += place.image * task.image_step + block * epilogue.residual_block +
                         place.y * epilogue.residual_row + place.x * kLanes;
  }
  if (place.rows == kTileRows3x3 && place.columns == kTile3x3) {
    return finish_whole(sums, bias, epilogue, output, task.output_row);
  }
  Vector values[kPlanes3x3];
  for (int y = 0; y < kRowPoints3x3; ++y) {
    for (int x = 0; x < kPoints3x3; ++x) {
      const int p = y * kPoints3x3 + x;
      const bool lacks = lacks_row_point(place.rows, y) || lacks_point(place.columns, x);
      values[p] = lacks ? Vector{} : load(sums + p * kSumsPlane);
    }
  }
  for (int x = 0; x < kPoints3x3; ++x) finish_column(place.rows, values + x);
  for (int y = 0; y < place.rows; ++y) {
    finish_line(place.columns, values + y * kPoints3x3, 1);
    for (int x = 0; x < place.columns; ++x) {
      store(output + y * task.output_row + x * kLanes,
            finished(bias + values[y * kPoints3x3 + x], epilogue, residual_at(epilogue, y, x)));
    }
  }
}

void finish_tile(const Winograd3x3Task& task, const TilePlace& place, const float* sums,
                 std::int32_t block) {
  float* output = task.output + place.image * task.image_step + block * task.output_block +
                  place.y * task.output_row + place.x * kLanes;
  store_tile(task, place, sums, block, output);
  for (int y = 0; y < place.rows; ++y, output += task.output_row) {
    activate_stored(task.epilogue.activation, output, place.columns, kLanes, 1, 0);
  }
}

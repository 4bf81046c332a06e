/// \file
/// Products of pairs of bf16, with sums in float32: what the kernels that multiply have in the
/// place of float32's. A pair has the 32 bits of a float, in whose place it lies: the first number
/// in the lower half. Numbers are rounded to the nearest, to even in the middle; denormal ones
/// become 0, here and in sums, as the instructions have it.
///
/// Part of implementation.h.

constexpr bool kIsBf16 = true;
constexpr int kPaired = 2;  // numbers that are multiplied at once in a lane
/// Floats' places that a vector of values takes where they are multiplied.
constexpr int kFactors = kLanes / kPaired;

inline void add_product(Vector& sum, Vector value, Vector weight) {
  sum = Vector(_mm512_dpbf16_ps(__m512(sum), reinterpret_cast<__m512bh>(value),
                                reinterpret_cast<__m512bh>(weight)));
}

/// A pair in all lanes. As an integer: as a float it might be a NaN that a move changes.
inline Vector broadcast(const float* at) {
  using Bits __attribute__((may_alias)) = std::int32_t;
  return reinterpret_cast<Vector>(_mm512_set1_epi32(*reinterpret_cast<const Bits*>(at)));
}

/// Bit i: whether pair i is not 0.
inline std::uint64_t nonzero_factors(Vector pairs) {
  const auto bits = reinterpret_cast<__m512i>(pairs);
  return _mm512_test_epi32_mask(bits, bits);
}

/// Pairs of neighbours.
inline void store_factors(float* to, Vector values) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                      reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(__m512(values))));
}

/// Pairs of the same lane of two vectors.
inline Vector paired(Vector low, Vector high) {
  alignas(64) static constexpr std::int16_t kPlaces[] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                         21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                         11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(__m512(high), __m512(low)));
  return reinterpret_cast<Vector>(_mm512_permutexvar_epi16(_mm512_load_si512(kPlaces), both));
}

void pair_neighbours(const float* from, std::int64_t count, float* to, std::int64_t step) {
  for (std::int64_t i = 0; i < count; i += kLanes, to += step) store_factors(to, load(from + i));
}

void pair_rows(const float* low, const float* high, std::int64_t count, float* to,
               std::int64_t step) {
  Ints places{};
  for (int l = 0; l < kLanes; ++l) places[l] = l * static_cast<std::int32_t>(step);
  for (std::int64_t i = 0; i < count; i += kLanes, to += kLanes * step) {
    const Vector pairs = paired(load(low + i), load(high + i));
    if (step == 1) {
      store(to, pairs);
    } else {
      _mm512_i32scatter_ps(to, reinterpret_cast<__m512i>(places), __m512(pairs), sizeof(float));
    }
  }
}

double multiply_adds(std::int64_t steps) {
  const Vector factor = all(1e-12F);
  return kPaired * kLanes * repeat_in_registers<float>(steps, [&](Vector sum) {
           add_product(sum, sum, factor);
           return sum;
         });
}

// ---- by tiles

template <class Tiles>
void conv_tiles(const ConvTask& task) {
  const Epilogue& epilogue = task.epilogue;
  const auto finish = [&](int image, int row, int column, int count, int vector, char* first) {
    auto* const sums = reinterpret_cast<float*>(first);
    const std::int64_t of_image = image * task.image_step;
    float* const to = task.output + of_image + vector * task.output_channel +
                      row * task.output_row + column * task.output_column;
    const float* residual = epilogue.residual;
    if (residual != nullptr) {
      residual += of_image + vector * epilogue.residual_block + row * epilogue.residual_row +
                  column * task.output_column;
    }
    // What is loaded again must not wait for memory.
    float* const at = is_other(epilogue.activation) ? sums : to;
    const std::int64_t step = at == sums ? kLanes : task.output_column;
    for (int i = 0; i < count; ++i) {
      const float* const added = residual == nullptr ? nullptr : residual + i * task.output_column;
      store(at + i * step, finished(load(sums + i * kLanes), epilogue, added));
    }
    if (at == sums) {
      activate(epilogue.activation, sums, to, std::int64_t{kLanes} * count);
    }
    if (column + count < task.columns) return;
    float* const gap = to + count * task.output_column;
    for (std::int64_t i = 0; i < task.output_gap; i += kLanes) store(gap + i, Vector{});
  };
  constexpr int kFloat = sizeof(float);
  for_tiles_of<Tiles>(
      {reinterpret_cast<const char*>(task.input), task.input_column * kFloat,
       task.input_row * kFloat, task.input_image_step * kFloat, task.offsets, kFloat / kPaired,
       task.taps / kTileRows, reinterpret_cast<const char*>(task.weights),
       reinterpret_cast<const char*>(epilogue.bias), task.columns, task.rows, task.images,
       (task.channels + kLanes - 1) / kLanes},
      finish);
}

double amx_multiply_adds(std::int64_t steps) { return tile_multiply_adds(steps, kPaired); }

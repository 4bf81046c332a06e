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

void pair_neighbours(const float* from, std::int64_t count, float* to) {
  for (std::int64_t i = 0; i < count; i += kLanes) store_factors(to + i / 2, load(from + i));
}

void pair_rows(const float* low, const float* high, std::int64_t count, float* to) {
  for (std::int64_t i = 0; i < count; i += kLanes) {
    store(to + i, paired(load(low + i), load(high + i)));
  }
}

double multiply_adds(std::int64_t steps) {
  const Vector factor = all(1e-12F);
  return kPaired * kLanes * repeat_in_registers<float>(steps, [&](Vector sum) {
           add_product(sum, sum, factor);
           return sum;
         });
}

#include "engines/native/multiply_add_limit.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#else
#include <immintrin.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstdint>

// The loops keep all their operands in registers, with enough independent sums to hide the latency
// of an addition, and use the widest instructions there are.

namespace lenet::native {
namespace {

#if defined(__aarch64__)
// Four units of a latency of four cycles want sixteen sums in flight, of 32 registers.
#define LENET_SUMS(DO) LENET_TWELVE(DO) DO(m) DO(n) DO(o) DO(p)
#define LENET_REGISTER "w"
constexpr int kSums = 16;
#else
// Two units of a latency of four or five cycles want ten sums in flight; sixteen registers are
// named by AVX2, of which two hold the factors.
#define LENET_SUMS(DO) LENET_TWELVE(DO)
#define LENET_REGISTER "v"
constexpr int kSums = 12;
#endif
constexpr std::int64_t kStep = 100'000;

// Sums stay finite: x = x * 0.5 + 1 approaches 2, and x = x + 0.5 * 1, which NEON has instead, ends
// at half of kStep.
constexpr float kFactor = 0.5F;
constexpr float kTerm = 1.0F;

using Kernel = float (*)(std::int64_t);

struct Instructions {
  const char* name;
  int lanes;
  Kernel loop;
};

// GCC 12 keeps an array of sums in memory, so they have names. The empty assembly hides the
// recurrence from the compiler.
#define LENET_TWELVE(DO) DO(a) DO(b) DO(c) DO(d) DO(e) DO(f) DO(g) DO(h) DO(i) DO(j) DO(k) DO(l)

#define LENET_BEGIN(x) Vector x = zero;
#define LENET_STEP(x)        \
  x = LENET_MULTIPLY_ADD(x); \
  asm volatile("" : "+" LENET_REGISTER(x));
#define LENET_ADD(x) total += x[0];
#define LENET_LOOP                                    \
  const Vector zero{};                                \
  const Vector factor = zero + kFactor;               \
  const Vector term = zero + kTerm;                   \
  LENET_SUMS(LENET_BEGIN)                             \
  for (std::int64_t step = 0; step < steps; ++step) { \
    LENET_SUMS(LENET_STEP)                            \
  }                                                   \
  float total = 0;                                    \
  LENET_SUMS(LENET_ADD)                               \
  return total;

#if defined(__aarch64__)
float loop_neon(std::int64_t steps) {
  using Vector = float32x4_t;
#define LENET_MULTIPLY_ADD(x) vfmaq_f32(x, factor, term)
  LENET_LOOP
#undef LENET_MULTIPLY_ADD
}

Instructions widest() { return {"neon", 4, loop_neon}; }
#else
__attribute__((target("avx512f"))) float loop_avx512(std::int64_t steps) {
  using Vector = __m512;
#define LENET_MULTIPLY_ADD(x) _mm512_fmadd_ps(x, factor, term)
  LENET_LOOP
#undef LENET_MULTIPLY_ADD
}

__attribute__((target("avx2,fma"))) float loop_avx2(std::int64_t steps) {
  using Vector = __m256;
#define LENET_MULTIPLY_ADD(x) _mm256_fmadd_ps(x, factor, term)
  LENET_LOOP
#undef LENET_MULTIPLY_ADD
}

/// Every x86-64 has this one; a multiplication and an addition apart.
float loop_sse2(std::int64_t steps) {
  using Vector = __m128;
#define LENET_MULTIPLY_ADD(x) _mm_add_ps(_mm_mul_ps(x, factor), term)
  LENET_LOOP
#undef LENET_MULTIPLY_ADD
}

Instructions widest() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return {"avx512f", 16, loop_avx512};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {"avx2+fma", 8, loop_avx2};
  }
  return {"sse2", 4, loop_sse2};
}
#endif

}  // namespace

MultiplyAddLimit measure_multiply_add_limit(double seconds) {
  const Instructions instructions = widest();
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  volatile float keep = instructions.loop(kStep);
  double best = 0;
  const auto start = Clock::now();
  do {
    const auto begin = Clock::now();
    keep = instructions.loop(kStep);
    const double elapsed = seconds_since(begin);
    best = std::max(best, static_cast<double>(kStep) * kSums * instructions.lanes / elapsed);
  } while (seconds_since(start) < seconds);
  static_cast<void>(keep);
  return {instructions.name, best};
}

}  // namespace lenet::native

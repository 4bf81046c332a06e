#include "engines/native/machine_limits.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#else
#include <immintrin.h>
#endif

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "engines/native/runtime/aligned.h"

// The loops of multiply-adds keep all their operands in registers, with enough independent sums to
// hide the latency of an addition, and use the widest instructions there are.

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
// And so do these, of integers: four bytes of 1, two numbers of 16 bits.
constexpr int kBytes = 0x01010101;
constexpr int kPair = 0x00010001;

using Kernel = float (*)(std::int64_t);

struct Instructions {
  const char* name;
  int products;  ///< that one adds
  Kernel loop;
};

// GCC 12 keeps an array of sums in memory, so they have names. The empty assembly hides the
// recurrence from the compiler, and that every product is the same.
#define LENET_TWELVE(DO) DO(a) DO(b) DO(c) DO(d) DO(e) DO(f) DO(g) DO(h) DO(i) DO(j) DO(k) DO(l)

#define LENET_BEGIN(x) Vector x = zero;
#define LENET_STEP(x)        \
  x = LENET_MULTIPLY_ADD(x); \
  asm volatile("" : "+" LENET_REGISTER(x), "+" LENET_REGISTER(factor));
#define LENET_ADD(x) total += static_cast<float>(x[0]);
#define LENET_LOOP(FACTOR, TERM)                      \
  const Vector zero{};                                \
  auto factor = FACTOR;                               \
  const auto term = TERM;                             \
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
  LENET_LOOP(zero + kFactor, zero + kTerm)
#undef LENET_MULTIPLY_ADD
}

__attribute__((target("arch=armv8.2-a+dotprod"))) float dots_dotprod(std::int64_t steps) {
  using Vector = int32x4_t;
#define LENET_MULTIPLY_ADD(x) vdotq_s32(x, factor, term)
  LENET_LOOP(vreinterpretq_s8_s32(vdupq_n_s32(kBytes)), vreinterpretq_s8_s32(vdupq_n_s32(kBytes)))
#undef LENET_MULTIPLY_ADD
}

float dots_neon(std::int64_t steps) {
  using Vector = int32x4_t;
#define LENET_MULTIPLY_ADD(x) vmlal_s16(x, factor, term)
  LENET_LOOP(vreinterpret_s16_s32(vdup_n_s32(kPair)), vreinterpret_s16_s32(vdup_n_s32(kPair)))
#undef LENET_MULTIPLY_ADD
}

Instructions widest(Arithmetic arithmetic) {
  if (arithmetic == Arithmetic::Float32) return {"neon", 4, loop_neon};
  const bool dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  return dotprod ? Instructions{"neondotprod", 16, dots_dotprod}
                 : Instructions{"neon", 4, dots_neon};
}
#else
__attribute__((target("avx512f"))) float loop_avx512(std::int64_t steps) {
  using Vector = __m512;
#define LENET_MULTIPLY_ADD(x) _mm512_fmadd_ps(x, factor, term)
  LENET_LOOP(zero + kFactor, zero + kTerm)
#undef LENET_MULTIPLY_ADD
}

__attribute__((target("avx2,fma"))) float loop_avx2(std::int64_t steps) {
  using Vector = __m256;
#define LENET_MULTIPLY_ADD(x) _mm256_fmadd_ps(x, factor, term)
  LENET_LOOP(zero + kFactor, zero + kTerm)
#undef LENET_MULTIPLY_ADD
}

/// Every x86-64 has this one; a multiplication and an addition apart.
float loop_sse2(std::int64_t steps) {
  using Vector = __m128;
#define LENET_MULTIPLY_ADD(x) _mm_add_ps(_mm_mul_ps(x, factor), term)
  LENET_LOOP(zero + kFactor, zero + kTerm)
#undef LENET_MULTIPLY_ADD
}

__attribute__((target("avx512f,avx512vnni"))) float dots_avx512(std::int64_t steps) {
  using Vector = __m512i;
#define LENET_MULTIPLY_ADD(x) _mm512_dpbusd_epi32(x, factor, term)
  LENET_LOOP(_mm512_set1_epi32(kBytes), _mm512_set1_epi32(kBytes))
#undef LENET_MULTIPLY_ADD
}

__attribute__((target("avx2"))) float dots_avx2(std::int64_t steps) {
  using Vector = __m256i;
#define LENET_MULTIPLY_ADD(x) _mm256_add_epi32(x, _mm256_madd_epi16(factor, term))
  LENET_LOOP(_mm256_set1_epi32(kPair), _mm256_set1_epi32(kPair))
#undef LENET_MULTIPLY_ADD
}

float dots_sse2(std::int64_t steps) {
  using Vector = __m128i;
#define LENET_MULTIPLY_ADD(x) _mm_add_epi32(x, _mm_madd_epi16(factor, term))
  LENET_LOOP(_mm_set1_epi32(kPair), _mm_set1_epi32(kPair))
#undef LENET_MULTIPLY_ADD
}

Instructions widest(Arithmetic arithmetic) {
  __builtin_cpu_init();
  const bool whole = arithmetic == Arithmetic::Int8;
  const bool avx512 = __builtin_cpu_supports("avx512f");
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (whole && avx512 && __builtin_cpu_supports("avx512vnni")) {
    return {"avx512vnni", 64, dots_avx512};
  }
  if (whole) return avx2 ? Instructions{"avx2", 16, dots_avx2} : Instructions{"sse2", 8, dots_sse2};
  if (avx512) return {"avx512f", 16, loop_avx512};
  return avx2 ? Instructions{"avx2+fma", 8, loop_avx2} : Instructions{"sse2", 4, loop_sse2};
}
#endif

/// Work a second in each of the runs that fit in `seconds`, and in one at least.
template <class Run>
std::vector<double> rates_of(double seconds, double work, const Run& run) {
  using Clock = std::chrono::steady_clock;
  const auto seconds_since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  volatile auto keep = run();
  std::vector<double> rates;
  const auto start = Clock::now();
  do {
    const auto begin = Clock::now();
    keep = run();
    rates.push_back(work / seconds_since(begin));
  } while (seconds_since(start) < seconds);
  static_cast<void>(keep);
  return rates;
}

}  // namespace

MultiplyAddLimit measure_multiply_add_limit(double seconds, Arithmetic arithmetic) {
  const Instructions instructions = widest(arithmetic);
  const double work = static_cast<double>(kStep) * kSums * instructions.products;
  const auto rates = rates_of(seconds, work, [&] { return instructions.loop(kStep); });
  return {instructions.name, *std::max_element(rates.begin(), rates.end())};
}

double measure_memory_limit(double seconds) {
  constexpr std::int64_t kLine = kCacheLine / static_cast<std::int64_t>(sizeof(std::int64_t));
  constexpr std::int64_t kLeast = 1 << 26;
  constexpr std::int64_t kMost = 1 << 28;
  constexpr std::int64_t kSlice = 1 << 21;
  const std::int64_t cache = sysconf(_SC_LEVEL3_CACHE_SIZE);  // 0 or -1: not known
  const std::int64_t bytes = round_up(std::clamp(2 * cache, kLeast, kMost), kSlice);
  const Aligned<std::int64_t> array(static_cast<std::size_t>(bytes) / sizeof(std::int64_t));
  std::int64_t begin = 0;
  auto rates = rates_of(seconds, kSlice, [&] {
    const std::int64_t* from = array.data() + begin / static_cast<std::int64_t>(sizeof(*from));
    begin = (begin + kSlice) % bytes;
    std::int64_t sum = 0;
    // The processor reads whole lines: one number of each is enough.
    for (std::int64_t line = 0; line < kSlice / kCacheLine; ++line) sum += from[line * kLine];
    return sum;
  });
  // Some slices may still be in a cache, and others were interrupted.
  const auto middle = rates.begin() + static_cast<std::ptrdiff_t>(rates.size() / 2);
  std::nth_element(rates.begin(), middle, rates.end());
  return *middle;
}

}  // namespace lenet::native

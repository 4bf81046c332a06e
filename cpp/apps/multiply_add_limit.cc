/// \file
/// Measures how many single-precision multiply-adds a second this machine does: the limit that the
/// benchmark holds every engine against. The loop keeps all its operands in registers, with enough
/// independent sums to hide the latency of an addition, and uses the widest instructions there are.
///
/// multiply_add_limit [--threads=N] [--seconds=S]      prints one line of JSON
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr int kExitUsage = 2;
constexpr double kMaxSeconds = 60;
constexpr int kMaxThreads = 1024;
// Two units of a latency of four or five cycles want ten sums in flight; sixteen registers are
// named by AVX2, of which two hold the factors.
constexpr int kSums = 12;
constexpr std::int64_t kStep = 100'000;

// Sums stay finite: x = x * 0.5 + 1 approaches 2.
constexpr float kFactor = 0.5F;
constexpr float kTerm = 1.0F;

using Kernel = float (*)(std::int64_t);

// GCC 12 keeps an array of sums in memory, so they have names. The empty assembly hides the
// recurrence from the compiler.
#define LENET_TWELVE(DO) DO(a) DO(b) DO(c) DO(d) DO(e) DO(f) DO(g) DO(h) DO(i) DO(j) DO(k) DO(l)

__attribute__((target("avx512f"))) float loop_avx512(std::int64_t steps) {
  const __m512 factor = _mm512_set1_ps(kFactor);
  const __m512 term = _mm512_set1_ps(kTerm);
#define LENET_BEGIN(x) __m512 x = _mm512_setzero_ps();
#define LENET_STEP(x)                   \
  x = _mm512_fmadd_ps(x, factor, term); \
  asm volatile("" : "+v"(x));
#define LENET_ADD(x) total += _mm512_cvtss_f32(x);
  LENET_TWELVE(LENET_BEGIN)
  for (std::int64_t step = 0; step < steps; ++step) {
    LENET_TWELVE(LENET_STEP)
  }
  float total = 0;
  LENET_TWELVE(LENET_ADD)
#undef LENET_BEGIN
#undef LENET_STEP
#undef LENET_ADD
  return total;
}

__attribute__((target("avx2,fma"))) float loop_avx2(std::int64_t steps) {
  const __m256 factor = _mm256_set1_ps(kFactor);
  const __m256 term = _mm256_set1_ps(kTerm);
#define LENET_BEGIN(x) __m256 x = _mm256_setzero_ps();
#define LENET_STEP(x)                   \
  x = _mm256_fmadd_ps(x, factor, term); \
  asm volatile("" : "+x"(x));
#define LENET_ADD(x) total += _mm256_cvtss_f32(x);
  LENET_TWELVE(LENET_BEGIN)
  for (std::int64_t step = 0; step < steps; ++step) {
    LENET_TWELVE(LENET_STEP)
  }
  float total = 0;
  LENET_TWELVE(LENET_ADD)
#undef LENET_BEGIN
#undef LENET_STEP
#undef LENET_ADD
  return total;
}

/// Every x86-64 has this one; a multiplication and an addition apart.
float loop_sse2(std::int64_t steps) {
  const __m128 factor = _mm_set1_ps(kFactor);
  const __m128 term = _mm_set1_ps(kTerm);
#define LENET_BEGIN(x) __m128 x = _mm_setzero_ps();
#define LENET_STEP(x)                          \
  x = _mm_add_ps(_mm_mul_ps(x, factor), term); \
  asm volatile("" : "+x"(x));
#define LENET_ADD(x) total += _mm_cvtss_f32(x);
  LENET_TWELVE(LENET_BEGIN)
  for (std::int64_t step = 0; step < steps; ++step) {
    LENET_TWELVE(LENET_STEP)
  }
  float total = 0;
  LENET_TWELVE(LENET_ADD)
#undef LENET_BEGIN
#undef LENET_STEP
#undef LENET_ADD
  return total;
}

struct Instructions {
  const char* name;
  int lanes;
  Kernel loop;
};

Instructions widest() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return {"avx512f", 16, loop_avx512};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {"avx2+fma", 8, loop_avx2};
  }
  return {"sse2", 4, loop_sse2};
}

/// Multiply-adds a second of one thread, in the best of the time slices that fit in `seconds`: what
/// the machine can do, not what other programs left of it.
double best_rate(const Instructions& instructions, double seconds) {
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
  return best;
}

/// \returns Whether `text` is `flag` followed by a number in (0, most], which goes to `value`.
bool parse(const char* text, const char* flag, double most, double& value) {
  const std::size_t length = std::strlen(flag);
  if (std::strncmp(text, flag, length) != 0) return false;
  char* end = nullptr;
  value = std::strtod(text + length, &end);
  return end != text + length && *end == '\0' && value > 0 && value <= most;
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 0.1;
  double threads = 1;
  for (int i = 1; i < argc; ++i) {
    const bool known = parse(argv[i], "--seconds=", kMaxSeconds, seconds) ||
                       (parse(argv[i], "--threads=", kMaxThreads, threads) && threads >= 1);
    if (!known) {
      std::fprintf(stderr, "usage: multiply_add_limit [--threads=N] [--seconds=S]; got '%s'\n",
                   argv[i]);
      return kExitUsage;
    }
  }
  const Instructions instructions = widest();
  const auto count = static_cast<std::size_t>(threads);
  std::vector<double> rates(count);
  std::vector<std::thread> others;
  std::atomic<std::size_t> ready{0};
  const auto work = [&](std::size_t index) {
    // All at once: a core alone may run at a higher clock.
    ++ready;
    while (ready < count) std::this_thread::yield();
    rates[index] = best_rate(instructions, seconds);
  };
  for (std::size_t i = 1; i < count; ++i) others.emplace_back(work, i);
  work(0);
  for (auto& other : others) other.join();
  double total = 0;
  for (const double rate : rates) total += rate;
  std::printf("{\"instructions\": \"%s\", \"threads\": %zu, \"multiply_adds_per_second\": %.6e}\n",
              instructions.name, count, total);
  return std::fflush(stdout) == 0 ? 0 : 1;
}

/// Measures how many single-precision multiply-adds a second this machine does: the limit that the
/// benchmark holds every engine against.
///
/// multiply_add_limit [--threads=N] [--seconds=S]      prints one line of JSON
#include <atomic>
#include <cstdio>
#include <thread>
#include <vector>

#include "engines/native/machine_limits.h"

int main(int argc, char** argv) {
  constexpr int kExitUsage = 2;
  constexpr double kMaxSeconds = 60;
  constexpr double kMaxThreads = 1024;
  double seconds = 0.1;
  double threads = 1;
  for (int i = 1; i < argc; ++i) {
    char rest = 0;
    const bool known = std::sscanf(argv[i], "--seconds=%lf%c", &seconds, &rest) == 1 ||
                       std::sscanf(argv[i], "--threads=%lf%c", &threads, &rest) == 1;
    if (!known || !(seconds > 0 && seconds <= kMaxSeconds) ||
        !(threads >= 1 && threads <= kMaxThreads)) {
      std::fprintf(stderr, "usage: multiply_add_limit [--threads=N] [--seconds=S]; got '%s'\n",
                   argv[i]);
      return kExitUsage;
    }
  }
  const auto count = static_cast<std::size_t>(threads);
  std::vector<lenet::native::MultiplyAddLimit> limits(count);
  std::vector<std::thread> others;
  std::atomic<std::size_t> ready{0};
  const auto work = [&](std::size_t index) {
    // All at once: a core alone may run at a higher clock.
    ++ready;
    while (ready < count) std::this_thread::yield();
    limits[index] = lenet::native::measure_multiply_add_limit(seconds);
  };
  for (std::size_t i = 1; i < count; ++i) others.emplace_back(work, i);
  work(0);
  for (auto& other : others) other.join();
  double total = 0;
  for (const auto& limit : limits) total += limit.per_second;
  std::printf("{\"instructions\": \"%s\", \"threads\": %zu, \"multiply_adds_per_second\": %.6e}\n",
              limits[0].instructions, count, total);
  return std::fflush(stdout) == 0 ? 0 : 1;
}

/// \file
/// Measures a program's layers, and what one core of this machine does.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "lenet/profile.h"

namespace lenet::native {

struct Bf16Kernels;

/// Of the monotonic clock.
double seconds_now();

/// What ends repeated measurements, whichever comes first.
struct Repetition {
  std::size_t max_runs;  ///< 1 or more
  double seconds;
};

/// \param run measured after a first time that is not counted
/// \returns what each run gave; of one at least
template <class Run>
auto measure(const Run& run, const Repetition& repetition) {
  run();
  std::vector<decltype(run())> found;
  const double end = seconds_now() + repetition.seconds;
  do {
    found.push_back(run());
  } while (found.size() < repetition.max_runs && seconds_now() < end);
  return found;
}

/// Measures the whole batch.
/// \param runs how often; 0: as often as half a second allows
/// \param run gives seconds
void measure_batch(Profile& profile, int runs, const std::function<double()>& run);

/// Measures images that are computed in the same way, and adds them to a profile that has limits.
/// \param part its layers without times
/// \param runs as above
/// \param run gives the seconds of each layer
void measure_part(Profile& profile, ProfilePart part, int runs,
                  const std::function<std::vector<double>()>& run);

// The limits that the benchmark and a profile hold engines against. Each is measured in short
// slices of `seconds`, so that it is what the machine can do, not what other programs left of it.

/// The names of the instruction sets that the kernels are built for and this processor has, as
/// LENET_NATIVE_ISA has them, the fastest first.
std::vector<std::string> available_sets();

struct MultiplyAddLimit {
  const char* instructions;  ///< the widest that there are
  double per_second;         ///< of one thread
};

enum class Arithmetic {
  Float32,
  Bf16,  ///< summed in float32
  Int8   ///< products of two integers of 8 bits, summed in 32
};

/// In the best slice, by the multiply-adds of the kernels.
/// \throws Error Unsupported: the processor has no multiply-adds of bf16.
MultiplyAddLimit measure_multiply_add_limit(double seconds,
                                            Arithmetic arithmetic = Arithmetic::Float32);

/// What precision bf16 is computed with, and why.
struct Bf16Choice {
  const Bf16Kernels* kernels;  ///< null: with those of float32
  std::string reason;
};

/// Those of float32 where their inner loop is not enough slower for bf16 to pay, or what the
/// environment's LENET_NATIVE_BF16 says. Measures both loops, for about a millisecond, when a
/// process first asks.
/// \throws Error as choose_bf16_kernels; BadInput: the variable has another value.
Bf16Choice choose_bf16();

/// Bytes a second that one thread reads from memory, beyond the caches, in the median slice: from
/// an array of twice the size of the last cache, 64 to 256 MiB. \throws std::bad_alloc
double measure_memory_limit(double seconds);

}  // namespace lenet::native

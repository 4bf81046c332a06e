/// \file
/// Measures what one core of this machine can do at most: the limits that the benchmark and a
/// profile hold engines against, and by which bf16 is chosen. Each limit is measured in short
/// slices, so that it is what the machine can do, not what other programs left of it.
#pragma once

#include <string>

namespace lenet::native {

struct Bf16Kernels;

struct MultiplyAddLimit {
  const char* instructions;  ///< the widest that this processor has
  double per_second;         ///< of one thread
};

enum class Arithmetic {
  Float32,
  Bf16,  ///< summed in float32
  Int8   ///< products of two integers of 8 bits, summed in 32
};

/// Returns the limit of the best slice, by the multiply-adds of the kernels.
/// \param seconds how long all slices together take
/// \throws Error Unsupported: the processor has no multiply-adds of bf16.
MultiplyAddLimit measure_multiply_add_limit(double seconds,
                                            Arithmetic arithmetic = Arithmetic::Float32);

/// The kernels that precision bf16 is computed with, and why.
struct Bf16Choice {
  const Bf16Kernels* kernels;  ///< null: the kernels of float32 are used
  std::string reason;
};

/// Chooses the kernels of bf16 if their inner loop is enough faster than that of float32, or as
/// the environment's LENET_NATIVE_BF16 says. When a process first asks, both loops are measured,
/// which takes about a millisecond.
/// \throws Error as choose_bf16_kernels; BadInput: the variable has another value.
Bf16Choice choose_bf16();

/// Returns how many bytes a second one thread reads from memory in the median slice. It reads an
/// array of twice the size of the last cache, 64 to 256 MiB.
/// \throws std::bad_alloc
double measure_memory_limit(double seconds);

}  // namespace lenet::native

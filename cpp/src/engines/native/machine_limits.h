/// What one core of this machine does: the limits that the benchmark and a profile hold engines
/// against. Each is measured in short slices of `seconds`, so that it is what the machine can do,
/// not what other programs left of it.
#pragma once

namespace lenet::native {

struct MultiplyAddLimit {
  const char* instructions;  ///< the widest that there are
  double per_second;         ///< of one thread
};

enum class Arithmetic {
  Float32,
  Int8  ///< products of two integers of 8 bits, summed in 32
};

/// In the best slice, by the multiply-adds of the kernels.
MultiplyAddLimit measure_multiply_add_limit(double seconds,
                                            Arithmetic arithmetic = Arithmetic::Float32);

/// Bytes a second that one thread reads from memory, beyond the caches, in the median slice: from
/// an array of twice the size of the last cache, 64 to 256 MiB. \throws std::bad_alloc
double measure_memory_limit(double seconds);

}  // namespace lenet::native

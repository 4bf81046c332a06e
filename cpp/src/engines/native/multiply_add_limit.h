/// \file
/// How many multiply-adds a second this machine does: the limit that the benchmark and `--explain`
/// hold engines against.
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

/// In the best of the time slices that fit in `seconds`: what the machine can do, not what other
/// programs left of it.
MultiplyAddLimit measure_multiply_add_limit(double seconds,
                                            Arithmetic arithmetic = Arithmetic::Float32);

}  // namespace lenet::native

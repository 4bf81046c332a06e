// In place of machine_limits.cc, for builds that measure nothing: a profile has no limits, and bf16
// is computed wherever it is asked for.
#include "engines/native/kernels/dispatch.h"
#include "engines/native/machine_limits.h"

namespace lenet::native {

Bf16Choice choose_bf16() { return {&choose_bf16_kernels(), {}}; }
MultiplyAddLimit measure_multiply_add_limit(double /*seconds*/, Arithmetic /*arithmetic*/) {
  return {};
}
double measure_memory_limit(double /*seconds*/) { return 0; }

}  // namespace lenet::native

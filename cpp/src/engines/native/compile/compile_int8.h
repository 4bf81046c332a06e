/// \file
/// The one entry to arithmetic in int8. A build without it has without_int8.cc instead of
/// compile_int8.cc and of ops/int8/.
#pragma once

#include <memory>

#include "engines/native/compile/compiled.h"
#include "engines/native/network.h"
#include "engines/native/runtime/aligned.h"

namespace lenet::native {

/// Compiles a quantized network for kernels that multiply integers.
/// \param optimizes as Config::ir_optim: else float32 is computed, of the numbers that the integers
///   stand for; where a rounding ties, it may go the other way
/// \param shared of a model's other forms; or null
/// \param compiled gets the program and what is known of it
/// \throws Error Unsupported: a layer has no kernel, or this build has no arithmetic in int8.
void compile_int8(Network network, bool optimizes, const std::shared_ptr<SharedArrays>& shared,
                  Compiled& compiled);

}  // namespace lenet::native

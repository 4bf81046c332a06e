/// \file
/// The one entry to programs in float32 and bf16.
#pragma once

#include <memory>

#include "engines/native/compile/compiled.h"
#include "engines/native/machine_limits.h"
#include "engines/native/network.h"
#include "engines/native/runtime/aligned.h"

namespace lenet::native {

/// Decides how a network is computed: one image after the other, and, where tensors are small, also
/// as many images side by side as a vector has lanes.
/// \param network as read, and simplified if it is optimized
/// \param bf16 with kernels to compute in bf16 what is not faster in float32: images side by side
///   are, and they have the bits of one; without kernels all is float32
/// \param optimizes as Config::ir_optim: else no layers are joined, split or left out, and images
/// are
///   computed one after the other
/// \param shared of a model's other forms; or null
/// \param compiled whose programs, arithmetic and `pack` are set
/// \throws Error Unsupported: a layer without a kernel, or too much memory
void compile_float(Network network, const Bf16Choice& bf16, bool optimizes,
                   const std::shared_ptr<SharedArrays>& shared, Compiled& compiled);

}  // namespace lenet::native

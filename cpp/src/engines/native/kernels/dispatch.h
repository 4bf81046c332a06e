/// \file
/// Chooses the kernels of an instruction set that this processor has. The environment's
/// LENET_NATIVE_ISA may name another one than the fastest.
#pragma once

#include <string>
#include <vector>

namespace lenet::native {

struct Bf16Kernels;
struct Kernels;
namespace int8 {
struct Kernels;
}  // namespace int8

/// Returns the names of the instruction sets that the kernels are built for and this processor has,
/// as LENET_NATIVE_ISA has them, the fastest first.
std::vector<std::string> available_sets();

/// Returns the fastest kernels of float32, or those that LENET_NATIVE_ISA names.
/// \throws Error BadInput: the name is unknown; Unsupported: this processor does not have the set.
const Kernels& choose_kernels();
/// \throws Error as choose_kernels
const Kernels& kernels_named(const char* name);

/// Returns the kernels of bf16 that go with choose_kernels().
/// \throws Error as choose_kernels; Unsupported: the instruction set has no bf16.
const Bf16Kernels& choose_bf16_kernels();

namespace int8 {

/// \throws Error as native::choose_kernels
const Kernels& choose_kernels();
/// \throws Error as native::choose_kernels
const Kernels& kernels_named(const char* name);

}  // namespace int8
}  // namespace lenet::native

/// \file
/// Which of the instruction sets that the kernels are built for a processor has.
#pragma once

#include <string>
#include <vector>

namespace lenet::native {

/// The names of those that this processor has, as LENET_NATIVE_ISA has them, the fastest first.
std::vector<std::string> available_sets();

}  // namespace lenet::native

/// \file
/// The error of a proof of this engine that failed.
#pragma once

#include <string>

namespace lenet::native {

/// Says that a proof of this engine failed, what is wrong, and what to do.
/// \throws Error BackendFailure
[[noreturn]] void contradict(const std::string& what);

}  // namespace lenet::native

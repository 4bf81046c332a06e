/// \file
/// Writing whole files, with typed errors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lenet {

/// Writes the pieces one after another, atomically: a temporary file, then a rename. A symbolic
/// link stays and what it leads to is replaced; a device or pipe is written to in place.
/// \throws Error FileNotFound when the folder is missing or not writable, BackendFailure when the
///   disk is full; what `path` held before is then untouched.
void write_atomically(const std::string& path, const std::vector<std::string_view>& pieces);

}  // namespace lenet

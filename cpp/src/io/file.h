/// \file
/// Reading whole files, with typed errors.
#pragma once

#include <string>

namespace lenet {

/// The contents of a regular file.
/// \throws Error FileNotFound when it is missing, is no regular file, or cannot be read;
///   BackendFailure when memory does not hold it.
std::string read_file(const std::string& path);

/// \throws Error FileNotFound when `path` is not a readable regular file.
void require_file(const std::string& path);

}  // namespace lenet

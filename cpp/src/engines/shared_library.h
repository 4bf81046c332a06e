/// \file
/// Libraries that are opened when an engine first needs them.
#pragma once

#include <filesystem>
#include <string>

namespace lenet {

/// The folder that liblenet is in.
std::filesystem::path own_folder();

/// Why the last dlopen or dlsym of this thread failed, in English whatever the locale.
std::string last_dl_error();

}  // namespace lenet

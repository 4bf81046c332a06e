/// \file
/// Options as text.
#pragma once

#include <string>
#include <string_view>

#include "lenet/config.h"

namespace lenet {

/// Sets the field of that name, from a text, an integer, or "true" or "false".
/// \returns whether there is one
/// \throws Error BadInput naming the values that it takes.
bool set_option(Config& config, std::string_view name, std::string_view value);

/// Those of all options, separated by commas.
std::string option_names();

}  // namespace lenet

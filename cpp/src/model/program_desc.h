/// \file
/// Strict reading of a `.pdmodel`, a ProgramDesc of Paddle's framework.proto.
#pragma once

#include <string>
#include <string_view>

#include "model/graph.h"

namespace lenet {

/// \throws Error BadModel naming `path`: unknown, missing or repeated fields, values out of the
///   range of their type, names that are no names, variables declared twice or not at all,
///   more blocks than one (control flow).
Graph read_program_desc(std::string_view bytes, const std::string& path);

}  // namespace lenet

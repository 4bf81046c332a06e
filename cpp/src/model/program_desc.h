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

/// The parameters of a program that the above refuses, such as one with control flow, and what
/// operators take them; nothing else.
/// \throws Error BadModel naming `path`
Graph read_program_desc_parameters(std::string_view bytes, const std::string& path);

}  // namespace lenet

/// Strict reading, and renaming, of a `.pdmodel`: a ProgramDesc of Paddle's framework.proto.
#pragma once

#include <string>
#include <string_view>

#include "model/graph.h"

namespace lenet {

/// \throws Error BadModel naming `path`: unknown, missing or repeated fields, values out of the
///   range of their type, names that are no names, variables declared twice or not at all,
///   more blocks than one (control flow).
/// \param lenient reads the parameters of a program that is refused else, such as one with control
///   flow, what operators take them, and nothing else of it
Graph read_program_desc(std::string_view bytes, const std::string& path, bool lenient = false);

/// A `.pdmodel` whose intermediate variables have `suffix` at the end of their names. Inputs,
/// outputs and parameters keep theirs, so it computes the same and loads the same parameters.
/// \param graph what was read of the program
std::string with_renamed_variables(std::string_view program, const Graph& graph,
                                   const std::string& suffix, const std::string& path);

}  // namespace lenet

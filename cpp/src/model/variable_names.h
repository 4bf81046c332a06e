/// \file
/// Renaming the variables of a program.
#pragma once

#include <string>
#include <string_view>

#include "model/graph.h"

namespace lenet {

/// A `.pdmodel` whose intermediate variables have `suffix` at the end of their names. Inputs,
/// outputs and parameters keep theirs, so it computes the same and loads the same parameters.
/// \param graph what was read of the program
std::string with_renamed_variables(std::string_view program, const Graph& graph,
                                   const std::string& suffix, const std::string& path);

}  // namespace lenet

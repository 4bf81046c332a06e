/// What the numbers of a program's outputs are, by the operators that they come from.
#pragma once

#include <string>
#include <vector>

#include "lenet/outputs.h"
#include "model/graph.h"

namespace lenet {

/// An output, by the name that engines give it.
struct NamedMeaning {
  std::string name;
  OutputMeaning meaning;
};

/// Finds out what the outputs of a program are, in one pass over its operators. The graph need not
/// be checked: what it says of operators that are not understood is Unknown.
/// \param outputs as the program declares them, by index into Graph::values
/// \returns one for each output, in this order, to which `OutputMeaning::partner` refers
std::vector<NamedMeaning> describe_outputs(const Graph& graph,
                                           const std::vector<std::size_t>& outputs);

}  // namespace lenet

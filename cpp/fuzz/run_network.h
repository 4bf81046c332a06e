/// What the native engine makes of a model.
#pragma once

#include <memory>

#include "engines/native/network.h"
#include "model/graph.h"

namespace lenet::fuzz {

/// The graph for images of one size, where their sizes are open; else null.
/// \throws Error BadInput: it does not take them.
std::unique_ptr<const Graph> of_one_size(const Graph& graph);

/// Compiles a network for each layout, or, when it is quantized, in int8, and runs two images if it
/// is small enough.
void run_network(native::Network network);

}  // namespace lenet::fuzz

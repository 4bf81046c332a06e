/// What the native engine makes of a model.
#pragma once

#include "engines/native/network.h"

namespace lenet::fuzz {

/// Compiles a network for each layout, or, when it is quantized, in int8, and runs two images if it
/// is small enough.
void run_network(native::Network network);

}  // namespace lenet::fuzz

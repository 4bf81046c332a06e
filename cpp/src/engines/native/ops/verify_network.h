/// \file
/// Proves of a network, before it is compiled, that its layers fit each other.
#pragma once

#include "engines/native/network.h"

namespace lenet::native {

/// Every layer must read tensors that the image or a layer before it gives, only values that these
/// have, and give every value of its own output: else it would read memory that nobody wrote in
/// this run, such as another image's. What a file declares is checked when it is read; this finds
/// faults of the reader and of the passes. Taken for granted: that the boxes of one Copy do not
/// overlap. Takes time linear in the layers, their inputs, boxes and channels.
/// \throws Error BackendFailure: they do not fit, which is a fault of the engine
void verify_network(const Network& network);

}  // namespace lenet::native

/// The engine of our own: needs no library but this one.
#pragma once

#include <memory>

#include "engines/engine.h"

namespace lenet {

/// \param shown of a float32 model: of so many of its first convolutions what they give, each with
///   its activation, becomes a further output: [N, channels, height, width]. Fully connected layers
///   do not count. The other outputs may then differ in their last bits, as these convolutions are
///   computed apart from the layers after them.
/// \throws Error BadModel, FileNotFound; Unsupported for a network with an operator that it has no
///   kernel for, naming it.
std::unique_ptr<Engine> create_native_engine(const Config& config, const Model& model,
                                             std::size_t shown = 0);

}  // namespace lenet

/// The engine of our own: needs no library but this one.
#pragma once

#include <memory>

#include "engines/engine.h"

namespace lenet {

/// \throws Error BadModel, FileNotFound; Unsupported for a network with an operator that it has no
///   kernel for, naming it.
std::unique_ptr<Engine> create_native_engine(const Config& config, const Model& model);

/// The same of a float32 model, and as further outputs what its first convolutions give, each with
/// its activation: [N, channels, height, width]. The other outputs may differ in their last bits,
/// as these convolutions are computed apart from the layers after them.
/// \param most how many convolutions; fully connected layers do not count
std::unique_ptr<Engine> create_showing_engine(const Config& config, const Model& model,
                                              std::size_t most);

}  // namespace lenet

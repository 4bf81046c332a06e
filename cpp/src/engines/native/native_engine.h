/// The engine of our own: needs no library but this one.
#pragma once

#include <memory>

#include "engines/engine.h"

namespace lenet {

/// \throws Error BadModel, FileNotFound; Unsupported for a network with an operator that it has no
///   kernel for, naming it.
std::unique_ptr<Engine> create_native_engine(const Config& config, const Model& model);

}  // namespace lenet

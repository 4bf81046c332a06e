/// \file
/// From the files of a model to a network.
#pragma once

#include "engines/native/network.h"
#include "model/model.h"

namespace lenet::native {

/// Simplified, ready to be compiled.
/// \throws Error BadModel, FileNotFound; Unsupported, naming the operator that the native engine
/// has
///   no kernel for.
Network load_network(const Model& model, bool check_finite);

}  // namespace lenet::native

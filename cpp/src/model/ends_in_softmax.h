/// \file
#pragma once

#include "lenet/config.h"
#include "model/graph.h"

namespace lenet {

/// Whether the last operator of a program is a softmax, so that its outputs are probabilities.
bool ends_in_softmax(const Graph& graph);

/// Reads the program that `config` names once more. \throws Error FileNotFound, BadModel.
bool ends_in_softmax(Config config);

}  // namespace lenet

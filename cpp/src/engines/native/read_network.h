/// \file
/// From a checked graph to a network.
#pragma once

#include <string>

#include "engines/native/network.h"
#include "model/model.h"

namespace lenet::native {

/// \param graph as check_graph has left it, whose parameters have their contents
/// \param file_bytes size of the model's files, which bounds the memory of the layers
/// \param check_finite whether weights that are not finite are an error
/// \throws Error Unsupported, naming the operator and what it gives, for what the native engine has
///   no kernel for; BadModel for parameters that no network has.
Network read_network(const Graph& graph, const std::string& path, double file_bytes,
                     bool check_finite);

/// The same of a whole model, simplified and ready to be compiled.
Network load_network(const Model& model, bool check_finite);

}  // namespace lenet::native

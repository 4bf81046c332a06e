/// \file
/// From a checked program and its parameters to a network.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "engines/native/network.h"
#include "model/graph.h"
#include "shared_numbers.h"

namespace lenet::native {

/// A parameter.
struct ParameterValues {
  Shape shape;
  SharedNumbers<float> values{};          ///< float32, int32
  SharedNumbers<std::int8_t> integers{};  ///< int8
};

using Parameters = std::map<std::string, ParameterValues>;

/// \param graph as check_graph has left it
/// \param file_bytes size of the model's files, which bounds the memory of the layers
/// \throws Error Unsupported, naming the operator and what it gives, for what the native engine has
///   no kernel for.
Network read_network(const Graph& graph, const Parameters& parameters, const std::string& path,
                     double file_bytes);

}  // namespace lenet::native

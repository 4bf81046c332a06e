/// \file
/// Makes a network of a checked graph.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engines/native/network.h"
#include "model/model.h"
#include "model/rules/operator_view.h"

namespace lenet::native {

/// \param graph as check_graph has left it, whose parameters have their contents
/// \param file_bytes size of the model's files, which bounds the memory of the layers
/// \param check_finite whether weights that are not finite are an error
/// \throws Error Unsupported, naming the operator and what it gives, for what the native engine has
///   no kernel for; BadModel for parameters that no network has.
Network read_network(const Graph& graph, const std::string& path, double file_bytes,
                     bool check_finite);

/// Makes the network of a whole model, ready to be compiled.
/// \param graph the model's, or what its Graph::with_sizes gives
/// \param simplifies as Config::ir_optim: else it has a layer for each operator
Network load_network(const Model& model, const Graph& graph, bool check_finite, bool simplifies);

// ---- operators that only compute each value from one value

/// What an operator computes of each value by itself; nothing where it is another kind of operator.
/// \throws Error Unsupported
std::optional<Activation> read_activation(const OperatorView& op);

/// The dimensions of a shape behind the number of images.
inline Shape image_of(const Shape& shape) { return {shape.begin() + 1, shape.end()}; }

}  // namespace lenet::native

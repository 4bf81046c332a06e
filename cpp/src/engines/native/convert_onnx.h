/// \file
/// The graph of an .onnx file in the form that rules and the native engine's reader take.
#pragma once

#include <string>

#include "engines/native/network.h"
#include "model/graph.h"
#include "model/onnx_graph.h"

namespace lenet::native {

/// \param onnx whole, with external values read; its values are what the graph's contents are
/// \throws Error BadModel: a name stands for two values
Graph graph_of(const OnnxGraph& onnx, const std::string& path);

/// \throws Error as check_graph and read_network.
Network read_onnx(const OnnxGraph& onnx, const std::string& path, bool check_finite = true);

}  // namespace lenet::native

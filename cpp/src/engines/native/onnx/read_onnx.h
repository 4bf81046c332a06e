/// \file
/// From an .onnx file to a network.
#pragma once

#include <string>

#include "engines/native/network.h"
#include "model/model.h"
#include "model/onnx_graph.h"

namespace lenet::native {

/// The oldest and the newest operator set whose operators are known here.
inline constexpr std::int64_t kLeastOpset = 7;
inline constexpr std::int64_t kMostOpset = 21;

/// \param graph whole, with external values read
/// \param path for errors
/// \param check_finite whether weights that are not finite are an error
/// \throws Error Unsupported, naming the operator and what it gives, for what the native engine has
///   no kernel for; BadModel when nodes do not fit each other.
Network read_onnx(OnnxGraph graph, const std::string& path, bool check_finite = true);

/// \param files whose contents have been read
/// \throws Error as above, and FileNotFound.
Network read_onnx_file(const Model& model, bool check_finite);

}  // namespace lenet::native

/// Whether a program is one that Paddle runs without harm.
#pragma once

#include <cstdint>
#include <string>

#include "model/graph.h"

namespace lenet {

/// More values in a tensor for one image than any classifier has (1 GiB of float32).
constexpr std::int64_t kMaxValuesPerImage = std::int64_t{1} << 28;
/// More multiply-adds for one image, all operators together.
constexpr std::int64_t kMaxMultiplyAdds = std::int64_t{1} << 40;
constexpr std::size_t kMaxOperators = 1'000'000;

/// Checks a program operator by operator: known types with the inputs, outputs and attributes that
/// Paddle's kernels and graph passes rely on without looking; attribute values in range; the shape
/// and type of every output worked out anew and compared with what the program declares; values
/// given before they are used and never twice; parameters never written; sizes within bounds.
/// \throws Error BadModel; Unsupported for an operator that is not in the tables of rules/.
void check_graph(Graph& graph, const std::string& path);

}  // namespace lenet

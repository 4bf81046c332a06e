/// The search behind lenet/wrong_layer.h.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>

#include "model/graph.h"

namespace lenet {

/// \param graph with the wrong value as its first output, as `choose_output` leaves it
/// \param is_wrong of a value by its index; nothing where that is not known
/// \returns the index of the value; kNone where `is_wrong` says that the output itself is right
std::size_t find_wrong_value(const Graph& graph,
                             const std::function<std::optional<bool>(std::size_t)>& is_wrong);

}  // namespace lenet

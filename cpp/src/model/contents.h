/// The contents of values that a model fixes: parameters, and what is computed from them.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "model/graph.h"

namespace lenet {

/// Whether the model fixes what a value holds.
bool is_known(const Value& value);

/// How many numbers of a readable type a known value holds.
std::size_t count_values(const Value& value);

/// One of them.
double number_at(const Value& value, std::size_t index);

/// All of them. Of float32 the very bits.
std::vector<float> floats_of(const Value& value);

/// A number or a list of integers, if it is known and short enough to compute a shape from.
std::optional<Integers> known_list(const Value& value);

/// Which operators compute what an output needs that is not known: others may be anything.
std::vector<bool> needed_operators(const Graph& graph);

}  // namespace lenet

/// \file
/// Which part of a tensor the indices of a ScatterND name, where they are those of a slice. PyTorch
/// exports `x[:, 1:] = y` so, with indices that the program computes from the sizes of x.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/graph.h"

namespace lenet {

/// Entries of an axis at regular steps.
struct IndexSlice {
  std::int64_t start = 0;
  std::int64_t step = 1;
  std::int64_t count = 0;  ///< kUnknown: all of the axis, which is that of the images
};

/// \param at of a ScatterND, by index into Graph::operators
/// \pre the shapes are inferred, and Value::images is set of what the operator takes
/// \returns a slice of each of the first axes of the data, of those that the indices name. Along
/// the
///   axis of the images it is the whole axis, so that each image is written by its own updates.
///   Nothing for any other indices. Linear in the values of the largest list that a shape is
///   computed from.
std::optional<std::vector<IndexSlice>> read_index_slices(const Graph& graph, std::size_t at,
                                                         const std::string& path);

}  // namespace lenet

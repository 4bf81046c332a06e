/// \file
/// Which values have the images of a batch, and whether operators keep these apart.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/graph.h"

namespace lenet {

/// Sets Value::images of what the images have no dimension for yet, Images::before of all, and
/// Operator::may_mix_images. Linear.
/// \pre the shapes are inferred, and Images::axis and Images::per_image are set where a size
///   depends on the number of images
/// \param checked of each operator, whether the check has named its arguments
/// \param fixed the number of images of a program that takes no other, so that no size depends on
///   it; 1 or less: sizes do, or the program is for one image
void find_images(Graph& graph, const std::string& path, const std::vector<bool>& checked,
                 std::int64_t fixed);

}  // namespace lenet

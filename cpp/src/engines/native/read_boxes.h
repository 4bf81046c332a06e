/// \file
/// Operators that move values, of every dialect, as the boxes of values that they copy.
#pragma once

#include <string_view>
#include <vector>

#include "engines/native/boxes.h"
#include "model/rules/operator_view.h"

namespace lenet::native {

/// Whether an operator of that plain_type only moves values.
bool moves_values(std::string_view type);

/// Each value of an image in the place of one or more: what has the size 1 is repeated, and so is
/// all along a size that is a multiple. Of shapes of the same rank, with the number of images.
Box repeated_box(const Shape& from, const Shape& to);

/// What such an operator copies of one image: a list for each of its outputs.
/// \throws Error Unsupported: it mixes images
std::vector<std::vector<Box>> read_boxes(const OperatorView& op, std::string_view type);

}  // namespace lenet::native

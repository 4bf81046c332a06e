/// \file
/// Step 3 of digit.md.
#pragma once

#include "images/digit/grid.h"

namespace lenet::digit {

/// Returns how much each pixel differs from the background.
Grid without_background(Grid grid);

}  // namespace lenet::digit

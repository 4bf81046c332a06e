/// \file
/// Steps 7 to 10 of digit.md: the digit is cut out, thickened, scaled and placed.
#pragma once

#include "images/digit/grid.h"
#include "images/steps.h"

namespace lenet::digit {

struct Box {
  Integer top;
  Integer left;
  Integer height;
  Integer width;
};

/// Step 7. Returns where the digit is.
Box extent(const Grid& values);
Grid cropped(const Grid& grid, const Box& box);

/// Step 8. Returns the values with thicker strokes, if they are thin.
Grid thickened(const Grid& values, const Grid& ink);

/// Step 9. Returns the values scaled to a longer side of `box` pixels.
Grid scaled(const Grid& values, Integer box);

/// Step 10. Returns the image with its centre of mass in the middle.
/// \throws Error as no_digit
Image centred(const Grid& values, Integer size);

}  // namespace lenet::digit

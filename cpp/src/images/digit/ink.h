/// \file
/// Steps 4 to 6 of digit.md: which pixels are ink, and how strong it is.
#pragma once

#include "images/digit/grid.h"

namespace lenet::digit {

/// Throws the error of a photo in which no digit is found.
[[noreturn]] void no_digit();

/// Step 4. Returns how much each pixel stands out, from 0 to 255.
Grid strength_of(Grid residual, Value noise);

/// Step 4. Returns the mask of the ink, by Otsu's threshold.
/// \throws Error as no_digit
Grid ink_of(const Grid& strength);

/// Step 5. Returns the mask without specks and borders.
Grid without_specks(const Grid& ink);

/// Step 6. Returns the strength of the ink and its neighbours, stretched to 255.
/// \throws Error as no_digit
Grid ink_values(const Grid& strength, const Grid& ink, Value noise);

}  // namespace lenet::digit

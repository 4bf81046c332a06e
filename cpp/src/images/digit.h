/// \file
/// The digit of a photo. docs/digit.md is the definition, to whose steps the comments in digit.cc
/// refer.
#pragma once

#include "images/steps.h"

namespace lenet {

/// \param image grey
/// \returns grey, `step.size` x `step.size`, light on dark
/// \throws Error BadInput when nothing stands out from the background.
Image find_digit(const Digit& step, const Image& image);

}  // namespace lenet

/// \file
/// Whether the scale, the mean and the standard deviation of a preparation are in one unit: for
/// pixels from 0 to 1, or for pixels from 0 to 255.
///
/// The values of a black and of a white pixel are b = -mean / std and w = (255 * scale - mean) /
/// std. Units contradict each other in a channel where
///
/// 1. w - b is below 0.02, as of scale 1/255 with a std of 58; or
/// 2. b or w is beyond 20, and one of these holds, which no toolkit writes:
///    - w - b is above 256, as of scale 1 with a std of 0.229: one level of a pixel is more than 1;
///    - the mean is beyond white, above 1.05 * 255 * scale, as a mean of 104.5 with scale 1/255;
///    - the mean is below one level of a pixel but not 0, as a mean of 0.485 with scale 1.
///
/// Caffe's subtraction of a mean of 104, 117 and 123 at scale 1, and pixels from 0 to 255 for a
/// model that normalizes them itself (scale 1, mean 0, std 1) are beyond 20 without any of these.
#pragma once

#include <string>

#include "images/steps.h"

namespace lenet {

/// Describes the first channel whose units contradict each other: what black and white become, and
/// what was probably meant. Returns nothing where there is none.
std::string unit_note(const Normalize& normalize);

}  // namespace lenet

/// \file
/// How the camera was held.
#pragma once

#include <string_view>

#include "lenet/image_pipeline.h"

namespace lenet {

/// The orientation (tag 0x0112) in EXIF data: 1 to 8; 1, upright, when it is not told, or the data
/// are damaged.
/// \param tiff begins with the byte order, "II" or "MM"
int exif_orientation(std::string_view tiff);

/// Turns and mirrors an image so that it is upright.
/// \param orientation 1 to 8
Image upright(Image image, int orientation);

}  // namespace lenet

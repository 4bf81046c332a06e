/// \file
/// Resizing as Pillow defines it.
#pragma once

#include <cstdint>

#include "lenet/image_pipeline.h"

namespace lenet {

enum class Interpolation { Nearest, Bilinear, Bicubic };

/// Bilinear and bicubic are antialiased: when the image becomes smaller, the filter becomes wider.
/// Rows first, rounded to 8 bits, then columns; what lies outside the image has no weight. From
/// Pillow it differs by rounding, at most one level; nearest not at all.
/// \throws Error BadInput when the result has more than kMaxImagePixels; Unsupported without stb.
Image resize(const Image& image, std::int64_t height, std::int64_t width,
             Interpolation interpolation);

}  // namespace lenet

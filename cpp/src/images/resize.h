/// \file
/// Resizing as Pillow defines it.
#pragma once

#include <cstdint>

#include "lenet/image_pipeline.h"

namespace lenet {

enum class Interpolation { Nearest, Bilinear, Bicubic };

/// The same bits as Pillow's `resize`. Bilinear and bicubic are antialiased: when the image becomes
/// smaller, the filter becomes wider. Weights are of 22 bits; between the two passes values are
/// rounded to 8 bits. Rows are resized first, unless the height shrinks by more than twice as many
/// pixels as the width.
/// \throws Error BadInput when the result has more than kMaxImagePixels.
Image resize(const Image& image, std::int64_t height, std::int64_t width,
             Interpolation interpolation);

}  // namespace lenet

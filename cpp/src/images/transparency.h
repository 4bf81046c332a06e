/// \file
/// From images with an alpha channel to opaque ones.
#pragma once

#include <cstdint>

#include "lenet/image_pipeline.h"

namespace lenet {

/// value / 255, rounded to the nearest, for at most 255 * 255.
inline std::uint8_t divide_by_255(unsigned value) {
  value += 128;
  return static_cast<std::uint8_t>((value + (value >> 8)) >> 8);
}

/// Composes an image with alpha (2 or 4 channels, the last one) over white, or over black where
/// white would hide what is drawn. Returns one of 1 or 3 channels as it is.
Image opaque(Image image);

}  // namespace lenet

/// \file
/// Windows that go over images, of convolutions and pools.
#pragma once

#include <array>
#include <cstdint>

#include "engines/plain/call.h"

namespace lenet::plain {

/// One axis of the images and of the windows. Window `i` begins at `i * stride - before`.
struct WindowAxis {
  std::int64_t inputs = 1;
  std::int64_t outputs = 1;
  std::int64_t kernel = 1;
  std::int64_t stride = 1;
  std::int64_t dilation = 1;
  std::int64_t before = 0;  ///< places of padding
  std::int64_t behind = 0;

  /// Where a place of a window lies in the image, which may be outside of it.
  std::int64_t place(std::int64_t window, std::int64_t of_kernel) const {
    return window * stride - before + of_kernel * dilation;
  }
  bool holds(std::int64_t place) const { return place >= 0 && place < inputs; }
};

/// Depth, height and width; an axis that images do not have is one of one value.
using WindowAxes = std::array<WindowAxis, 3>;

/// The windows by the attributes of a Conv, pool, Unfold or Col2Im.
/// \param kernel the sizes of a window
/// \param image the sizes of images
/// \param windows how many there are along each axis; none: as many as fit
WindowAxes read_windows(const Call& call, const Integers& kernel, const Shape& image,
                        const Shape& windows);

/// The sizes of images, with the channels first.
Shape image_sizes(const Array& x);

/// X with the channels in front of the image, wherever the operator has them.
Array with_channels_first(const Call& call);
/// Gives an output whose channels are in front, where the operator has them last.
void give_image(const Call& call, Array made);

/// A kernel that an attribute has, of images with so many axes.
Integers read_kernel(const Call& call, const char* name, std::size_t axes);

}  // namespace lenet::plain

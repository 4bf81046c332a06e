/// Images in files before it is known which model takes them.
#pragma once

#include <string>

#include "lenet/tensor.h"

namespace lenet {

/// What an array of images holds, as float32 and not divided by anything.
struct ImageNumbers {
  std::string dtype;  ///< in the file: "|u1", "<f4", "<i4" or "<i8"
  Tensor values;      ///< with the shape that `read_images` gives
};

/// \param integers whether int32 and int64 are read too
/// \throws Error as `read_images`; BadInput also for an integer that float32 does not have.
ImageNumbers read_image_numbers(const std::string& path, bool integers);

/// The input of a model whose element type is `dtype`: for float32, pixels are divided by 255; for
/// another one they are the numbers that it takes.
/// \throws Error BadInput: a model of float32 takes no such integers.
Tensor to_input(ImageNumbers numbers, const std::string& path, const std::string& dtype);

}  // namespace lenet

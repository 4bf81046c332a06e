/// \file
/// Reading images and labels, writing results: .npy (NumPy format 1.0 to 3.0), IDX (the MNIST
/// files' format, http://yann.lecun.com/exdb/mnist) and PGM (binary P5, 8 bits).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lenet/export.h"
#include "lenet/tensor.h"

namespace lenet {

/// Reads images as float32 [N, 1, H, W], or with the shape in the file when it has four dimensions.
/// 8-bit pixels become v / 255 as Paddle's ToTensor does; float32 is taken as it is.
/// Two dimensions are one image, three are N images of one channel. The kind of file is told by
/// its first bytes, not by its name.
/// \throws Error FileNotFound; BadInput naming the file when it is damaged or of another kind.
LENET_API Tensor read_images(const std::string& path);

/// Reads class labels: IDX (one dimension, 8 bits) or .npy (one dimension; uint8, int32 or int64).
/// \throws Error FileNotFound, BadInput.
LENET_API std::vector<std::int64_t> read_labels(const std::string& path);

/// Writes float32 values as .npy (format 1.0), atomically: a temporary file, then a rename. A
/// symbolic link stays and what it leads to is replaced; a device or pipe is written to in place.
/// \throws Error FileNotFound when the folder is missing or not writable, BackendFailure when the
///   disk is full; what `path` held before is then untouched.
LENET_API void write_npy(const std::string& path, const Tensor& tensor);

}  // namespace lenet

/// \file
/// Arrays in files; NumPy's own format.
#pragma once

#include <string>
#include <string_view>

#include "lenet/tensor.h"

namespace lenet {

/// An array as it lies in a file.
struct Array {
  std::string dtype;  ///< NumPy's: "|u1", "<f4", ...
  Shape shape;
  std::string_view bytes;
};

/// \throws Error BadInput naming `path` unless there are just as many bytes as the shape needs.
void require_whole(const Array& array, const std::string& path);

/// Whether a file begins as .npy does.
bool is_npy(std::string_view bytes);

/// Reads uint8, float32, int32 or int64 in C order.
/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
/// \throws Error BadInput naming `path`: damaged, cut short, or another kind of array.
Array parse_npy(std::string_view bytes, const std::string& path);

/// What stands before float32 values of this shape (format 1.0).
std::string npy_header(const Shape& shape);

}  // namespace lenet

/// Arrays in files: NumPy's own format, Netpbm's binary maps, and IDX.
#pragma once

#include <string>
#include <string_view>

#include "lenet/error.h"
#include "lenet/tensor.h"

namespace lenet {

/// An array as it lies in a file.
struct Array {
  std::string dtype;  ///< NumPy's: "|u1", "<f4", ...
  Shape shape;
  std::string_view bytes;
};

/// \param problem continues "'FILE' ..."
[[noreturn]] void bad_file(const std::string& path, const std::string& problem);

/// What stands before the values of a .npy (format 1.0).
std::string npy_header(const std::string& dtype, const Shape& shape);

/// Whether a file begins as .npy does.
bool is_npy(std::string_view bytes);

/// Reads uint8, float32, int32 or int64 in C order.
/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
/// \throws Error BadInput naming `path`: damaged, cut short, or another kind of array.
Array parse_npy(std::string_view bytes, const std::string& path);

/// Reads PGM (P5, grey) as [H, W], or PPM (P6, colour) as [H, W, 3]; uint8.
/// \param bytes a file that begins with "P5" or "P6"
/// \throws Error BadInput naming `path`: damaged, cut short, or not 8 bits.
Array parse_netpbm(std::string_view bytes, const std::string& path);

/// Reads .npy, IDX of unsigned bytes, or PGM.
/// \throws Error BadInput naming `path`.
Array parse_array(std::string_view bytes, const std::string& path);

}  // namespace lenet

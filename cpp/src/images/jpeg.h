/// \file
/// The segments of a JPEG.
#pragma once

#include <string>
#include <string_view>

#include "images/container.h"

namespace lenet {

bool is_jpeg(std::string_view bytes);

struct Jpeg {
  Container container;
  /// The same image with nothing but what a decoder needs, every segment whole and every Huffman
  /// table within bounds: stb, which writes beyond its arrays otherwise, is given this.
  std::string stream;
};

/// \throws Error BadInput naming `path`: cut short, damaged, or of more than 100 scans.
/// \throws Error Unsupported: a kind of JPEG that is not decoded in C++.
Jpeg read_jpeg(std::string_view bytes, const std::string& path);

}  // namespace lenet

/// \file
/// Netpbm's binary maps of 8 bits: PGM (P5, grey) and PPM (P6, colour).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lenet {

struct Netpbm {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 1;  ///< 1 or 3
  std::string_view pixels;    ///< in the file: [height, width, channels]
};

/// \param bytes a file that begins with "P5" or "P6"
/// \throws Error BadInput naming `path`: damaged, cut short, or not 8 bits.
Netpbm parse_netpbm(std::string_view bytes, const std::string& path);

}  // namespace lenet

/// \file
/// The chunks of a PNG.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "images/container.h"

namespace lenet {

bool is_png(std::string_view bytes);

/// The checksum of a chunk: its type and content.
std::uint32_t crc32(std::string_view bytes);

/// Reads all chunks but the pixels.
/// \throws Error BadInput naming `path`: cut short, or a checksum that does not fit.
Container read_png(std::string_view bytes, const std::string& path);

}  // namespace lenet

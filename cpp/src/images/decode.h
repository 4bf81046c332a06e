/// \file
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lenet/image_pipeline.h"

namespace lenet {

/// As `decode_image`, from a file's bytes and with another limit.
/// \param path for messages
Image decode_bytes(std::string_view bytes, const std::string& path, std::int64_t max_pixels);

}  // namespace lenet

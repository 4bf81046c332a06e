/// \file
/// SHA-256 as defined in FIPS 180-4.
#pragma once

#include <string>
#include <string_view>

namespace lenet {

/// The digest of `bytes` as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::string_view bytes);

}  // namespace lenet

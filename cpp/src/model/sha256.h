/// \file
/// SHA-256 as defined in FIPS 180-4.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lenet {

/// The digest of `bytes` as 64 lower-case hexadecimal digits.
std::string sha256_hex(std::string_view bytes);

/// Takes whole blocks of 64 bytes into the state.
using Sha256Blocks = void (*)(std::array<std::uint32_t, 8>& state, const unsigned char* blocks,
                              std::size_t count);

/// In plain C++.
void sha256_blocks(std::array<std::uint32_t, 8>& state, const unsigned char* blocks,
                   std::size_t count);

/// With the processor's own instructions; null where it has none.
Sha256Blocks sha256_instructions();

/// sha256_hex by one way of taking blocks.
std::string sha256_hex(std::string_view bytes, Sha256Blocks take);

}  // namespace lenet

/// \file
/// What stb does for us. stb.cc is built with stb's headers, no_stb.cc without.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lenet::stb {

bool available() noexcept;

struct Header {
  std::int64_t height = 0;  ///< at least 1
  std::int64_t width = 0;   ///< at least 1
};

/// The size of a JPEG, PNG or BMP.
/// \throws Error BadInput naming `path`: damaged or cut short; Unsupported without stb.
Header read_header(std::string_view bytes, const std::string& path);

/// As a JPEG, PNG or BMP holds it.
struct Pixels {
  std::vector<std::uint8_t> values;  ///< [height, width, channels]
  std::int64_t height = 0;
  std::int64_t width = 0;
  int channels = 0;  ///< 1: grey, 2: grey and alpha, 3: RGB, 4: RGB and alpha
};

/// Allocates memory in proportion to the size that the header tells, whatever the rest holds.
/// \throws Error BadInput naming `path`: damaged or cut short; Unsupported without stb.
Pixels decode(std::string_view bytes, const std::string& path);

enum class Filter { Triangle, CatmullRom };

/// Resamples rows and columns; a smaller size widens the filter. What lies outside counts as 0.
/// \param input [height, width, channels]
/// \param output [to_height, to_width, channels]
/// \throws Error BackendFailure when memory does not suffice; Unsupported without stb.
void resample(const float* input, int height, int width, float* output, int to_height, int to_width,
              int channels, Filter filter);

}  // namespace lenet::stb

/// \file
/// In the place of stb.cc in a build without stb.
#include "images/stb.h"
#include "lenet/error.h"

namespace lenet::stb {
namespace {

constexpr const char* kRemedy =
    "; install stb (Debian: libstb-dev) and build again with -DLENET_WITH_STB=ON";

}  // namespace

bool available() noexcept { return false; }

Header read_header(std::string_view, const std::string& path) {
  throw Error(ErrorCode::Unsupported,
              "'" + path + "' is a JPEG, PNG or BMP, which this build does not decode" + kRemedy);
}

Pixels decode(std::string_view bytes, const std::string& path) {
  read_header(bytes, path);
  return {};
}

void resample(const float*, int height, int width, float*, int to_height, int to_width, int,
              Filter) {
  throw Error(ErrorCode::Unsupported,
              "an image of " + std::to_string(height) + " x " + std::to_string(width) +
                  " has to be resized to " + std::to_string(to_height) + " x " +
                  std::to_string(to_width) + ", which this build does not do" + kRemedy);
}

}  // namespace lenet::stb

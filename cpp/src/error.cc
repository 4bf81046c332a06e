#include "lenet/error.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "utf8.h"

namespace lenet {
namespace {

std::string one_line(std::string text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = utf8_length(text, at);
    const auto byte = static_cast<unsigned char>(text[at]);
    if (length == 0 || byte < ' ' || byte == 0x7f) text[at] = '?';
    at += std::max<std::size_t>(length, 1);
  }
  return text;
}

}  // namespace

Error::Error(ErrorCode code, const std::string& message)
    : std::runtime_error(one_line(message)), code_(code) {}

Error::~Error() = default;

const char* to_string(ErrorCode code) noexcept {
  constexpr std::array<const char*, 6> kNames = {
      "FileNotFound", "BadModel", "BadInput", "Unsupported", "VersionMismatch", "BackendFailure"};
  const auto at =
      static_cast<std::size_t>(code) - static_cast<std::size_t>(ErrorCode::FileNotFound);
  return at < kNames.size() ? kNames[at] : "Error";
}

}  // namespace lenet

#include "lenet/error.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace lenet {
namespace {

/// The length of the UTF-8 character at `at`, 0 when there is none.
std::size_t character_length(const std::string& text, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned first = byte(at);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf5   ? 0
                             : first >= 0xf0 ? 4
                             : first >= 0xe0 ? 3
                             : first >= 0xc2 ? 2
                                             : 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0U) != 0x80) return 0;
  }
  // Too long an encoding, a surrogate, or beyond the last code point.
  const unsigned second = byte(at + 1);
  const bool wrong = (first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0) ||
                     (first == 0xf0 && second < 0x90) || (first == 0xf4 && second >= 0x90);
  return wrong ? 0 : length;
}

std::string one_line(std::string text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = character_length(text, at);
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

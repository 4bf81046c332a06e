/// Text for messages and reports.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>

namespace lenet {

/// `text` with everything but printable ASCII replaced by '?': a message stays one line of valid
/// UTF-8 whatever a damaged file holds.
inline std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char byte) { return byte < ' ' || byte > '~'; }, '?');
  return text;
}

/// What printf would print.
template <typename... Values>
std::string print(const char* format, Values... values) {
  const int size = std::snprintf(nullptr, 0, format, values...);
  std::string text(static_cast<std::size_t>(size), '\0');
  std::snprintf(text.data(), text.size() + 1, format, values...);
  return text;
}

}  // namespace lenet

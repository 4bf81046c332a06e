/// Text for messages and reports.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>

namespace lenet {

/// `text` as one line that a terminal shows and does not act upon. What is not printable is escaped
/// as Python does in a string ("\\n", "\\x9b", "\\u202e"), and a byte that is no UTF-8 as Python
/// does in the name of a file ("\\udcff"): control and format characters, blanks other than a
/// space, private and unused planes. Programs print labels, file names, errors and logs so; the
/// function `printable` of the Python package gives the same, and also escapes characters that are
/// newer than the Unicode of its Python.
std::string terminal_text(std::string_view text);

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

/// \file
/// Text from numbers.
#pragma once

#include <cstdio>
#include <string>

namespace lenet {

/// What printf would print.
template <typename... Values>
std::string print(const char* format, Values... values) {
  const int size = std::snprintf(nullptr, 0, format, values...);
  std::string text(static_cast<std::size_t>(size), '\0');
  std::snprintf(text.data(), text.size() + 1, format, values...);
  return text;
}

}  // namespace lenet

/// \file
/// Text from a file, made fit for a message.
#pragma once

#include <algorithm>
#include <string>

namespace lenet {

/// `text` with everything but printable ASCII replaced by '?': a message stays one line of valid
/// UTF-8 whatever a damaged file holds.
inline std::string printable(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char byte) { return byte < ' ' || byte > '~'; }, '?');
  return text;
}

}  // namespace lenet

/// Text files that people write, with any editor.
#pragma once

#include <string_view>

namespace lenet {

/// Without UTF-8's byte order mark, which editors of Windows put at the beginning. Every reader of
/// text takes it away here.
inline std::string_view without_mark(std::string_view text) {
  constexpr std::string_view kMark = "\xef\xbb\xbf";
  return text.substr(0, kMark.size()) == kMark ? text.substr(kMark.size()) : text;
}

}  // namespace lenet

/// What several targets share.
#pragma once

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>

#include "lenet/error.h"

namespace lenet::fuzz {

/// Ends the process with a message on standard error.
[[noreturn]] void fail(const std::string& problem);

inline void require(bool holds, const char* what) {
  if (!holds) fail(what);
}

/// Runs a reader. \returns whether it accepted the bytes; the only other end is an Error of one
/// of those codes, whose message is one printable line.
bool accepts(std::initializer_list<ErrorCode> codes, const std::function<void()>& read);

/// A file in memory, for readers that take a path.
class MemoryFile {
 public:
  MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile();

  void write(std::string_view bytes);
  const std::string& path() const { return path_; }

 private:
  int descriptor_;
  std::string path_;
};

}  // namespace lenet::fuzz

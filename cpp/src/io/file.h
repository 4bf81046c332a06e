/// \file
/// Reading whole files, with typed errors.
#pragma once

#include <string>
#include <string_view>

namespace lenet {

/// The contents of a regular file.
/// \throws Error FileNotFound when it is missing, is no regular file, or cannot be read;
///   BackendFailure when memory does not hold it.
std::string read_file(const std::string& path);

/// A copy of some bytes in memory, for libraries that open files by their path.
class MemoryFile {
 public:
  /// \throws Error BackendFailure when there is not enough memory, or no /proc.
  explicit MemoryFile(std::string_view contents);
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile();

  /// In this process, and in those forked from it; as long as this object lives.
  const std::string& path() const { return path_; }

 private:
  int descriptor_;
  std::string path_;
};

/// \throws Error FileNotFound when `path` is not a readable regular file.
void require_file(const std::string& path);

}  // namespace lenet

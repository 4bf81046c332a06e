/// Reading and writing whole files, with typed errors, and files that only this process sees.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace lenet {

/// The contents of a regular file.
/// \throws Error FileNotFound when it is missing, is no regular file, or cannot be read;
///   BackendFailure when memory does not hold it.
std::string read_file(const std::string& path);

/// Calls `use` with each line of a text, without the '\n' at its end.
template <typename Use>
void each_line(std::string_view text, const Use& use) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    use(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

/// Writes the pieces one after another, atomically: a temporary file, then a rename. A symbolic
/// link stays and what it leads to is replaced; a device or pipe is written to in place.
/// \throws Error FileNotFound when the folder is missing or not writable, BackendFailure when the
///   disk is full; what `path` held before is then untouched.
void write_atomically(const std::string& path, const std::vector<std::string_view>& pieces);

/// Some bytes in memory that cannot be changed, also for libraries that open files by their path.
class MemoryFile {
 public:
  /// A copy.
  /// \throws Error BackendFailure when memory does not hold it.
  explicit MemoryFile(std::string_view contents);
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile();

  /// The contents of a regular file.
  /// \throws Error as read_file and the constructor.
  static std::shared_ptr<const MemoryFile> read(const std::string& path);

  std::string_view contents() const { return {static_cast<const char*>(mapped_), size_}; }
#ifdef _WIN32
  static constexpr bool kHasPath = false;
#else
  static constexpr bool kHasPath = true;
#endif
  /// In this process, and in those forked from it; as long as this object lives. Where kHasPath.
  /// \throws Error BackendFailure when there is no /proc, which all else does without.
  std::string path() const;

 private:
  MemoryFile();
  /// \param fill writes to the address at most `size` bytes; returns how many
  MemoryFile(std::size_t size, const std::function<std::size_t(char*)>& fill);
  void map(int protection);
  void unmap();

  std::size_t size_ = 0;
  void* mapped_ = nullptr;
  int descriptor_;
};

/// A private folder that is removed with everything in it.
class TemporaryFolder {
 public:
  /// \throws Error BackendFailure
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace lenet

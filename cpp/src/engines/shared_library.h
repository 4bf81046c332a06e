/// Libraries that are opened when an engine first needs them.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace lenet {

/// A library that is opened on first use and then kept. Thread-safe.
template <typename Opened>
class LazyLibrary {
 public:
  using Open = Opened (*)(const std::string& path);

  /// \param variable of the environment: a path that comes before that of `set_path`
  /// \param open gets the path, empty when none was set; when it throws, the next `get` tries again
  LazyLibrary(const char* variable, Open open) : variable_(variable), open_(open) {}

  void set_path(const std::string& path) {
    const std::lock_guard<std::mutex> lock(mutex_);
    path_ = path;
  }
  const Opened& get() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!opened_) {
      const char* named = std::getenv(variable_);
      opened_ = open_(named != nullptr && *named != '\0' ? named : path_);
    }
    return *opened_;
  }

 private:
  const char* variable_;
  Open open_;
  std::mutex mutex_;
  std::string path_;              // guarded by mutex_
  std::optional<Opened> opened_;  // guarded by mutex_
};

/// The first two numbers of a version such as "3.3.1"; zeros when it does not begin with them.
inline std::pair<int, int> parse_version(const std::string& version) {
  std::pair<int, int> parts;
  const bool both = std::sscanf(version.c_str(), "%d.%d", &parts.first, &parts.second) == 2;
  return both ? parts : std::pair(0, 0);
}

}  // namespace lenet

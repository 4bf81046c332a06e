/// \file
/// A line of JSON for each request.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

namespace lenet::serve {

/// Thread-safety: everything may be called from any number of threads at once.
class AccessLog {
 public:
  struct Entry {
    std::string_view client;  ///< address and port
    std::string_view method;
    std::string_view path;
    int status;
    std::size_t received;  ///< bytes of the body
    std::size_t sent;      ///< bytes of the response
    double seconds;
  };

  /// \param path empty: no log; "-": standard output; else a file, to whose end it is written
  /// \throws Error FileNotFound
  explicit AccessLog(const std::string& path);
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;
  ~AccessLog();

  bool is_on() const { return file_ >= 0; }
  void add(const Entry& entry);
  /// Writes the lines that were added. Called a few times a second.
  void flush();

 private:
  int file_ = -1;
  std::mutex mutex_;
  std::string lines_;
};

}  // namespace lenet::serve

#include "http/access_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

#include "lenet/error.h"

namespace lenet::serve {
namespace {

constexpr std::size_t kFlushBytes = 64 << 10;
// Of what a client chose, the log takes so much.
constexpr std::size_t kMaxText = 256;

/// As a JSON string: of what a client may send, all but printable ASCII is escaped.
void append_quoted(std::string& to, std::string_view text) {
  to += '"';
  for (const char letter : text.substr(0, kMaxText)) {
    if (letter == '"' || letter == '\\' || letter < ' ' || letter > '~') {
      std::array<char, 8> escaped{};
      std::snprintf(escaped.data(), escaped.size(), "\\u%04x", static_cast<unsigned char>(letter));
      to += escaped.data();
    } else {
      to += letter;
    }
  }
  to += '"';
}

std::string time_text() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  std::array<char, 40> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text.data() + size, text.size() - size, ".%03ldZ", now.tv_nsec / 1'000'000);
  return text.data();
}

}  // namespace

AccessLog::AccessLog(const std::string& path) {
  if (path.empty()) return;
  file_ = path == "-" ? dup(STDOUT_FILENO)
                      : open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  if (file_ < 0) {
    throw Error(ErrorCode::FileNotFound,
                "--access_log: cannot write '" + path + "': " + std::strerror(errno));
  }
}

AccessLog::~AccessLog() {
  if (file_ < 0) return;
  flush();
  close(file_);
}

void AccessLog::add(const Entry& entry) {
  std::string line = "{\"time\":\"" + time_text() + "\",\"client\":";
  append_quoted(line, entry.client);
  line += ",\"method\":";
  append_quoted(line, entry.method);
  line += ",\"path\":";
  append_quoted(line, entry.path);
  line += ",\"status\":" + std::to_string(entry.status);
  line += ",\"received\":" + std::to_string(entry.received);
  line += ",\"sent\":" + std::to_string(entry.sent);
  line += ",\"microseconds\":" + std::to_string(static_cast<std::int64_t>(entry.seconds * 1e6));
  line += "}\n";
  bool full = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    lines_ += line;
    full = lines_.size() >= kFlushBytes;
  }
  if (full) flush();
}

void AccessLog::flush() {
  const std::lock_guard<std::mutex> lock(mutex_);
  for (std::string_view left = lines_; !left.empty();) {
    const ssize_t written = write(file_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;  // a full disk is no reason to stop serving
    left.remove_prefix(static_cast<std::size_t>(written));
  }
  lines_.clear();
}

}  // namespace lenet::serve

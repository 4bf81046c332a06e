#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "support.h"

namespace lenet::tests {

Opens::Opens(const std::string& folder) : descriptor_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) {
  REQUIRE(descriptor_ >= 0);
  REQUIRE(inotify_add_watch(descriptor_, folder.c_str(), IN_OPEN | IN_CLOSE) >= 0);
}

Opens::~Opens() { close(descriptor_); }

std::map<std::string, int> Opens::counts() const {
  std::map<std::string, int> counts;
  std::array<char, 1 << 16> buffer{};
  for (;;) {
    const ssize_t size = read(descriptor_, buffer.data(), buffer.size());
    if (size <= 0) return counts;
    for (ssize_t at = 0; at < size;) {
      inotify_event event = {};
      std::memcpy(&event, buffer.data() + at, sizeof(event));
      at += static_cast<ssize_t>(sizeof(event));
      // Of equal events in a row the system keeps one, but none are: between them one is closed.
      if (event.len > 0 && (event.mask & IN_OPEN) != 0) ++counts[buffer.data() + at];
      at += static_cast<ssize_t>(event.len);
    }
  }
}

int status_of_child(const std::function<bool()>& action) {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    alarm(30);
    _exit(action() ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  return status;
}

}  // namespace lenet::tests

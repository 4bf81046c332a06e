#include <dlfcn.h>
#include <locale.h>  // uselocale is not in <clocale>
#include <pthread.h>
#include <signal.h>  // sigaction and pthread_sigmask are POSIX: <csignal> has no such promise
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "platform/platform.h"

namespace lenet::platform {
namespace fs = std::filesystem;
namespace {

constexpr int kExitSignalled = 128;
constexpr unsigned kPatienceSeconds = 5;

/// Counted, since a process may have the number of the one that forked it: both may be the first of
/// their namespaces. At loading, since a fork may fall into anything that is done later.
std::atomic<unsigned> fork_count{0};
[[maybe_unused]] const int watched =
    pthread_atfork(nullptr, nullptr, [] { fork_count.fetch_add(1, std::memory_order_relaxed); });

volatile sig_atomic_t received = 0;

// Both run as signal handlers: only what is async-signal-safe.
extern "C" void note_signal(int signal) {
  received = signal;
  alarm(kPatienceSeconds);
}

extern "C" void lose_patience(int) {
  signal(received, SIG_DFL);
  raise(received);
}

}  // namespace

bool is_separator(char byte) noexcept { return byte == '/'; }
std::size_t begin_of_name(const std::string& path) noexcept { return path.rfind('/') + 1; }
bool is_plain_name(const std::string& name) { return name.find('/') == std::string::npos; }

Kind kind_of(const std::string& path) {
  std::error_code failed;
  switch (fs::status(path, failed).type()) {
    case fs::file_type::not_found:
      return Kind::Missing;
    case fs::file_type::regular:
      return Kind::File;
    case fs::file_type::directory:
      return Kind::Folder;
    default:
      return Kind::Other;
  }
}

std::vector<std::string> list_folder(const std::string& folder, std::string& failure) {
  std::vector<std::string> paths;
  std::error_code failed;
  for (fs::directory_iterator entry(folder, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    paths.push_back(entry->path().string());
  }
  failure = failed ? failed.message() : "";
  return paths;
}

std::string real_path(const std::string& path) {
  std::error_code failed;
  return fs::canonical(path, failed).string();
}

void make_folder(const std::string& path) {
  std::error_code ignored;
  fs::create_directory(path, ignored);
}

unsigned forks() noexcept { return fork_count; }

void skip_destructors_at_exit(bool (*is_needed)()) noexcept {
#ifdef __GLIBC__
  const auto end = [](int status, void* given) {
    const auto is_needed_now = *reinterpret_cast<bool (**)()>(given);
    if (!is_needed_now()) return;
    std::fflush(nullptr);
    _exit(status);
  };
  static bool (*kept)() = is_needed;
  on_exit(end, &kept);
#else
  static_cast<void>(is_needed);
#endif
}

struct WithoutSignals::Mask {
  sigset_t set;
};
WithoutSignals::WithoutSignals() : before_(std::make_unique<Mask>()) {
  sigset_t blocked;
  sigfillset(&blocked);
  for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) sigdelset(&blocked, own);
  pthread_sigmask(SIG_SETMASK, &blocked, &before_->set);
}
WithoutSignals::~WithoutSignals() { pthread_sigmask(SIG_SETMASK, &before_->set, nullptr); }

void* open_library(const std::string& file) { return dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL); }
void* find_symbol(void* library, const char* name) { return dlsym(library, name); }

std::string last_library_error() {
  const locale_t english = newlocale(LC_ALL_MASK, "C", nullptr);
  const locale_t before = uselocale(english);
  const char* message = dlerror();
  std::string text = message == nullptr ? "unknown reason" : message;
  uselocale(before);
  freelocale(english);
  return text;
}

char** arguments(int& /*argc*/, char** argv) { return argv; }
bool is_terminal_stderr() noexcept { return isatty(STDERR_FILENO) == 1; }

void handle_signals() noexcept {
  // A closed pipe (`| head -1`) then shows as a failed write instead of ending the program.
  signal(SIGPIPE, SIG_IGN);
  // Likewise a file grown beyond the limit on its size (`ulimit -f`).
  signal(SIGXFSZ, SIG_IGN);
  struct sigaction action = {};
  action.sa_handler = note_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before = {};
    sigaction(number, nullptr, &before);
    // Ignored by whoever started the program, as nohup does: it stays so.
    if (before.sa_handler != SIG_IGN) sigaction(number, &action, nullptr);
  }
  action.sa_handler = lose_patience;
  sigaction(SIGALRM, &action, nullptr);
}

bool is_asked_to_end() noexcept { return received != 0; }

void end_as_asked() noexcept {
  lose_patience(0);
  std::_Exit(kExitSignalled + received);  // if the signal is blocked
}

int closed_pipe_status() noexcept { return kExitSignalled + SIGPIPE; }

}  // namespace lenet::platform

#include "trial.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>  // kill() is POSIX: <csignal> has no such promise
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <string_view>
#include <thread>

#include "io/file.h"
#include "io/printable.h"

extern char** environ;

namespace lenet::serve {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kKeptBytes = 4096;  // of what it prints, the last ones
constexpr int kLookMilliseconds = 20;     // between two checks whether it has to end
constexpr std::array<ErrorCode, 6> kCodes = {ErrorCode::FileNotFound,    ErrorCode::BadModel,
                                             ErrorCode::BadInput,        ErrorCode::Unsupported,
                                             ErrorCode::VersionMismatch, ErrorCode::BackendFailure};

/// A running process, and what it prints.
class Child {
 public:
  /// \throws Error BackendFailure when the system gives no process
  explicit Child(std::vector<std::string> command) {
    const auto require = [](int error, const char* what) {
      if (error == 0) return;
      throw Error(ErrorCode::BackendFailure, std::string(what) + ": " + std::strerror(error));
    };
    std::array<int, 2> ends{};
    require(pipe2(ends.data(), O_CLOEXEC) == 0 ? 0 : errno, "no pipe");
    output_ = ends[0];
    fcntl(output_, F_SETFL, O_NONBLOCK);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&files, ends[1], STDERR_FILENO);
    // The thread that loads models may hold signals back.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    std::vector<char*> arguments;
    for (std::string& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    const int error =
        posix_spawn(&process_, arguments[0], &files, &attributes, arguments.data(), environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    close(ends[1]);
    if (error != 0) close(output_);
    require(error, arguments[0]);
  }
  ~Child() {
    kill_it();
    while (!status()) std::this_thread::sleep_for(milliseconds(1));
    close(output_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void kill_it() const {
    if (!status_) kill(process_, SIGKILL);
  }

  /// Waits until the process prints something, or ends, but for some milliseconds at most.
  /// \returns its status as waitpid() has it; nothing: it runs
  std::optional<int> wait() {
    pollfd ready{output_, POLLIN, 0};
    if (is_open_) {
      poll(&ready, 1, kLookMilliseconds);
      read_output();
    } else {
      std::this_thread::sleep_for(milliseconds(1));  // it closed its output, and is about to end
    }
    if (status()) read_output();
    return status_;
  }

  /// The last lines that it printed.
  const std::string& printed() const { return printed_; }

 private:
  std::optional<int> status() {
    int found = 0;
    if (status_) return status_;
    const pid_t ended = waitpid(process_, &found, WNOHANG);
    if (ended == process_) status_ = found;
    // It is gone, and its status with it: that of a process that was killed.
    if (ended < 0 && errno == ECHILD) status_ = SIGKILL;
    return status_;
  }

  void read_output() {
    std::array<char, kKeptBytes> bytes;
    while (is_open_) {
      const ssize_t count = read(output_, bytes.data(), bytes.size());
      if (count < 0) break;  // there is nothing yet
      is_open_ = count > 0;
      printed_.append(bytes.data(), static_cast<std::size_t>(count));
      if (printed_.size() > kKeptBytes) printed_.erase(0, printed_.size() - kKeptBytes);
    }
  }

  pid_t process_ = -1;
  int output_ = -1;
  bool is_open_ = true;
  std::string printed_;
  std::optional<int> status_;
};

/// The message of an error, from the line that run_program() prints of it.
std::optional<std::string> message_of(std::string_view printed, ErrorCode code) {
  const std::string begin = std::string(": ") + to_string(code) + ": ";
  std::optional<std::string> message;
  each_line(printed, [&](std::string_view line) {
    const std::size_t at = line.find(begin);
    if (at != std::string_view::npos) message = line.substr(at + begin.size());
  });
  return message;
}

/// The last line that is not empty, to add to a message.
std::string last_words(std::string_view printed) {
  constexpr std::size_t kShown = 300;
  std::string_view last;
  each_line(printed, [&](std::string_view line) {
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) last = line;
  });
  return last.empty() ? "" : "; its last line: " + printable(std::string(last.substr(0, kShown)));
}

std::string describe_signal(int number) {
  const char* meaning = "it was killed";
  if (number == SIGKILL) meaning = "it was killed, as the system does where memory runs out";
  if (number == SIGSEGV || number == SIGBUS) meaning = "an invalid memory access";
  if (number == SIGABRT) meaning = "it aborted";
  if (number == SIGILL) meaning = "an instruction that the processor does not have";
  if (number == SIGFPE) meaning = "a division by zero";
  if (number == SIGXCPU) meaning = "it took too much processor time";
  return "signal " + std::to_string(number) + " (" + meaning + ")";
}

Trial judge(int status, const std::string& printed) {
  if (WIFSIGNALED(status)) {
    const int number = WTERMSIG(status);
    const bool is_asked = number == SIGTERM || number == SIGINT || number == SIGHUP;
    return {is_asked ? Trial::End::Stopped : Trial::End::Died, ErrorCode::BackendFailure,
            "its process ended with " + describe_signal(number) + last_words(printed)};
  }
  const int code = WEXITSTATUS(status);
  if (code == 0) return {};
  for (const ErrorCode known : kCodes) {
    if (static_cast<int>(known) != code) continue;
    if (auto message = message_of(printed, known)) {
      return {Trial::End::Refused, known, std::move(*message)};
    }
  }
  return {Trial::End::Died, ErrorCode::BackendFailure,
          "its process ended with status " + std::to_string(code) + last_words(printed)};
}

}  // namespace

Trial try_load(const std::vector<std::string>& command, int seconds,
               const std::function<bool()>& stops) try {
  const auto end = Clock::now() + std::chrono::seconds(seconds);
  Child child(command);
  for (;;) {
    if (const auto status = child.wait()) return judge(*status, child.printed());
    if (stops()) return {Trial::End::Stopped, ErrorCode::BackendFailure, "the server is stopping"};
    if (seconds == 0 || Clock::now() < end) continue;
    return {Trial::End::Died, ErrorCode::BackendFailure,
            "its process took longer than " + std::to_string(seconds) + " s" +
                last_words(child.printed())};
  }
} catch (const Error& error) {
  return {Trial::End::NotStarted, error.code(), error.what()};
}

void restrict_trial(int seconds) noexcept {
  // Each of these may fail where the system forbids it: the trial then goes on without.
  const rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  if (seconds > 0) {
    const auto all =
        static_cast<rlim_t>(seconds) * std::max(1U, std::thread::hardware_concurrency());
    const rlimit time = {all, all};
    setrlimit(RLIMIT_CPU, &time);
  }
#ifdef __linux__
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  constexpr std::string_view kFirst = "1000";
  const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score < 0) return;
  static_cast<void>(!write(score, kFirst.data(), kFirst.size()));
  close(score);
#endif
}

}  // namespace lenet::serve

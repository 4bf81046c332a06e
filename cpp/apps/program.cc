#include "program.h"

#include <signal.h>  // sigaction is POSIX: <csignal> has no such promise
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "command_line.h"
#include "engines/paddle/paddle.h"
#include "lenet/engines.h"
#include "lenet/version.h"

namespace lenet::apps {
namespace {

constexpr int kExitOutput = 1;
constexpr int kExitUsage = 2;
constexpr int kExitSignalled = 128;
constexpr unsigned kPatienceSeconds = 5;

volatile sig_atomic_t received = 0;
struct Interrupted {};

// Both run as signal handlers: only what is async-signal-safe.
extern "C" void note_signal(int signal) {
  received = signal;
  alarm(kPatienceSeconds);
}

extern "C" void lose_patience(int) {
  signal(received, SIG_DFL);
  raise(received);
}

void handle_signals() {
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

/// By the signal itself, so that the caller sees what happened (128 + its number in a shell).
[[noreturn]] void end_by_signal() {
  lose_patience(0);
  std::_Exit(kExitSignalled + received);  // if the signal is blocked
}

int fail(const char* name, int code, const char* kind, const char* message) {
  if (received != 0) end_by_signal();  // which made this fail
  std::fprintf(stderr, "%s: %s: %s\n", name, kind, message);
  return code;
}

int print_out(const char* name, const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return 0;
  if (errno == EPIPE) return kExitSignalled + SIGPIPE;
  return fail(name, kExitOutput, "error: cannot write to standard output", std::strerror(errno));
}

}  // namespace

int run_program(const char* name, const std::function<std::string()>& work) {
  const auto failed = [&](ErrorCode code, const char* message) {
    return fail(name, static_cast<int>(code), to_string(code), message);
  };
  handle_signals();
  silence_paddle();
  try {
    return print_out(name, work());
  } catch (const Interrupted&) {
    end_by_signal();
  } catch (const PartialResult& part) {
    const int code = print_out(name, part.result);
    return code != 0 ? code : failed(part.error.code(), part.error.what());
  } catch (const UsageError& error) {
    std::fprintf(stderr, "%s: %s (see --help)\n", name, error.what());
    return kExitUsage;
  } catch (const Error& error) {
    return failed(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return failed(ErrorCode::BackendFailure, "out of memory");
  } catch (const std::exception& error) {
    return failed(ErrorCode::BackendFailure, error.what());
  }
}

void stop_if_interrupted() {
  if (received != 0) throw Interrupted{};
}

std::string version_text(const char* name) {
  std::string text = std::string(name) + " " + version() + "\n";
  for (const EngineInfo& engine : available_engines()) {
    text += engine.name + " " + engine.version +
            (engine.version.empty() ? "is not available: " + engine.unavailable : "") + "\n";
  }
  return text + "native bf16 " + describe_bf16() + "\n";
}

}  // namespace lenet::apps

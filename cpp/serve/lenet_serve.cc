/// The server: models over HTTP, and over gRPC in lenet_serve_grpc.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>  // sigaction is POSIX: <csignal> has no such promise
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdio>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "grpc/grpc_server.h"
#include "http/http_server.h"
#include "io/printable.h"
#include "platform/platform.h"
#include "program.h"
#include "serve_options.h"
#include "service.h"
#include "trial.h"

namespace lenet::serve {
namespace {

constexpr const char* kName = "lenet_serve";
constexpr int kLookMilliseconds = 20;  // between two checks whether all requests are answered
constexpr int kLoadSeconds = 5;        // to end while the models are loaded at the start
constexpr int kMoreSeconds = 1;        // after --stop_seconds, for an orderly end
constexpr int kLogMilliseconds = 100;  // for who reads standard error to make room
constexpr std::string_view kLate =
    "lenet_serve: BackendFailure: the run of a model could not be stopped in time\n";

std::array<int, 2> signal_pipe{-1, -1};
volatile std::sig_atomic_t asked_to_end = 0;  // the signal that did
volatile std::sig_atomic_t times_asked = 0;
volatile std::sig_atomic_t seconds_to_end = kLoadSeconds;
volatile std::sig_atomic_t is_serving = 0;

/// Whether standard error takes a piece of at most PIPE_BUF bytes without waiting for its reader.
bool has_room(int milliseconds) {
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  return poll(&ready, 1, milliseconds) > 0;
}

// These two do only what is async-signal-safe. The limit of time holds whatever other threads do.
extern "C" void end_late(int) {
  if (is_serving != 0) {
    static_cast<void>(has_room(0) && write(STDERR_FILENO, kLate.data(), kLate.size()) < 0);
    _exit(static_cast<int>(ErrorCode::BackendFailure));
  }
  signal(asked_to_end, SIG_DFL);
  raise(asked_to_end);
}

extern "C" void pass_signal(int number) {
  const int before = errno;
  if (number != SIGHUP && times_asked < 2) {  // more often, and the end would come ever later
    alarm(static_cast<unsigned>(times_asked == 0 ? seconds_to_end : kMoreSeconds));
    asked_to_end = number;
    times_asked = times_asked + 1;
  }
  const auto byte = static_cast<unsigned char>(number);
  static_cast<void>(!write(signal_pipe[1], &byte, 1));
  errno = before;
}

/// SIGHUP asks for new models from the first moment on; before `take_signals` it waits.
void hold_hang_up(int how) {
  sigset_t hang_up;
  sigemptyset(&hang_up);
  sigaddset(&hang_up, SIGHUP);
  pthread_sigmask(how, &hang_up, nullptr);
}

/// From now on a signal is read from the pipe.
void take_signals() {
  if (pipe2(signal_pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
    throw Error(ErrorCode::BackendFailure, "no pipe for signals");
  }
  struct sigaction action = {};
  action.sa_handler = pass_signal;
  action.sa_flags = SA_RESTART;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before = {};
    sigaction(number, nullptr, &before);
    if (before.sa_handler != SIG_IGN) sigaction(number, &action, nullptr);
  }
  action.sa_handler = end_late;
  sigaction(SIGALRM, &action, nullptr);
  signal(SIGCHLD, SIG_DFL);  // who started the server may ignore it, and trials need their status
  hold_hang_up(SIG_UNBLOCK);
}

/// \param milliseconds to wait; -1: as long as it takes
/// \returns the signal; 0 when none came
int next_signal(int milliseconds) {
  pollfd descriptor{signal_pipe[0], POLLIN, 0};
  unsigned char number = 0;
  if (poll(&descriptor, 1, milliseconds) > 0 && read(signal_pipe[0], &number, 1) == 1) {
    return number;
  }
  return 0;
}

void print_line(const std::string& line) {
  std::fprintf(stdout, "%s\n", line.c_str());
  std::fflush(stdout);
}

/// Writes to standard error as long as its reader makes room. \returns how many bytes it took
std::size_t write_to_error(std::string_view text) {
  std::size_t done = 0;
  while (done < text.size() && has_room(kLogMilliseconds)) {
    const std::size_t piece = std::min<std::size_t>(PIPE_BUF, text.size() - done);
    const ssize_t count = write(STDERR_FILENO, &text[done], piece);
    if (count < 0 && errno != EINTR && errno != EAGAIN) break;
    done += static_cast<std::size_t>(std::max<ssize_t>(count, 0));
  }
  return done;
}

/// Writes a line about the server to standard error. Models are loaded by the thread that says so:
/// a line that finds no room is dropped, and the next one that finds some tells how many were.
/// Thread-safety: may be called from any number of threads at once.
void log_line(const std::string& line) {
  static std::mutex mutex;
  static std::size_t dropped = 0;
  const std::lock_guard<std::mutex> lock(mutex);
  std::string text = std::string(kName) + ": " + terminal_text(line) + "\n";
  if (dropped > 0) {
    text = std::string(kName) + ": nobody read " + std::to_string(dropped) +
           " lines of this log, which were dropped\n" + text;
  }
  const bool is_written = write_to_error(text) == text.size();
  dropped = is_written ? 0 : dropped + 1;
}

/// Answers what was accepted; a further signal ends that.
void stop(Service& service, HttpServer& server, GrpcServer* grpc, int seconds) {
  service.begin_shutdown();
  server.begin_stop();
  if (grpc != nullptr) grpc->begin_stop();
  const auto end = Clock::now() + std::chrono::seconds(seconds);
  bool again = false;
  const auto is_running = [&] { return server.running() || (grpc != nullptr && grpc->running()); };
  while (is_running() && !again && Clock::now() < end) {
    const int number = next_signal(kLookMilliseconds);
    again = number == SIGINT || number == SIGTERM;
  }
}

/// Loads a model as the server does, in a process of its own.
std::string check_model(const ServeOptions& options) {
  const int load_seconds = options.service.config.load_seconds;
  restrict_trial(load_seconds == 0 ? 0 : load_seconds + options.service.trial_seconds);
  Model model("model", 1, options.check_model, options.service);
  model.measure(options.service.trial_seconds);
  return "'" + terminal_text(options.check_model) + "' can be served\n";
}

/// The command that starts this program with the same options, to load one model.
std::vector<std::string> trial_command(int argc, char** argv, const std::string& path) {
  std::string program = platform::own_file();
  if (access(program.c_str(), X_OK) != 0) program = argv[0];  // where there is no /proc
  std::vector<std::string> command = {program, "--check_model=" + path};
  command.insert(command.end(), argv + 1, argv + argc);
  return command;
}

std::string work(int argc, char** argv) {
  ServeOptions options = parse_serve_options(argc, argv);
  if (options.help || options.help_all) return serve_help(options.help_all);
  if (options.version) return apps::version_text(kName);
  if (!options.check_model.empty()) return check_model(options);
  options.service.log = log_line;
  if (!options.skip_trial) {
    options.service.trial_command = [=](const std::string& path) {
      return trial_command(argc, argv, path);
    };
  }
  if (options.grpc_port >= 0) require_grpc(argv);
  take_signals();
  apps::stop_if_interrupted();
  seconds_to_end = std::clamp(options.stop_seconds, 1, kLoadSeconds);
  const bool is_open =
      options.http.token.empty() && !parse_address(options.http.host).is_loopback();

  // Ends before the servers do, into whose threads' memory it may still answer.
  std::unique_ptr<Service> service;
  service = std::make_unique<Service>(options.service);
  HttpServer server(*service, options.http);
  if (asked_to_end != 0) {
    service.reset();
    end_late(0);
  }
  seconds_to_end =
      std::min(options.stop_seconds, std::numeric_limits<int>::max() - kMoreSeconds) + kMoreSeconds;
  is_serving = 1;
  if (asked_to_end != 0) alarm(static_cast<unsigned>(seconds_to_end));  // the load's has begun
  std::unique_ptr<GrpcServer> grpc;
  if (options.grpc_port >= 0) grpc = start_grpc(*service, options, server.log());
  server.start();
  print_line("listening on " + server.address());
  if (grpc) print_line("listening on " + grpc->address());
  if (is_open) {
    log_line("warning: every client that reaches " + server.address() +
             " can use this server; set a token with --token_file");
  }
  for (int number = 0; number != SIGINT && number != SIGTERM; number = next_signal(-1)) {
    if (number == SIGHUP) service->look_for_models();
  }
  stop(*service, server, grpc.get(), options.stop_seconds);
  const std::size_t unanswered = server.stop() + (grpc ? grpc->stop() : 0);
  service.reset();
  if (unanswered > 0) {
    throw Error(
        ErrorCode::BackendFailure,
        std::to_string(unanswered) + " requests were not answered before the server stopped");
  }
  return "";
}

}  // namespace
}  // namespace lenet::serve

int main(int argc, char** argv) {
  using namespace lenet::serve;
  hold_hang_up(SIG_BLOCK);
  return lenet::apps::run_program(kName, [&] { return work(argc, argv); });
}

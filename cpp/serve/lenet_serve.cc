/// The server: models over HTTP, and over gRPC in lenet_serve_grpc.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>  // sigaction is POSIX: <csignal> has no such promise
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <initializer_list>
#include <memory>
#include <string>

#include "grpc/grpc_server.h"
#include "http/http_server.h"
#include "program.h"
#include "serve_options.h"
#include "service.h"

namespace lenet::serve {
namespace {

constexpr const char* kName = "lenet_serve";
constexpr int kLookMilliseconds = 20;  // between looks whether all is answered

std::array<int, 2> signal_pipe{-1, -1};

// Only what is async-signal-safe.
extern "C" void pass_signal(int number) {
  const int before = errno;
  const auto byte = static_cast<unsigned char>(number);
  static_cast<void>(!write(signal_pipe[1], &byte, 1));
  errno = before;
}

/// From now on these signals are read from the pipe.
void take_signals(std::initializer_list<int> numbers) {
  if (signal_pipe[0] < 0 && pipe2(signal_pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
    throw Error(ErrorCode::BackendFailure, "no pipe for signals");
  }
  struct sigaction action = {};
  action.sa_handler = pass_signal;
  action.sa_flags = SA_RESTART;
  for (const int number : numbers) {
    struct sigaction before = {};
    sigaction(number, nullptr, &before);
    if (before.sa_handler != SIG_IGN) sigaction(number, &action, nullptr);
  }
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

void print_line(std::FILE* to, const std::string& line) {
  std::fprintf(to, "%s\n", line.c_str());
  std::fflush(to);
}

bool is_local(const std::string& host) {
  return host == "localhost" || host == "::1" || host.rfind("127.", 0) == 0;
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

std::string work(int argc, char** argv) {
  take_signals({SIGHUP});  // which asks for new versions, also while models load
  ServeOptions options = parse_serve_options(argc, argv);
  if (options.help) return serve_help();
  if (options.version) return apps::version_text(kName);
  options.service.log = [](const std::string& line) { print_line(stderr, kName + (": " + line)); };
  if (options.grpc_port >= 0) require_grpc(argv);
  const bool is_open = options.http.token.empty() && !is_local(options.http.host);

  // Ends before the servers do, into whose threads' memory it may still answer.
  std::unique_ptr<Service> service;
  service = std::make_unique<Service>(options.service);
  HttpServer server(*service, options.http);
  apps::stop_if_interrupted();
  take_signals({SIGINT, SIGTERM});
  std::unique_ptr<GrpcServer> grpc;
  if (options.grpc_port >= 0) grpc = std::make_unique<GrpcServer>(*service, options, server.log());
  server.start();
  print_line(stdout, "listening on " + server.address());
  if (grpc) print_line(stdout, "listening on " + grpc->address());
  if (is_open) {
    print_line(stderr, std::string(kName) + ": warning: whoever reaches " + server.address() +
                           " may use it; see --token_file");
  }
  for (int number = 0; number != SIGINT && number != SIGTERM; number = next_signal(-1)) {
    if (number == SIGHUP) service->look_for_models();
  }
  stop(*service, server, grpc.get(), options.stop_seconds);
  const std::size_t unanswered = server.stop() + (grpc ? grpc->stop() : 0);
  service.reset();
  if (unanswered > 0) {
    throw Error(ErrorCode::BackendFailure,
                std::to_string(unanswered) + " requests were not answered when it was stopped");
  }
  return "";
}

}  // namespace
}  // namespace lenet::serve

int main(int argc, char** argv) {
  using namespace lenet::serve;
  return lenet::apps::run_program(kName, [&] { return work(argc, argv); });
}

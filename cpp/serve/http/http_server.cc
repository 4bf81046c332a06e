#include "http/http_server.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

#include "lenet/error.h"

namespace lenet::serve {
namespace {

constexpr int kBacklog = 1024;
constexpr unsigned kMaxDefaultThreads = 8;
// Descriptors for all that is no connection.
constexpr rlim_t kOtherDescriptors = 256;

using Endpoint = boost::asio::ip::tcp::endpoint;

/// \param endpoint gets the port that was taken
int open_listener(Endpoint& endpoint) {
  const int listener =
      socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int one = 1;
  // So that a server can be started again while connections of the last one wait for their end.
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  auto size = static_cast<socklen_t>(endpoint.size());
  if (listener < 0 || bind(listener, endpoint.data(), size) != 0 ||
      listen(listener, kBacklog) != 0 || getsockname(listener, endpoint.data(), &size) != 0) {
    const int error = errno;
    if (listener >= 0) close(listener);
    throw Error(ErrorCode::BackendFailure, "cannot listen on " + text_of(endpoint) + ": " +
                                               std::strerror(error) +
                                               "; name another: --port, --host");
  }
  return listener;
}

/// As many as the system allows, if the connections need them.
void allow_descriptors(std::size_t connections) {
  rlimit limit{};
  const rlim_t needed = connections + kOtherDescriptors;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= needed) return;
  limit.rlim_cur = std::min(limit.rlim_max, needed);
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace

HttpServer::HttpServer(Service& service, HttpOptions options)
    : transport_(service, std::move(options)) {
  const HttpOptions& set = transport_.options;
  allow_descriptors(set.connections);
  Endpoint endpoint = {parse_address(set.host), set.port};
  const int listener = open_listener(endpoint);
  address_ = "http://" + text_of(endpoint);
  const unsigned cores = std::clamp(std::thread::hardware_concurrency(), 1U, kMaxDefaultThreads);
  const int threads = set.threads > 0 ? set.threads : static_cast<int>(cores);
  for (int i = 0; i < threads; ++i) loops_.push_back(std::make_unique<EventLoop>(transport_));
  loops_.front()->set_listener(listener, loops_);
}

HttpServer::~HttpServer() { stop(); }

void HttpServer::start() {
  for (const auto& loop : loops_) {
    ++running_;
    threads_.emplace_back([this, &loop] {
      loop->run();
      --running_;
    });
  }
}

void HttpServer::begin_stop() { loops_.front()->drain(); }

std::size_t HttpServer::stop() {
  for (const auto& loop : loops_) loop->abort();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  return transport_.unanswered.load();
}

}  // namespace lenet::serve

#include "http/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
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

struct Address {
  sockaddr_storage bytes{};
  socklen_t size = 0;
};

Address parse_address(const std::string& host, std::uint16_t port) {
  Address address;
  auto& ip4 = reinterpret_cast<sockaddr_in&>(address.bytes);
  auto& ip6 = reinterpret_cast<sockaddr_in6&>(address.bytes);
  const std::string& text = host == "localhost" ? "127.0.0.1" : host;
  if (inet_pton(AF_INET, text.c_str(), &ip4.sin_addr) == 1) {
    ip4.sin_family = AF_INET;
    ip4.sin_port = htons(port);
    address.size = sizeof ip4;
  } else if (inet_pton(AF_INET6, text.c_str(), &ip6.sin6_addr) == 1) {
    ip6.sin6_family = AF_INET6;
    ip6.sin6_port = htons(port);
    address.size = sizeof ip6;
  } else {
    throw Error(ErrorCode::BadInput,
                "--host is '" + host + "'; expected an address such as 127.0.0.1, 0.0.0.0, ::1");
  }
  return address;
}

int open_listener(const HttpOptions& options) {
  const Address address = parse_address(options.host, options.port);
  const int listener =
      socket(address.bytes.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const int one = 1;
  // So that a server can be started again while connections of the last one wait for their end.
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (listener < 0 ||
      bind(listener, reinterpret_cast<const sockaddr*>(&address.bytes), address.size) != 0 ||
      listen(listener, kBacklog) != 0) {
    const int error = errno;
    if (listener >= 0) close(listener);
    throw Error(ErrorCode::BackendFailure,
                "cannot listen on " + options.host + ", port " + std::to_string(options.port) +
                    ": " + std::strerror(error) + "; name another: --port, --host");
  }
  return listener;
}

std::uint16_t port_of(int listener) {
  sockaddr_storage bytes{};
  socklen_t size = sizeof bytes;
  getsockname(listener, reinterpret_cast<sockaddr*>(&bytes), &size);
  return ntohs(bytes.ss_family == AF_INET ? reinterpret_cast<sockaddr_in&>(bytes).sin_port
                                          : reinterpret_cast<sockaddr_in6&>(bytes).sin6_port);
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
  const int listener = open_listener(set);
  const bool is_ip6 = set.host.find(':') != std::string::npos;
  address_ = "http://" + (is_ip6 ? "[" + set.host + "]" : set.host) + ":" +
             std::to_string(port_of(listener));
  const unsigned cores = std::clamp(std::thread::hardware_concurrency(), 1U, kMaxDefaultThreads);
  const int threads = set.threads > 0 ? set.threads : static_cast<int>(cores);
  std::vector<EventLoop*> loops;
  for (int i = 0; i < threads; ++i) {
    loops_.push_back(std::make_unique<EventLoop>(transport_));
    loops.push_back(loops_.back().get());
  }
  loops.front()->set_listener(listener, loops);
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
  return transport_.metrics.unanswered.load();
}

}  // namespace lenet::serve

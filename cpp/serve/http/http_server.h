/// \file
/// HTTP/1.1 around a service: threads that wait for connections.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "http/event_loop.h"
#include "http/transport.h"
#include "service.h"

namespace lenet::serve {

class HttpServer {
 public:
  /// Binds and listens; clients are served once `start` was called.
  /// \param service must outlive `start` to `stop`, and may end before this object
  /// \throws Error BadInput for a host that is no address, BackendFailure for an address or a port
  ///   that is taken or not allowed
  HttpServer(Service& service, HttpOptions options);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer();

  /// Such as "http://127.0.0.1:8000".
  const std::string& address() const { return address_; }
  /// For what others answer beside this server.
  AccessLog& log() { return transport_.log; }
  void start();
  /// Begins a graceful stop: no new connections, and the end of `running` when every request is
  /// answered.
  void begin_stop();
  bool running() const { return running_.load() > 0; }
  /// Ends the threads, at once where they are not done.
  /// \returns how many requests got no response.
  std::size_t stop();

 private:
  Transport transport_;
  std::string address_;
  EventLoops loops_;
  std::vector<std::thread> threads_;
  std::atomic<int> running_{0};
};

}  // namespace lenet::serve

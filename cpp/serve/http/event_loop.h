/// \file
/// A thread that waits for its connections (epoll), and its mailbox.
#pragma once

#include <array>
#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/connection.h"
#include "http/transport.h"
#include "service.h"

namespace lenet::serve {

/// Such as "127.0.0.1:8000", "[::1]:8000".
std::string text_of(const boost::asio::ip::tcp::endpoint& endpoint);

class EventLoop {
 public:
  /// \throws Error BackendFailure when the system has no more descriptors
  explicit EventLoop(Transport& transport);
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  ~EventLoop();

  /// Makes this loop accept connections, and hand them to the loop that has the fewest.
  /// \param listener non-blocking, listens; closed by this object
  void set_listener(int listener, std::vector<EventLoop*> loops);

  /// Serves until it was stopped and has no connections left.
  void run();

  // From any thread.

  /// No new connections, in no loop; those that are open end when every request is answered. To be
  /// called for the loop that has the listener.
  void drain();
  /// Ends `run` at once.
  void abort();
  std::size_t load() const { return load_.load(std::memory_order_relaxed); }

  // For the connections, in the thread of `run`.

  Transport& transport() { return transport_; }
  /// Hands a request to the service; its response goes to Connection::on_response.
  void handle(const Connection& connection, Request request);
  /// \param events EPOLLIN, EPOLLOUT or both
  void watch(Connection& connection, std::uint32_t events);
  /// When the events came that are being worked on.
  Clock::time_point now() const { return now_; }
  /// A line of the header.
  std::string_view date();
  /// Where a connection reads to.
  std::string& read_buffer() { return read_buffer_; }

 private:
  struct Letter {
    enum class Kind { Connection, Response, Drain } kind;
    std::uint64_t key = 0;
    int socket = -1;
    std::string client;
    Response response;
  };

  void post(Letter letter) noexcept;
  void read_mailbox();
  void open(int socket, std::string client);
  void accept_all();
  void close_listener();
  void deliver(std::uint64_t key, Response response);
  void run_waiting();
  void tick();
  Connection* find(std::uint64_t key);
  void on_event(std::uint64_t key, std::uint32_t events);
  /// Runs the action, and removes the connection if that closed it.
  void guard(Connection& connection, const std::function<void()>& action);
  void begin_drain();

  Transport& transport_;
  const int epoll_;
  const int wake_;
  int listener_ = -1;
  bool listener_paused_ = false;
  std::vector<EventLoop*> loops_;
  Service::Loop* service_ = nullptr;
  bool service_waits_ = false;
  bool in_service_ = false;
  std::vector<std::uint64_t> answered_;  ///< in `run_waiting`, whose further input comes later

  std::vector<std::unique_ptr<Connection>> connections_;  ///< by the lower half of their keys
  std::vector<std::uint32_t> free_;
  std::uint32_t serial_ = 0;
  std::size_t open_ = 0;
  std::atomic<std::size_t> load_{0};
  bool draining_ = false;
  std::atomic<bool> aborted_{false};

  Clock::time_point now_;
  Clock::time_point ticked_;
  std::int64_t date_second_ = -1;
  std::string date_;
  std::string read_buffer_;

  std::mutex mutex_;
  std::vector<Letter> mailbox_;
};

}  // namespace lenet::serve

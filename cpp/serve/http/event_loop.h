/// \file
/// A thread that waits for its connections (epoll), and its mailbox.
#pragma once

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "http/connection.h"
#include "http/transport.h"
#include "service.h"

namespace lenet::serve {

/// Such as "127.0.0.1:8000", "[::1]:8000".
std::string text_of(const boost::asio::ip::tcp::endpoint& endpoint);

class EventLoop;
using EventLoops = std::vector<std::unique_ptr<EventLoop>>;

class EventLoop {
 public:
  /// \throws Error BackendFailure when the system has no more descriptors
  explicit EventLoop(Transport& transport);
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;
  ~EventLoop();

  /// Makes this loop accept connections, and hand them to the loop that has the fewest.
  /// \param listener non-blocking, listens; closed by this object
  void set_listener(int listener, const EventLoops& loops);

  /// Serves until it was stopped and has no connections left.
  void run();

  // From any thread.

  /// No new connections, in no loop; those that are open end when every request is answered. To be
  /// called for the loop that has the listener.
  void drain();
  /// Ends `run` at once.
  void abort();

  // For the connections, in the thread of `run`.

  Transport& transport() { return transport_; }
  /// Hands a request to the service, unpacked; its response goes to Connection::take.
  void handle(const Connection& connection, Request request, Coding coding);
  /// Packs the response. \returns whether a worker does, after which it goes to Connection::take;
  ///   it is left as it is where too much is waiting
  bool pack(const Connection& connection, Response& response, Coding coding);
  /// \param events EPOLLIN, EPOLLOUT or both
  void watch(Connection& connection, std::uint32_t events) const;
  /// When the events came that are being worked on.
  Clock::time_point now() const { return now_; }
  /// For the header.
  std::string_view date();
  /// Where a connection reads to.
  std::string& read_buffer() { return read_buffer_; }

 private:
  /// Has it run in the thread of `run`. From any thread.
  /// \returns false when there is no memory for it
  template <typename Task>
  bool post(Task task) noexcept;
  void read_mailbox();
  using Endpoint = boost::asio::ip::tcp::endpoint;
  /// \param first of the loops to look for an idle connection to close for it
  void open(int socket, const Endpoint& client, EventLoop& first);
  /// Has a loop open it.
  void open_in(EventLoop& loop, int socket, const Endpoint& client, EventLoop& first);
  /// Closes the connection that has waited longest for a request. \returns false: none waits
  bool displace();
  void accept_all();
  void pause_listener(bool paused);
  void close_listener();
  void handle(std::uint64_t key, Request request);
  void deliver(std::uint64_t key, Response response) noexcept;
  void run_waiting();
  void tick();
  void on_event(std::uint64_t key, std::uint32_t events);
  /// Runs the action with the connection, if it is still there, and removes it if that closed it.
  template <typename Action>
  void guard(std::uint64_t key, const Action& action);
  template <typename Action>
  void each_connection(const Action& action);

  Transport& transport_;
  const int epoll_;
  const int wake_;
  int listener_ = -1;
  bool listener_paused_ = false;
  const EventLoops* loops_ = nullptr;  ///< all of them; of the one that listens
  EventLoop* next_ = nullptr;
  Service::Loop* service_ = nullptr;
  bool service_waits_ = false;
  std::vector<std::uint64_t> answered_;  ///< connections that are to go on

  std::unordered_map<std::uint64_t, std::unique_ptr<Connection>> connections_;
  std::uint64_t last_key_ = 0;
  std::atomic<std::size_t> load_{0};  ///< connections, and those that were handed over
  bool draining_ = false;
  std::atomic<bool> aborted_{false};

  Clock::time_point now_;
  Clock::time_point ticked_;
  std::time_t date_second_ = -1;
  std::string date_;
  std::string read_buffer_;

  std::mutex mutex_;
  std::vector<std::function<void()>> mailbox_;
};

}  // namespace lenet::serve

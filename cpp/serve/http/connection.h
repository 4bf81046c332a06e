/// \file
/// One client's connection: requests out of its bytes, and bytes out of responses.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "http/request_parser.h"
#include "http/transport.h"
#include "service.h"

namespace lenet::serve {

class EventLoop;

/// Belongs to the thread of its loop. A client's requests are answered one after another, in their
/// order; nothing more is read while one waits for its response, or while the client does not take
/// what it was sent.
class Connection {
 public:
  /// \param socket non-blocking; closed by the destructor
  /// \param key by which the loop finds this object
  /// \param is_refused whether it has no place; else the destructor gives that back
  Connection(EventLoop& loop, std::uint64_t key, int socket,
             const boost::asio::ip::tcp::endpoint& client, bool is_refused);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection();

  /// Sends what can be sent, and parses what has arrived. To be called first, and after `take`.
  void go_on();
  /// Answers so in place of what there is to answer, and closes.
  void refuse(const Failure& why);
  /// \param ready of epoll
  void on_events(std::uint32_t ready);
  /// Takes the response to the request that waits for one.
  void take(Response response);
  /// For an error that is ours, such as no memory.
  void close() { closed_ = true; }
  /// Looks whether the client, or a request, took too long.
  void on_tick();
  /// To be closed as soon as every request that has begun is answered, and none comes for a second.
  void drain();

  bool closed() const { return closed_; }
  /// Whether more was sent than was parsed yet.
  bool has_input() const { return !input_.empty(); }
  /// Since when it waits for a request; the end of time when it does not.
  Clock::time_point idle_since() const;
  /// Whether something came that was not read yet.
  bool has_bytes() const;
  /// Whether a client waits for a response.
  bool has_request() const { return waiting_ || is_reading() || (unsent() > 0 && !closed_); }
  std::uint64_t key() const { return key_; }
  int socket() const { return socket_; }
  std::uint32_t events = 0;  ///< that the loop watches

 private:
  static constexpr std::size_t kMaxUnsent = 64 << 10;

  enum class Phase { Idle, Header, Body, Waiting, Writing, Lingering };

  Phase phase() const;
  bool is_reading() const { return parser_ && parser_->begun(); }
  std::size_t unsent() const { return output_.size() + tail_.size() - written_; }
  /// Whether nothing more is to be parsed before something was sent.
  bool is_full() const { return unsent() >= kMaxUnsent || !tail_.empty(); }
  void receive();
  bool parse_some();
  void on_header();
  void dispatch();
  /// Begins the response to what the parser has read of a request.
  void begin_response(bool close_after);
  void fail(int status, std::string_view message);
  void respond(Response response);
  void append_head(const Response& response);
  void flush();
  /// To be called at the end of whatever happens: what to wait for, and until when.
  void settle();
  void count_buffered();

  EventLoop& loop_;
  Transport& transport_;
  const std::uint64_t key_;
  const int socket_;
  const boost::asio::ip::address address_;
  const bool is_refused_;

  std::optional<RequestParser> parser_;
  std::string_view input_;  ///< not parsed yet: in the loop's memory, or in `kept_`
  std::string kept_;        ///< between two calls, what is not parsed yet
  std::string output_;
  std::string_view tail_;  ///< follows `output_`
  std::shared_ptr<const void> tail_owner_;
  std::size_t written_ = 0;   ///< of both
  std::size_t buffered_ = 0;  ///< as counted in Transport::buffered

  std::string shared_with_;  ///< the origin of the page that asks, which may read the response
  Exchange exchange_;        ///< of the request that is read or answered
  Coding accepts_ = Coding::Identity;  ///< of the response that is not there yet
  bool is_http_1_0_ = false;
  Clock::time_point dispatched_;

  bool waiting_ = false;  ///< for the service
  bool close_after_ = false;
  bool lingering_ = false;
  bool draining_ = false;
  Clock::time_point drain_began_;
  bool closed_ = false;
  std::uint64_t requests_ = 0;
  Phase phase_ = Phase::Idle;
  std::uint64_t phase_request_ = ~std::uint64_t{0};
  Clock::time_point phase_began_;
  Clock::time_point deadline_;
};

}  // namespace lenet::serve

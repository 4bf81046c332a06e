/// \file
/// What the threads of the HTTP server have in common, and the requests that it answers itself.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/access.h"
#include "http/page.h"
#include "http/request_parser.h"
#include "metrics.h"
#include "service.h"

namespace lenet::serve {

struct HttpOptions {
  std::string host = "127.0.0.1";  ///< an address, or "localhost"
  std::uint16_t port = 8000;       ///< 0: any that is free
  int threads = 0;                 ///< that read requests; 0: one a core, at most 8
  /// That clients have to know, but to ask for the health of the server, without a body; empty:
  /// none.
  std::string token;
  std::vector<std::string> allowed_hosts;  ///< as Access takes them
  std::vector<std::string> allowed_origins;
  std::string page;        ///< a folder with index.html; empty: none
  std::string access_log;  ///< a file, or "-" for standard output; empty: none

  RequestLimits request;
  std::size_t connections = 1024;             ///< at once; for more, those that are idle go, or 503
  std::size_t connections_of_an_address = 0;  ///< at once; more get 503, or no answer; 0: any
  std::size_t buffered_bytes = std::size_t{1} << 28;  ///< of all bodies together; then 503
  int header_seconds = 10;  ///< from the first byte of a request to the end of its header
  int body_seconds = 60;    ///< for its body, and for the client to take the response
  int request_seconds = 0;  ///< until the service has a response; then 503; 0: no limit
  int idle_seconds = 60;    ///< between two requests of a connection
};

/// Whether a client knows the token, compared in a time that tells nothing about it but its length.
/// \param authorization as sent: "Bearer TOKEN"
bool has_token(std::string_view authorization, std::string_view token);

/// What was sent to a client, and why.
struct Exchange {
  std::string client;  ///< address and port; empty without a log
  std::string method;  ///< of HTTP, or "gRPC"
  std::string path;
  int status = 0;            ///< of HTTP, or of gRPC: 0 to 16
  std::size_t received = 0;  ///< bytes of the body
  std::size_t sent = 0;      ///< bytes of the response
  Clock::duration time{};
};

/// A file with a line of JSON about each exchange. Nobody waits for who reads it, but at a terminal
/// that is held up: lines for which there is no room are dropped.
/// Thread-safety: everything may be called from any number of threads at once.
class AccessLog {
 public:
  /// \param path "-" is standard output; empty: nothing is written
  /// \throws Error FileNotFound
  explicit AccessLog(const std::string& path);
  ~AccessLog();
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  explicit operator bool() const { return file_ >= 0; }
  void write(const Exchange& exchange) noexcept;
  /// Lines are buffered until then. \param wait_ms for who reads them
  void flush(int wait_ms = 0) noexcept;
  /// How many lines.
  std::uint64_t dropped() const { return dropped_; }

 private:
  int file_ = -1;
  std::mutex mutex_;
  std::string lines_;
  bool is_cut_ = false;  ///< the last line in the file: a full disk took its beginning only
  std::atomic<std::uint64_t> dropped_{0};
};

/// Thread-safety: everything may be called from any number of threads at once.
struct Transport {
  /// \throws Error for a page or a log that cannot be
  Transport(Service& the_service, HttpOptions the_options);

  /// The response to what is not the service's business, or not allowed.
  std::optional<Response> answer(const HttpRequest& request) const;
  /// 421 and 403 as Access says; 401 when the client does not know the token that is needed: but
  /// for the server's health, and what a browser asks beforehand, without a body.
  std::optional<Response> refuse(const HttpRequest& request, bool has_body) const;

  /// Counts a response, and writes it to the log.
  void record(const Exchange& exchange);

  Service& service;
  const HttpOptions options;
  const Access access;
  const Page page;
  AccessLog log;  ///< flushed a few times a second

  enum class Entry { Ok, Full, AddressFull };
  /// Takes a place for a connection from there, which `leave` gives back.
  Entry enter(const boost::asio::ip::address& client);
  void leave(const boost::asio::ip::address& client);

  std::atomic<std::size_t> connections{0};  ///< that are open, and were not refused
  std::atomic<std::size_t> refusing{0};     ///< those that are told so
  std::atomic<std::size_t> refused{0};      ///< connections, as there were too many
  std::atomic<std::size_t> displaced{0};    ///< idle connections that made room for others
  std::atomic<std::size_t> timeouts{0};     ///< connections that were closed for one
  std::atomic<std::size_t> buffered{0};     ///< bytes of bodies and of unsent responses
  std::atomic<std::size_t> unanswered{0};   ///< requests that a forced stop cut off
  std::atomic<bool> draining{false};        ///< some loop may have ended

 private:
  std::string metrics() const;

  std::mutex mutex_;
  std::map<boost::asio::ip::address, std::size_t> of_address_;  ///< connections
  std::array<std::atomic<std::uint64_t>, 600> responses_{};     ///< by status
  Histogram durations_;
  std::atomic<std::uint64_t> received_{0};
  std::atomic<std::uint64_t> sent_{0};
};

/// The time in UTC. \param format of strftime
std::string time_text(const char* format, std::time_t time);

}  // namespace lenet::serve

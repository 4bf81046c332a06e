#include "http/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/beast/http/status.hpp>
#include <cerrno>
#include <utility>

#include "http/event_loop.h"

namespace lenet::serve {
namespace {

namespace http = boost::beast::http;

// Memory that a connection keeps between requests.
constexpr std::size_t kMaxIdleMemory = 64 << 10;
// Smaller bodies and responses are not counted: the number of connections is limited.
constexpr std::size_t kMinCounted = 64 << 10;
// Added to what is kept of a header when the rest of it is read.
constexpr std::size_t kReadMore = 16 << 10;
// Shorter responses gain nothing from being packed, and longer ones would hold up the loop.
constexpr std::size_t kMinPacked = 1 << 10;
constexpr std::size_t kMaxPacked = 8 << 20;
// After a response that ends the connection, for a client that still sends: closing at once could
// take the response from it.
constexpr int kLingerSeconds = 2;

bool has_body(int status) { return status >= 200 && status != 204 && status != 304; }

void free_if_large(std::string& text) {
  text.clear();
  if (text.capacity() > kMaxIdleMemory) text.shrink_to_fit();
}

}  // namespace

Connection::Connection(EventLoop& loop, std::uint64_t key, int socket, std::string client)
    : loop_(loop),
      transport_(loop.transport()),
      key_(key),
      socket_(socket),
      client_(std::move(client)) {}

Connection::~Connection() {
  transport_.metrics.buffered.fetch_sub(buffered_, std::memory_order_relaxed);
  ::close(socket_);
}

bool Connection::has_request() const {
  return waiting_ || (parser_ && parser_->begun()) || (unsent() > 0 && !closed_);
}

void Connection::begin() { settle(); }

void Connection::refuse() {
  fail(503, "too many connections");
  flush();
  settle();
}

void Connection::on_readable() {
  if (waiting_ || unsent() > 0) {
    loop_.watch(*this, events & ~static_cast<std::uint32_t>(EPOLLIN));
    return;
  }
  if (lingering_) {
    const ssize_t count = recv(socket_, loop_.read_buffer().data(), loop_.read_buffer().size(), 0);
    if (count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)) close();
    return;
  }
  receive();
  work();
}

void Connection::receive() {
  std::string& to = kept_.empty() ? loop_.read_buffer() : kept_;
  input_is_kept_ = !kept_.empty();
  const std::size_t before = kept_.size();
  if (input_is_kept_) kept_.resize(before + kReadMore);
  const ssize_t count = recv(socket_, to.data() + before, to.size() - before, 0);
  const int error = errno;
  const std::size_t received = count > 0 ? static_cast<std::size_t>(count) : 0;
  if (input_is_kept_) kept_.resize(before + received);
  input_ = std::string_view(to).substr(0, before + received);
  if (count > 0 || (count < 0 && (error == EAGAIN || error == EINTR))) return;
  if (count == 0 && parser_ && parser_->begun()) {
    fail(400, "the connection ended within a request");
  } else {
    close();
  }
}

void Connection::on_writable() {
  flush();
  if (unsent() == 0) go_on();
  settle();
}

void Connection::go_on() {
  if (working_ || closed_ || waiting_ || lingering_) return;
  input_ = kept_;
  input_is_kept_ = true;
  work();
}

void Connection::work() {
  working_ = true;
  bool again = !closed_;
  while (again) {
    while (parse_some()) {
    }
    const bool was_full = is_full();
    flush();
    again = was_full && unsent() == 0 && !closed_;
  }
  working_ = false;
  keep_input();
  settle();
}

void Connection::keep_input() {
  if (input_.empty()) {
    free_if_large(kept_);
  } else if (input_is_kept_) {
    kept_.erase(0, kept_.size() - input_.size());
  } else {
    kept_.assign(input_);
  }
  input_ = {};
}

bool Connection::parse_some() {
  if (waiting_ || close_after_ || closed_ || is_full()) return false;
  // A client may send an empty line behind a request (RFC 9112, section 2.2).
  while (!parser_ && input_.substr(0, 2) == "\r\n") input_.remove_prefix(2);
  if (input_.empty() || (!parser_ && input_ == "\r")) return false;
  if (!parser_) parser_.emplace(transport_.options.request);
  const bool had_header = parser_->header_done();
  input_.remove_prefix(parser_->parse(input_));
  if (parser_->failure()) {
    fail(parser_->failure()->status, parser_->failure()->message);
    return false;
  }
  const bool is_new = !had_header && parser_->header_done();
  if (is_new) on_header();
  if (!parser_) return false;  // refused
  count_buffered();
  if (!parser_->done()) {
    if (buffered_ > 0 && transport_.metrics.buffered.load(std::memory_order_relaxed) >
                             transport_.options.buffered_bytes) {
      fail(503, "too many requests are in memory");
      return false;
    }
    return is_new && !input_.empty();
  }
  dispatch();
  return true;
}

void Connection::on_header() {
  std::optional<Response> refused = transport_.refuse(parser_->request(), parser_->header());
  if (refused) {
    close_after_ = parser_->header().close || !parser_->done();
    method_ = parser_->request().method;
    path_ = parser_->request().path;
    dispatched_ = Clock::now();
    first_ = false;
    ++requests_;
    parser_.reset();
    respond(std::move(*refused));
  } else if (parser_->header().expects_continue && !parser_->done() && input_.empty() &&
             !parser_->header().is_http_1_0) {
    output_ += "HTTP/1.1 100 Continue\r\n\r\n";
  }
}

void Connection::dispatch() {
  Request request = std::move(parser_->request());
  const RequestHeader header = std::move(parser_->header());
  parser_.reset();
  first_ = false;
  ++requests_;
  method_ = request.method;
  path_ = request.path;
  received_ = request.body.size();
  accepts_ = choose_coding(header.accept_encoding);
  is_http_1_0_ = header.is_http_1_0;
  close_after_ = header.close;
  dispatched_ = Clock::now();
  waiting_ = true;
  std::optional<Response> response = transport_.answer(request, header);
  if (response) {
    on_response(std::move(*response));
  } else {
    loop_.handle(*this, std::move(request));
  }
}

bool Connection::on_response(Response response) {
  if (!waiting_ || closed_) return false;
  waiting_ = false;
  respond(std::move(response));
  if (working_) return false;
  flush();
  settle();
  return true;
}

void Connection::fail(int status, std::string_view message) {
  if (parser_ && parser_->begun()) {
    method_ = parser_->request().method;
    path_ = parser_->request().path;
  }
  parser_.reset();
  input_ = {};
  kept_.clear();
  waiting_ = false;
  close_after_ = true;
  dispatched_ = Clock::now();
  respond(error_response(status, message));
}

void Connection::append_head(const Response& response, std::size_t size) {
  const auto status = static_cast<unsigned>(response.status);
  output_ += "HTTP/1.1 ";
  output_ += std::to_string(response.status);
  output_ += ' ';
  const boost::beast::string_view reason = http::obsolete_reason(http::int_to_status(status));
  output_.append(reason.data(), reason.size());
  output_ += loop_.date();
  if (has_body(response.status)) {
    output_ += "Content-Type: ";
    output_ += response.content_type;
    output_ += "\r\nContent-Length: ";
    output_ += std::to_string(size);
    output_ += "\r\n";
  }
  for (const auto& [name, value] : response.headers) {
    output_ += name;
    output_ += ": ";
    output_ += value;
    output_ += "\r\n";
  }
  if (close_after_) {
    output_ += "Connection: close\r\n";
  } else if (is_http_1_0_) {
    output_ += "Connection: keep-alive\r\n";
  }
  output_ += "\r\n";
}

void Connection::respond(Response response) {
  if (draining_ && input_.empty() && kept_.empty()) close_after_ = true;
  const bool is_packed =
      std::any_of(response.headers.begin(), response.headers.end(),
                  [](const auto& header) { return header.first == "Content-Encoding"; });
  if (accepts_ != Coding::Identity && response.status == 200 && !is_packed &&
      response.size() >= kMinPacked && response.size() <= kMaxPacked) {
    response.body = pack(response.body, response.tail, accepts_);
    response.tail = {};
    response.headers.emplace_back("Content-Encoding",
                                  accepts_ == Coding::Gzip ? "gzip" : "deflate");
  }
  const std::size_t before = output_.size();
  append_head(response, response.size());
  if (method_ != "HEAD" && has_body(response.status)) {
    output_ += response.body;
    if (response.tail.size() < kMaxUnsent) {
      output_ += response.tail;
    } else {
      tail_ = response.tail;
      tail_owner_ = std::move(response.tail_owner);
    }
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - dispatched_).count();
  const std::size_t sent = output_.size() + tail_.size() - before;
  transport_.metrics.count_response(response.status, seconds, received_, sent);
  if (transport_.log.is_on()) {
    transport_.log.add({client_, method_, path_, response.status, received_, sent, seconds});
  }
  received_ = 0;
  accepts_ = Coding::Identity;
}

void Connection::flush() {
  while (unsent() > 0 && !closed_) {
    std::array<iovec, 2> pieces{};
    const std::size_t of_output = std::min(written_, output_.size());
    const std::size_t of_tail = written_ - of_output;
    pieces[0] = {output_.data() + of_output, output_.size() - of_output};
    pieces[1] = {const_cast<char*>(tail_.data()) + of_tail, tail_.size() - of_tail};
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = tail_.empty() ? 1 : 2;
    const ssize_t count = sendmsg(socket_, &message, MSG_NOSIGNAL);
    if (count >= 0) {
      written_ += static_cast<std::size_t>(count);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      close();
    }
  }
  if (unsent() == 0) {
    free_if_large(output_);
    tail_ = {};
    tail_owner_.reset();
    written_ = 0;
    if (close_after_ && !waiting_ && !lingering_) linger();
  }
  count_buffered();
}

void Connection::linger() {
  lingering_ = true;
  kept_.clear();
  if (shutdown(socket_, SHUT_WR) != 0) close();
}

void Connection::count_buffered() {
  std::size_t now = unsent();
  if (parser_) {
    now += parser_->request().body.size();
  } else if (waiting_) {
    now += received_;
  }
  if (now < kMinCounted) now = 0;
  if (now == buffered_) return;
  // Unsigned numbers wrap around, so this subtracts too.
  transport_.metrics.buffered.fetch_add(now - buffered_, std::memory_order_relaxed);
  buffered_ = now;
}

Connection::Phase Connection::phase() const {
  if (lingering_) return Phase::Lingering;
  if (unsent() > 0) return Phase::Writing;
  if (waiting_) return Phase::Waiting;
  if (parser_ && parser_->begun()) return parser_->header_done() ? Phase::Body : Phase::Header;
  return first_ ? Phase::Header : Phase::Idle;
}

bool Connection::has_bytes() const {
  char byte = 0;
  return recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void Connection::drain() {
  draining_ = true;
  settle();
}

void Connection::settle() {
  if (closed_) return;
  const Phase now = phase();
  const bool nothing_begun = now == Phase::Idle || (first_ && !parser_ && now == Phase::Header);
  if (draining_ && nothing_begun && !has_bytes()) return close();
  if (now == Phase::Writing) {
    loop_.watch(*this, EPOLLOUT);
  } else if (now != Phase::Waiting) {
    loop_.watch(*this, EPOLLIN);
  }
  if (now == phase_ && requests_ == phase_request_) return;
  phase_ = now;
  phase_request_ = requests_;
  const HttpOptions& options = transport_.options;
  int seconds = 0;
  switch (now) {
    case Phase::Idle:
      seconds = options.idle_seconds;
      break;
    case Phase::Header:
      seconds = options.header_seconds;
      break;
    case Phase::Body:
    case Phase::Writing:
      seconds = options.body_seconds;
      break;
    case Phase::Waiting:
      seconds = options.request_seconds;
      break;
    case Phase::Lingering:
      seconds = kLingerSeconds;
      break;
  }
  deadline_ = seconds == 0 ? Clock::time_point::max() : loop_.now() + std::chrono::seconds(seconds);
}

void Connection::on_tick() {
  if (loop_.now() < deadline_ || closed_) return;
  const bool has_begun = waiting_ || (parser_ && parser_->begun());
  if (phase_ != Phase::Idle && phase_ != Phase::Lingering) {
    transport_.metrics.timeouts.fetch_add(1, std::memory_order_relaxed);
  }
  if (phase_ == Phase::Writing || phase_ == Phase::Lingering || !has_begun) return close();
  if (waiting_) {
    fail(503, "the request took too long");
  } else {
    fail(408, "the request did not arrive in time");
  }
  flush();
  settle();
}

}  // namespace lenet::serve

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
// Shorter responses gain nothing from being packed; longer ones would hold up a worker.
constexpr std::size_t kMinPacked = 1 << 10;
constexpr std::size_t kMaxPacked = 8 << 20;
// After a response that ends the connection, for a client that still sends: closing at once could
// take the response from it.
constexpr int kLingerSeconds = 2;
// A client that asks one thing after the other may be sending just when the server is told to stop.
constexpr std::chrono::milliseconds kDrainIdle(1000);

bool has_body(int status) { return status >= 200 && status != 204 && status != 304; }

void free_if_large(std::string& text) {
  text.clear();
  if (text.capacity() > kMaxIdleMemory) text.shrink_to_fit();
}

}  // namespace

Connection::Connection(EventLoop& loop, std::uint64_t key, int socket,
                       const boost::asio::ip::tcp::endpoint& client, bool is_refused)
    : loop_(loop),
      transport_(loop.transport()),
      key_(key),
      socket_(socket),
      address_(client.address()),
      is_refused_(is_refused) {
  if (transport_.log) exchange_.client = text_of(client);
  if (is_refused_) ++transport_.refusing;
}

Connection::~Connection() {
  if (is_refused_) {
    --transport_.refusing;
  } else {  // before the client can know that it is closed: its next one is not one too many
    transport_.leave(address_);
  }
  transport_.buffered.fetch_sub(buffered_, std::memory_order_relaxed);
  ::close(socket_);
}

void Connection::refuse(const Failure& why) {
  if (closed_ || (close_after_ && !waiting_)) return;
  fail(why.status, why.message);
  go_on();
}

void Connection::on_events(std::uint32_t ready) {
  if ((ready & (EPOLLERR | EPOLLHUP)) != 0) return close();
  if ((ready & EPOLLIN) != 0 && (waiting_ || unsent() > 0)) {
    loop_.watch(*this, events & ~static_cast<std::uint32_t>(EPOLLIN));
  } else if ((ready & EPOLLIN) != 0) {
    receive();
  }
  go_on();
}

void Connection::receive() {
  std::string& buffer = loop_.read_buffer();
  const ssize_t count = recv(socket_, buffer.data(), buffer.size(), 0);
  if (count > 0) {
    if (lingering_) return;
    input_ = std::string_view(buffer).substr(0, static_cast<std::size_t>(count));
    if (!kept_.empty()) input_ = kept_.append(input_);
  } else if (count == 0 && is_reading()) {
    fail(400, "the connection ended within a request");
  } else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
    close();
  }
}

void Connection::go_on() {
  if (closed_) return;
  for (bool again = true; again;) {
    while (parse_some()) {
    }
    const bool was_full = is_full();
    flush();
    again = was_full && unsent() == 0 && !closed_;
  }
  kept_.assign(input_);  // of which it may be a part
  if (kept_.empty()) free_if_large(kept_);
  input_ = kept_;
  settle();
}

bool Connection::parse_some() {
  if (waiting_ || close_after_ || closed_ || is_full()) return false;
  // A client may send an empty line behind a request (RFC 9112, section 2.2).
  while (!parser_ && input_.substr(0, 2) == "\r\n") input_.remove_prefix(2);
  if (input_.empty() || (!parser_ && input_ == "\r")) return false;
  if (!parser_) {
    parser_.emplace(transport_.options.request);
    shared_with_.clear();
  }
  const bool had_header = parser_->header_done();
  input_.remove_prefix(parser_->parse(input_));
  if (const auto& failure = parser_->failure()) {
    fail(failure->status, failure->message);
    return false;
  }
  const bool is_new = !had_header && parser_->header_done();
  if (is_new) on_header();
  if (!parser_) return true;  // refused: what follows is another request
  count_buffered();
  if (parser_->done()) {
    dispatch();
    return true;
  }
  if (buffered_ > 0 &&
      transport_.buffered.load(std::memory_order_relaxed) > transport_.options.buffered_bytes) {
    fail(503, "too many requests are in memory");
    return false;
  }
  return is_new && !input_.empty();
}

void Connection::on_header() {
  const HttpRequest& request = parser_->request();
  shared_with_ = transport_.access.shares_with(request.origin) ? request.origin : "";
  std::optional<Response> refused = transport_.refuse(request, !parser_->done());
  if (refused) {
    begin_response(request.close || !parser_->done());
    respond(std::move(*refused));
  } else if (request.expects_continue && !parser_->done() && input_.empty() &&
             !request.is_http_1_0) {
    output_ += "HTTP/1.1 100 Continue\r\n\r\n";
  }
}

void Connection::begin_response(bool close_after) {
  close_after_ = close_after;
  dispatched_ = Clock::now();
  if (is_reading()) {
    exchange_.method = parser_->request().method;
    exchange_.path = parser_->request().path;
    ++requests_;
  }
}

void Connection::dispatch() {
  begin_response(parser_->request().close);
  HttpRequest request = std::move(parser_->request());
  parser_.reset();
  exchange_.received = request.body.size();
  accepts_ = choose_coding(request.accept_encoding);
  is_http_1_0_ = request.is_http_1_0;
  waiting_ = true;
  const int seconds = transport_.options.request_seconds;
  if (seconds > 0) request.deadline = dispatched_ + std::chrono::seconds(seconds);
  if (std::optional<Response> response = transport_.answer(request)) {
    take(std::move(*response));
  } else {
    loop_.handle(*this, std::move(request), request.coding);
  }
}

void Connection::take(Response response) {
  if (!waiting_ || closed_) return;
  const Coding coding = std::exchange(accepts_, Coding::Identity);
  const auto is_coding = [](const auto& field) { return field.first == "Content-Encoding"; };
  const bool packs = coding != Coding::Identity && response.status == 200 &&
                     response.size() >= kMinPacked && response.size() <= kMaxPacked &&
                     std::none_of(response.headers.begin(), response.headers.end(), is_coding);
  if (packs && loop_.pack(*this, response, coding)) return;  // it comes again
  waiting_ = false;
  respond(std::move(response));
}

void Connection::fail(int status, std::string_view message) {
  begin_response(true);
  input_ = {};
  kept_.clear();
  waiting_ = false;
  respond(error_response(status, message));
}

void Connection::append_head(const Response& response) {
  const auto status = http::int_to_status(static_cast<unsigned>(response.status));
  const boost::beast::string_view reason = http::obsolete_reason(status);
  const auto add_field = [&](std::string_view name, std::string_view value) {
    output_.append(name).append(": ").append(value).append("\r\n");
  };
  output_.append("HTTP/1.1 ").append(std::to_string(response.status)).append(1, ' ');
  output_.append(reason.data(), reason.size()).append("\r\n");
  add_field("Date", loop_.date());
  if (has_body(response.status)) {
    add_field("Content-Type", response.content_type);
    add_field("Content-Length", std::to_string(response.size()));
  }
  for (const auto& [name, value] : response.headers) add_field(name, value);
  if (!shared_with_.empty()) {
    add_field("Access-Control-Allow-Origin", shared_with_);
    add_field("Access-Control-Expose-Headers", "Inference-Header-Content-Length");
  }
  if (transport_.access.shares()) add_field("Vary", "Origin");
  if (close_after_) {
    add_field("Connection", "close");
  } else if (is_http_1_0_) {
    add_field("Connection", "keep-alive");
  }
  output_ += "\r\n";
}

void Connection::respond(Response response) {
  parser_.reset();
  if (draining_ && input_.empty()) close_after_ = true;
  const std::size_t before = output_.size();
  append_head(response);
  if (exchange_.method != "HEAD" && has_body(response.status)) {
    output_ += response.body;
    if (response.tail.size() < kMaxUnsent) {
      output_ += response.tail;
    } else {
      tail_ = response.tail;
      tail_owner_ = std::move(response.tail_owner);
    }
  }
  exchange_.status = response.status;
  exchange_.sent = output_.size() + tail_.size() - before;
  exchange_.time = Clock::now() - dispatched_;
  transport_.record(exchange_);
  exchange_.received = 0;
}

void Connection::flush() {
  while (unsent() > 0 && !closed_) {
    const std::size_t of_output = std::min(written_, output_.size());
    const std::size_t of_tail = written_ - of_output;
    std::array<iovec, 2> pieces{
        {{output_.data() + of_output, output_.size() - of_output},
         {const_cast<char*>(tail_.data()) + of_tail, tail_.size() - of_tail}}};
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = tail_.empty() ? 1 : 2;
    const ssize_t count = sendmsg(socket_, &message, MSG_NOSIGNAL);
    if (count < 0 && errno == EAGAIN) break;
    if (count < 0 && errno != EINTR) close();
    if (count > 0) written_ += static_cast<std::size_t>(count);
  }
  if (unsent() == 0) {
    free_if_large(output_);
    tail_ = {};
    tail_owner_.reset();
    written_ = 0;
    if (close_after_ && !waiting_ && !lingering_) {
      lingering_ = true;
      input_ = {};
      if (shutdown(socket_, SHUT_WR) != 0) close();
    }
  }
  count_buffered();
}

void Connection::count_buffered() {
  std::size_t now = unsent() + (waiting_ ? exchange_.received : 0);
  if (parser_) now += parser_->request().body.size();
  if (now < kMinCounted) now = 0;
  if (now == buffered_) return;
  // Unsigned numbers wrap around, so this subtracts too.
  transport_.buffered.fetch_add(now - buffered_, std::memory_order_relaxed);
  buffered_ = now;
}

Connection::Phase Connection::phase() const {
  if (lingering_) return Phase::Lingering;
  if (unsent() > 0) return Phase::Writing;
  if (waiting_) return Phase::Waiting;
  if (is_reading()) return parser_->header_done() ? Phase::Body : Phase::Header;
  return requests_ == 0 ? Phase::Header : Phase::Idle;
}

bool Connection::has_bytes() const {
  char byte = 0;
  return recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void Connection::drain() {
  draining_ = true;
  drain_began_ = loop_.now();
  settle();
}

Clock::time_point Connection::idle_since() const {
  const Phase now = phase();
  const bool is_idle = !is_reading() && (now == Phase::Idle || now == Phase::Header);
  return is_idle && !closed_ ? phase_began_ : Clock::time_point::max();
}

void Connection::settle() {
  if (closed_) return;
  const Phase now = phase();
  if (now != Phase::Waiting) loop_.watch(*this, now == Phase::Writing ? EPOLLOUT : EPOLLIN);
  if (now == phase_ && requests_ == phase_request_) {
    const Clock::time_point since = std::max(idle_since(), drain_began_);
    if (draining_ && loop_.now() - kDrainIdle >= since && !has_bytes()) close();
    return;
  }
  phase_ = now;
  phase_request_ = requests_;
  phase_began_ = loop_.now();
  const HttpOptions& set = transport_.options;
  // In the order of the phases.
  const std::array<int, 6> limits = {set.idle_seconds,    set.header_seconds, set.body_seconds,
                                     set.request_seconds, set.body_seconds,   kLingerSeconds};
  const int seconds = limits.at(static_cast<std::size_t>(now));
  deadline_ =
      seconds == 0 ? Clock::time_point::max() : phase_began_ + std::chrono::seconds(seconds);
}

void Connection::on_tick() {
  settle();
  if (loop_.now() < deadline_ || closed_) return;
  if (phase_ != Phase::Idle && phase_ != Phase::Lingering) {
    transport_.timeouts.fetch_add(1, std::memory_order_relaxed);
  }
  const bool is_answered = phase_ == Phase::Writing || phase_ == Phase::Lingering;
  if (is_answered || !(waiting_ || is_reading())) return close();
  if (waiting_) {
    fail(503, "the request took too long");
  } else {
    fail(408, "the request did not arrive in time");
  }
  go_on();
}

}  // namespace lenet::serve

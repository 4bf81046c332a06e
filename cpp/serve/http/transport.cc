#include "http/transport.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <new>
#include <utility>

#include "http/content_coding.h"
#include "io/printable.h"
#include "json_reader.h"

namespace lenet::serve {
namespace {

constexpr std::string_view kScheme = "Bearer ";
constexpr std::size_t kMaxLogged = 256;       // bytes of what a client chose
constexpr std::size_t kLogBuffer = 64 << 10;  // more is written before the next flush
constexpr std::size_t kMostLines = 1 << 20;   // bytes of lines that wait
constexpr std::size_t kAtOnce = 4 << 10;  // a pipe that poll calls ready has room for (PIPE_BUF)
constexpr int kLastWaitMs = 500;          // for who reads the last lines
constexpr auto kRelaxed = std::memory_order_relaxed;

/// Takes a time that tells nothing about `secret` but its length.
bool same_secret(std::string_view given, std::string_view secret) {
  volatile unsigned difference = given.size() == secret.size() ? 0 : 1;
  for (std::size_t i = 0; i < secret.size(); ++i) {
    const char letter = i < given.size() ? given[i] : '\0';
    difference = difference | static_cast<unsigned>(letter ^ secret[i]);
  }
  return difference == 0;
}

bool is_preflight(const HttpRequest& request) {
  return request.method == "OPTIONS" && request.is_preflight && !request.origin.empty();
}

Response method_error(const char* message, const char* allowed) {
  Response response = error_response(405, message);
  response.headers.emplace_back("Allow", allowed);
  return response;
}

/// Waits for nobody who reads what it opens.
/// \returns a descriptor; -1: errno says why not
int open_log(const char* path) {
  constexpr int kHow = O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  constexpr int kMode = 0640;
  const int file = open(path, O_WRONLY | kHow, kMode);
  // A FIFO that nobody reads yet is opened by who could read it too; its lines wait there.
  return file < 0 && errno == ENXIO ? open(path, O_RDWR | kHow, kMode) : file;
}

}  // namespace

bool has_token(std::string_view authorization, std::string_view token) {
  return same_word(authorization.substr(0, kScheme.size()), kScheme) &&
         same_secret(trimmed(authorization.substr(kScheme.size())), token);
}

std::string time_text(const char* format, std::time_t time) {
  std::tm parts{};
  gmtime_r(&time, &parts);
  std::array<char, 64> text{};
  return {text.data(), std::strftime(text.data(), text.size(), format, &parts)};
}

AccessLog::AccessLog(const std::string& path) {
  if (path.empty()) return;
  file_ = path == "-" ? dup(STDOUT_FILENO) : open_log(path.c_str());
  if (file_ >= 0) return;
  throw Error(ErrorCode::FileNotFound,
              "--access_log: cannot write '" + path + "': " + std::strerror(errno));
}

AccessLog::~AccessLog() {
  flush(kLastWaitMs);
  if (file_ >= 0) close(file_);
}

void AccessLog::write(const Exchange& exchange) noexcept try {
  if (file_ < 0) return;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  std::string line = "{\"time\":\"" + time_text("%Y-%m-%dT%H:%M:%S", now.tv_sec) +
                     print(".%03ldZ\"", now.tv_nsec / 1'000'000);
  const auto add = [&](const char* name, std::string_view text) {
    append_json(line.append(",\"").append(name).append("\":"), text.substr(0, kMaxLogged));
  };
  add("client", exchange.client);
  add("method", exchange.method);
  add("path", exchange.path);
  line += print(",\"status\":%d,\"received\":%zu,\"sent\":%zu,\"microseconds\":%lld}\n",
                exchange.status, exchange.received, exchange.sent,
                static_cast<long long>(exchange.time / std::chrono::microseconds(1)));
  std::unique_lock<std::mutex> lock(mutex_);
  if (lines_.size() + line.size() > kMostLines) {
    ++dropped_;
    return;
  }
  lines_ += line;
  if (lines_.size() < kLogBuffer) return;
  lock.unlock();
  flush();
} catch (const std::exception&) {  // there is no memory for it
  ++dropped_;
}

void AccessLog::flush(int wait_ms) noexcept {
  if (file_ < 0) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  std::size_t done = 0;
  pollfd ready{file_, POLLOUT, 0};
  // The next line is not to be one with the beginning of another.
  if (is_cut_ && !lines_.empty() && ::write(file_, "\n", 1) == 1) is_cut_ = false;
  while (done < lines_.size() && poll(&ready, 1, wait_ms) > 0) {
    const std::size_t most = std::min(kAtOnce, lines_.size() - done);
    // Whole lines, which a pipe takes as a whole; each is shorter.
    const std::size_t size = lines_.rfind('\n', done + most - 1) + 1 - done;
    const ssize_t count = ::write(file_, &lines_[done], size);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) break;
    if (count < 0) {  // a full disk, a pipe that was closed: no reason to stop serving
      dropped_ += static_cast<std::uint64_t>(
          std::count(lines_.begin() + static_cast<std::ptrdiff_t>(done), lines_.end(), '\n'));
      is_cut_ = is_cut_ || (done > 0 && lines_[done - 1] != '\n');
      done = lines_.size();
    } else {
      done += static_cast<std::size_t>(count);
    }
  }
  lines_.erase(0, done);
}

Transport::Transport(Service& the_service, HttpOptions the_options)
    : service(the_service),
      options(std::move(the_options)),
      access(options.host, options.allowed_hosts, options.allowed_origins),
      page(options.page),
      log(options.access_log) {}

Transport::Entry Transport::enter(const boost::asio::ip::address& client) {
  const std::size_t most = options.connections_of_an_address;
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = most > 0 ? of_address_.find(client) : of_address_.end();
  if (found != of_address_.end() && found->second >= most) return Entry::AddressFull;
  if (connections >= options.connections) return Entry::Full;
  if (most > 0) ++of_address_[client];
  ++connections;
  return Entry::Ok;
}

void Transport::leave(const boost::asio::ip::address& client) {
  const std::lock_guard<std::mutex> lock(mutex_);
  --connections;
  const auto found = of_address_.find(client);
  if (found != of_address_.end() && --found->second == 0) of_address_.erase(found);
}

std::optional<Response> Transport::refuse(const HttpRequest& request, bool has_body) const {
  if (std::optional<Response> response = access.refuse(request)) return response;
  const bool is_health = request.path == "/v2/health/live" || request.path == "/v2/health/ready";
  // A browser asks beforehand without the token, which a page may then send. Neither has a body,
  // with which anybody could fill the memory that is there for all bodies.
  const bool is_for_all = (is_health || is_preflight(request)) && !has_body;
  if (options.token.empty() || is_for_all) return std::nullopt;
  if (has_token(request.authorization, options.token)) return std::nullopt;
  Response response = error_response(401, "expected the server's token: Authorization: Bearer ...");
  response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

std::optional<Response> Transport::answer(const HttpRequest& request) const {
  constexpr const char* kMethods = "GET, HEAD, POST, PUT, OPTIONS";
  const std::string& method = request.method;
  const bool reads = method == "GET" || method == "HEAD";
  std::optional<Response> found;
  if (method == "OPTIONS") {
    found.emplace().status = 204;
    found->headers.emplace_back("Allow", kMethods);
    if (is_preflight(request)) {
      found->headers.emplace_back("Access-Control-Allow-Methods", kMethods);
      found->headers.emplace_back("Access-Control-Allow-Headers",
                                  "Authorization, Content-Encoding, Content-Type, "
                                  "Inference-Header-Content-Length");
      found->headers.emplace_back("Access-Control-Max-Age", "600");
    }
    return found;
  }
  if (!reads && method != "POST" && method != "PUT") {
    return method_error("expected GET, HEAD, POST, PUT or OPTIONS", kMethods);
  }
  if (request.path == "/metrics") {
    found.emplace().content_type = "text/plain; version=0.0.4; charset=utf-8";
    found->body = service.metrics() + metrics();
  } else {
    found = page.find(request.path, request.accept_encoding, request.if_none_match);
  }
  if (found && !reads) return method_error("expected GET", "GET, HEAD, OPTIONS");
  return found;
}

void Transport::record(const Exchange& exchange) {
  const auto status = static_cast<std::size_t>(std::clamp(exchange.status, 0, 599));
  responses_.at(status).fetch_add(1, kRelaxed);
  durations_.add(exchange.time);
  received_.fetch_add(exchange.received, kRelaxed);
  sent_.fetch_add(exchange.sent, kRelaxed);
  log.write(exchange);
}

std::string Transport::metrics() const {
  MetricsText text;
  text.begin("lenet_http_requests_total", "counter", "Requests that were answered, by status.");
  for (std::size_t status = 0; status < responses_.size(); ++status) {
    const std::uint64_t count = responses_.at(status).load(kRelaxed);
    if (count > 0) text.add("status=\"" + std::to_string(status) + "\"", count);
  }
  text.begin("lenet_http_request_duration_seconds", "histogram",
             "From the whole request to its response.");
  text.add("", durations_);
  text.one("lenet_http_received_bytes_total", "counter", received_,
           "Bytes of bodies, as they came.");
  text.one("lenet_http_sent_bytes_total", "counter", sent_, "Bytes of responses.");
  text.one("lenet_http_connections", "gauge", connections, "Open connections.");
  text.one("lenet_http_refused_connections_total", "counter", refused,
           "Connections beyond the limit.");
  text.one("lenet_http_displaced_connections_total", "counter", displaced,
           "Idle connections that were closed to make room for others.");
  text.one("lenet_access_log_dropped_lines_total", "counter", log.dropped(),
           "Lines of the access log that nobody read in time, or that could not be written.");
  text.one("lenet_http_timeouts_total", "counter", timeouts,
           "Connections whose client or request was too slow.");
  text.one("lenet_http_buffered_bytes", "gauge", buffered,
           "Bytes of bodies that were read and of responses that are not sent.");
  return text.text;
}

}  // namespace lenet::serve

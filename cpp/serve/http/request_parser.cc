#include "http/request_parser.h"

#include <algorithm>
#include <boost/beast/http/error.hpp>

#include "http/access.h"

namespace lenet::serve {
namespace {

namespace http = boost::beast::http;

// Memory for a body is taken before it arrives only up to here.
constexpr std::size_t kReserveBytes = 1 << 20;
// "0\r\n\r\n", without which no body in chunks ends; since 1.90 Beast takes it line by line.
constexpr std::size_t kMinChunkEnd = BOOST_VERSION < 109000 ? 5 : 1;
// Since then such a line may not be longer, and what it says of a longer one is that it is damaged.
constexpr std::size_t kMaxChunkLine = 8192;

std::string_view standard(boost::beast::string_view text) { return {text.data(), text.size()}; }

Failure failure_of(const boost::beast::error_code& error) {
  if (error == http::error::header_limit) return {431, "the header is too large"};
  if (error == http::error::body_limit) return {413, "the body is too large"};
  if (error == http::error::bad_version) return {505, "expected HTTP/1.1 or HTTP/1.0"};
  if (error == http::error::bad_content_length) return {400, "invalid Content-Length"};
  if (error == http::error::bad_transfer_encoding) return {400, "invalid Transfer-Encoding"};
  if (error == http::error::bad_chunk || error == http::error::bad_chunk_extension) {
    return {400, "invalid chunk of the body"};
  }
  return {400, "this is not a valid HTTP/1.1 request"};
}

}  // namespace

RequestParser::RequestParser(const RequestLimits& limits) : limits_(limits) {
  header_limit(limits.header_bytes);
  body_limit(limits.body_bytes);
}

void RequestParser::fail(int status, const char* message, Error& error) {
  if (!failure_) failure_ = Failure{status, message};
  error = http::error::bad_field;  // any: it makes the parser stop
}

std::size_t RequestParser::parse(std::string_view bytes) {
  std::size_t used = 0;
  const bool header_was_done = is_header_done();
  while (used < bytes.size() && !is_done() && !failure_) {
    Error error;
    const std::size_t left = bytes.size() - used;
    // Beast 1.74 asserts it of the header of a last chunk that came in pieces.
    if (is_header_done() && wants_more_ && left < kMinChunkEnd) break;
    used += put(boost::asio::const_buffer(bytes.data() + used, left), error);
    wants_more_ = error == http::error::need_more;
    if (wants_more_) {
      // What is parsed as a whole: a header, the header of a chunk, trailers.
      if (bytes.size() - used >= 2 * limits_.header_bytes) {
        failure_ = failure_of(http::error::header_limit);
      }
      break;
    }
    if (error == http::error::bad_chunk_extension &&
        bytes.substr(used).find('\n', 2) > kMaxChunkLine) {
      error = http::error::header_limit;
    }
    if (error && !failure_) failure_ = failure_of(error);
    if (is_header_done() && !header_was_done) break;
  }
  return used;
}

void RequestParser::on_request_impl(http::verb, View method, View target, int version,
                                    Error& error) {
  request_.method = standard(method);
  request_.is_http_1_0 = version < 11;
  header_bytes_ = method.size() + target.size();
  set_target(standard(target), error);
}

void RequestParser::set_target(std::string_view target, Error& error) {
  // A client may name the server too, as it would for a proxy.
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!same_word(target.substr(0, scheme.size()), scheme)) continue;
    target.remove_prefix(scheme.size());
    const std::size_t path = std::min(target.find_first_of("/?"), target.size());
    request_.host = target.substr(0, path);
    target.remove_prefix(path);
    if (!is_valid_host(request_.host)) return fail(400, "invalid name of the server", error);
  }
  const std::size_t question = std::min(target.find('?'), target.size());
  request_.path = question == 0 && !request_.host.empty() ? "/" : target.substr(0, question);
  request_.query = target.substr(std::min(question + 1, target.size()));
  if (request_.path[0] != '/' && request_.path != "*") {
    return fail(400, "expected a path that begins with '/'", error);
  }
}

void RequestParser::on_field_impl(Field field, View name, View value, Error& error) {
  header_bytes_ += name.size() + value.size() + 4;
  if (++header_count_ > limits_.header_count) {
    return fail(431, "the header has too many fields", error);
  }
  if (header_bytes_ > limits_.header_bytes) return fail(431, "the header is too large", error);
  if (is_header_done()) return;  // a trailer, behind a body in chunks
  const std::string_view text = standard(value);
  const bool is_length = same_word(standard(name), "Inference-Header-Content-Length");
  switch (field) {
    case Field::transfer_encoding:
      if (request_.is_http_1_0)
        return fail(400, "HTTP/1.0 has no Transfer-Encoding; send Content-Length", error);
      if (same_word(text, "chunked")) return;
      return fail(501, "Transfer-Encoding: only chunked is supported", error);
    case Field::accept_encoding:
      request_.accept_encoding.append(request_.accept_encoding.empty() ? "" : ",").append(text);
      return;
    case Field::if_none_match:
      request_.if_none_match = text;
      return;
    case Field::expect:
      request_.expects_continue = same_word(text, "100-continue");
      if (request_.expects_continue) return;
      return fail(417, "Expect: only 100-continue is supported", error);
    case Field::host:
      if (!is_valid_host(text)) return fail(400, "invalid Host", error);
      if (request_.host.empty()) request_.host = text;
      break;
    case Field::origin:
      request_.origin = text;
      break;
    case Field::access_control_request_method:
      request_.is_preflight = true;
      return;
    case Field::content_length:
      // Twice the same is allowed, but who sends it tries something.
      if (text.find(',') == std::string_view::npos) break;
      return fail(400, "Content-Length has two values; send one", error);
    case Field::content_encoding:
      if (const std::optional<Coding> coding = parse_coding(text)) {
        request_.coding = *coding;
        break;
      }
      return fail(415, "Content-Encoding: expected gzip, deflate or identity", error);
    case Field::authorization:
      request_.authorization = text;
      break;
    default:
      if (!is_length) return;
      request_.header_length = text;
  }
  if (has(field)) return fail(400, "a field of the header is there twice; send it once", error);
  unique_.push_back(field);
}

void RequestParser::on_header_impl(Error& error) {
  if (!request_.is_http_1_0 && !has(Field::host)) {
    return fail(400, "the header has no field Host, which HTTP/1.1 needs", error);
  }
  request_.close = !keep_alive();
}

void RequestParser::on_body_init_impl(const boost::optional<std::uint64_t>& length, Error&) {
  if (length) request_.body.reserve(std::min(static_cast<std::size_t>(*length), kReserveBytes));
}

std::size_t RequestParser::on_body_impl(View bytes, Error&) {
  request_.body.append(bytes.data(), bytes.size());
  return bytes.size();
}

}  // namespace lenet::serve

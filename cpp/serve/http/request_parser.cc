#include "http/request_parser.h"

#include <algorithm>
#include <array>
#include <boost/beast/http/error.hpp>

namespace lenet::serve {
namespace {

namespace http = boost::beast::http;

// Memory for a body is taken before it arrives only up to here.
constexpr std::size_t kReserveBytes = 1 << 20;
// "0\r\n\r\n", without which no body in chunks ends.
constexpr std::size_t kMinChunkEnd = 5;

std::string_view standard(boost::beast::string_view text) { return {text.data(), text.size()}; }

RequestParser::Failure failure_of(const boost::beast::error_code& error) {
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
    if (error && !failure_) failure_ = failure_of(error);
    if (is_header_done() && !header_was_done) break;
  }
  return used;
}

void RequestParser::on_request_impl(http::verb, View method, View target, int version,
                                    Error& error) {
  request_.method = standard(method);
  header_.is_http_1_0 = version < 11;
  header_bytes_ = method.size() + target.size();
  set_target(standard(target), error);
}

void RequestParser::set_target(std::string_view target, Error& error) {
  // A client may name the server too, as it would for a proxy.
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!same_word(target.substr(0, scheme.size()), scheme)) continue;
    target.remove_prefix(std::min(target.find('/', scheme.size()), target.size()));
    if (target.empty()) target = "/";
  }
  if (target[0] != '/' && target != "*") {
    return fail(400, "expected a path that begins with '/'", error);
  }
  const std::size_t question = std::min(target.find('?'), target.size());
  request_.path = target.substr(0, question);
  request_.query = target.substr(std::min(question + 1, target.size()));
}

void RequestParser::set_once(std::string& kept, View value, Error& error) {
  if (!kept.empty()) return fail(400, "a field of the header is there twice", error);
  kept = standard(value);
}

void RequestParser::on_field_impl(Field field, View name, View value, Error& error) {
  header_bytes_ += name.size() + value.size() + 4;
  if (++header_count_ > limits_.header_count) {
    return fail(431, "the header has too many fields", error);
  }
  if (header_bytes_ > limits_.header_bytes) {
    return fail(431, "the header is too large", error);
  }
  if (is_header_done()) return;  // a trailer, behind a body in chunks
  switch (field) {
    case Field::host:
      if (has_host_) return fail(400, "the header has two fields Host", error);
      has_host_ = true;
      return;
    case Field::content_length:
      // Twice the same is allowed, but who sends it tries something.
      if (has_length_ || value.find(',') != View::npos) {
        return fail(400, "the header has two values of Content-Length", error);
      }
      has_length_ = true;
      return;
    case Field::transfer_encoding:
      if (header_.is_http_1_0) return fail(400, "HTTP/1.0 has no Transfer-Encoding", error);
      if (!same_word(standard(value), "chunked")) {
        return fail(501, "Transfer-Encoding: only chunked is supported", error);
      }
      return;
    case Field::content_encoding:
      return set_once(content_coding_, value, error);
    case Field::authorization:
      return set_once(header_.authorization, value, error);
    case Field::content_type:
      return set_once(request_.content_type, value, error);
    case Field::accept_encoding:
      header_.accept_encoding += (header_.accept_encoding.empty() ? "" : ",");
      header_.accept_encoding += standard(value);
      return;
    case Field::if_none_match:
      header_.if_none_match = standard(value);
      return;
    case Field::expect:
      if (!same_word(standard(value), "100-continue")) {
        return fail(417, "Expect: only 100-continue is supported", error);
      }
      header_.expects_continue = true;
      return;
    default:
      break;
  }
  if (!same_word(standard(name), "Inference-Header-Content-Length")) return;
  if (request_.header_length) return fail(400, "a field of the header is there twice", error);
  request_.header_length = standard(value);
}

void RequestParser::on_header_impl(Error& error) {
  if (!header_.is_http_1_0 && !has_host_) return fail(400, "the header has no field Host", error);
  const std::optional<Coding> coding = parse_coding(content_coding_);
  if (!coding) return fail(415, "Content-Encoding: expected gzip, deflate or identity", error);
  header_.coding = *coding;
  header_.close = !keep_alive();
  if (*coding != Coding::Identity) unpacker_ = std::make_unique<Unpacker>(*coding);
}

void RequestParser::on_body_init_impl(const boost::optional<std::uint64_t>& length, Error&) {
  if (length && !unpacker_) {
    request_.body.reserve(std::min(static_cast<std::size_t>(*length), kReserveBytes));
  }
}

std::size_t RequestParser::on_body_impl(View bytes, Error& error) {
  if (!unpacker_) {
    request_.body.append(bytes.data(), bytes.size());
    return bytes.size();
  }
  switch (unpacker_->add(standard(bytes), request_.body, limits_.body_bytes)) {
    case Unpacker::Result::Ok:
      break;
    case Unpacker::Result::Damaged:
      fail(400, "the body is not what Content-Encoding says", error);
      break;
    case Unpacker::Result::TooLarge:
      fail(413, "the body is too large once it is unpacked", error);
      break;
  }
  return bytes.size();
}

std::size_t RequestParser::on_chunk_body_impl(std::uint64_t, View bytes, Error& error) {
  return on_body_impl(bytes, error);
}

void RequestParser::on_finish_impl(Error& error) {
  if (unpacker_ && !unpacker_->finished()) fail(400, "the packed body is not whole", error);
}

}  // namespace lenet::serve

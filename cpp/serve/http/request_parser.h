/// \file
/// HTTP/1.1 requests out of bytes, by the parser of Boost.Beast.
#pragma once

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/version.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/content_coding.h"
#include "request.h"

namespace lenet::serve {

/// Of one request. Beyond them it is answered with 431 or 413.
struct RequestLimits {
  std::uint32_t header_bytes = 16 << 10;
  std::size_t header_count = 100;
  std::size_t body_bytes = std::size_t{64} << 20;  ///< as sent; who unpacks it sees to the rest
};

/// With what its header says to the transport.
struct HttpRequest : Request {
  bool close = false;  ///< no further request follows on the connection
  bool is_http_1_0 = false;
  bool expects_continue = false;
  Coding coding = Coding::Identity;  ///< of the body
  std::string host;                  ///< or the one that the target names
  std::string origin;                ///< of the page that asks; empty: none does
  bool is_preflight = false;         ///< a browser asks what a page of another origin may do
  std::string authorization;
  std::string accept_encoding;
  std::string if_none_match;
};

/// Parses one request. Requests that servers and proxies might take for different ones (RFC 9112,
/// section 11.2) are refused.
class RequestParser final : private boost::beast::http::basic_parser<true> {
 public:
  /// \param limits must outlive the parser
  explicit RequestParser(const RequestLimits& limits);

  /// Parses the beginning of `bytes`, and stops behind the header and behind the request.
  /// \returns how many were used, which the next call must not get again. What is left is to be
  ///   given again together with more bytes: it is less than twice the limit of a header.
  std::size_t parse(std::string_view bytes);

  bool begun() const { return got_some(); }
  bool header_done() const { return is_header_done(); }
  bool done() const { return is_done() && !failure_; }
  /// What is wrong with the request; the connection must then be closed.
  const std::optional<Failure>& failure() const { return failure_; }

  HttpRequest& request() { return request_; }

 private:
  using Error = boost::beast::error_code;
  using View = boost::beast::string_view;
  using Field = boost::beast::http::field;

  void on_request_impl(boost::beast::http::verb, View method, View target, int version,
                       Error& error) override;
  void on_response_impl(int, View, int, Error&) override {}
  void on_field_impl(Field field, View name, View value, Error& error) override;
#if BOOST_VERSION >= 109000
  void on_trailer_field_impl(Field field, View name, View value, Error& error) override {
    const bool says_length = field == Field::content_length || field == Field::transfer_encoding;
    if (says_length) return fail(400, "a trailer that says how long the body is", error);
    on_field_impl(field, name, value, error);
  }
#endif
  void on_header_impl(Error& error) override;
  void on_body_init_impl(const boost::optional<std::uint64_t>& length, Error& error) override;
  std::size_t on_body_impl(View bytes, Error& error) override;
  void on_chunk_header_impl(std::uint64_t, View, Error&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, View bytes, Error& error) override {
    return on_body_impl(bytes, error);
  }
  void on_finish_impl(Error&) override {}

  void set_target(std::string_view target, Error& error);
  void fail(int status, const char* message, Error& error);
  bool has(Field field) const {
    return std::find(unique_.begin(), unique_.end(), field) != unique_.end();
  }

  const RequestLimits& limits_;
  HttpRequest request_;
  std::optional<Failure> failure_;
  std::size_t header_bytes_ = 0;
  std::size_t header_count_ = 0;
  std::vector<Field> unique_;  ///< fields that came and may not come again
  bool wants_more_ = false;
};

}  // namespace lenet::serve

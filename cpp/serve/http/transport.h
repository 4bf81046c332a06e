/// \file
/// What the threads of the HTTP server have in common, and the requests that it answers itself.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "http/access_log.h"
#include "http/metrics.h"
#include "http/page.h"
#include "http/request_parser.h"
#include "service.h"

namespace lenet::serve {

struct HttpOptions {
  std::string host = "127.0.0.1";  ///< an address, or "localhost"
  std::uint16_t port = 8000;       ///< 0: any that is free
  int threads = 0;    ///< that read requests; 0: one a core, at most kMaxDefaultThreads
  std::string token;  ///< that clients have to know, but for the health of the server; empty: none
  std::string page;   ///< a folder with index.html; empty: none
  std::string access_log;  ///< a file, or "-" for standard output; empty: none

  RequestLimits request;
  std::size_t connections = 1024;                     ///< at once; more are answered with 503
  std::size_t buffered_bytes = std::size_t{1} << 28;  ///< of all bodies together; then 503
  int header_seconds = 10;  ///< from the first byte of a request to the end of its header
  int body_seconds = 60;    ///< for its body, and for the client to take the response
  int request_seconds = 0;  ///< until the service has a response; then 503; 0: no limit
  int idle_seconds = 60;    ///< between two requests of a connection
};

struct Transport {
  /// \throws Error for a page or a log that cannot be
  Transport(Service& the_service, HttpOptions the_options);

  /// The response to what is not the service's business, or not allowed.
  std::optional<Response> answer(const Request& request, const RequestHeader& header) const;
  /// 401 when the client does not know the token that is needed.
  std::optional<Response> refuse(const Request& request, const RequestHeader& header) const;

  Service& service;
  const HttpOptions options;
  const Page page;
  AccessLog log;
  Metrics metrics;
};

}  // namespace lenet::serve

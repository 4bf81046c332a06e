#include "http/transport.h"

#include <algorithm>
#include <utility>

#include "http/content_coding.h"

namespace lenet::serve {
namespace {

constexpr std::string_view kScheme = "Bearer ";
constexpr const char* kMethods = "GET, HEAD, POST, OPTIONS";

/// Takes a time that tells nothing about `secret` but its length.
bool same_secret(std::string_view given, std::string_view secret) {
  volatile unsigned difference = given.size() == secret.size() ? 0 : 1;
  for (std::size_t i = 0; i < secret.size(); ++i) {
    const char letter = i < given.size() ? given[i] : '\0';
    difference = difference | static_cast<unsigned>(letter ^ secret[i]);
  }
  return difference == 0;
}

}  // namespace

Transport::Transport(Service& the_service, HttpOptions the_options)
    : service(the_service),
      options(std::move(the_options)),
      page(options.page),
      log(options.access_log) {}

std::optional<Response> Transport::refuse(const Request& request,
                                          const RequestHeader& header) const {
  const bool is_health = request.path == "/v2/health/live" || request.path == "/v2/health/ready";
  if (options.token.empty() || is_health) return std::nullopt;
  const std::string_view given = header.authorization;
  if (same_word(given.substr(0, kScheme.size()), kScheme) &&
      same_secret(trimmed(given.substr(kScheme.size())), options.token)) {
    return std::nullopt;
  }
  Response response = error_response(401, "expected the server's token: Authorization: Bearer ...");
  response.headers.emplace_back("WWW-Authenticate", "Bearer");
  return response;
}

std::optional<Response> Transport::answer(const Request& request,
                                          const RequestHeader& header) const {
  const std::string& method = request.method;
  const bool reads = method == "GET" || method == "HEAD";
  if (method == "OPTIONS") {
    Response response;
    response.status = 204;
    response.headers.emplace_back("Allow", kMethods);
    return response;
  }
  if (!reads && method != "POST") {
    Response response = error_response(405, "expected GET, HEAD, POST or OPTIONS");
    response.headers.emplace_back("Allow", kMethods);
    return response;
  }
  const bool is_metrics = request.path == "/metrics";
  std::optional<Response> found;
  if (is_metrics) {
    found.emplace();
    found->content_type = "text/plain; version=0.0.4; charset=utf-8";
    found->body = service.metrics() + metrics.text();
  } else {
    found = page.find(request.path, header.accept_encoding, header.if_none_match);
  }
  if (found && !reads) {
    found = error_response(405, "expected GET");
    found->headers.emplace_back("Allow", "GET, HEAD, OPTIONS");
  }
  return found;
}

}  // namespace lenet::serve

#include "http/access.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "lenet/error.h"

namespace lenet::serve {
namespace {

bool is_digit(char byte) { return std::isdigit(static_cast<unsigned char>(byte)) != 0; }

/// \returns where the port begins, with its ':'; the end of a host without one
std::size_t begin_of_port(std::string_view host) {
  const std::size_t colon = host.rfind(':');
  const bool has_port =
      colon != std::string_view::npos &&
      std::all_of(host.begin() + static_cast<std::ptrdiff_t>(colon) + 1, host.end(), is_digit);
  return has_port ? colon : host.size();
}

/// Without the port, the brackets of an address, and the '.' of a name that is whole.
std::string_view name_in(std::string_view host) {
  host = host.substr(0, begin_of_port(host));
  if (host.size() > 1 && host.front() == '[') return host.substr(1, host.size() - 2);
  return host.substr(0, host.size() - (!host.empty() && host.back() == '.' ? 1 : 0));
}

std::string_view scheme_of(std::string_view origin) { return origin.substr(0, origin.find(":")); }

/// \param text a host, or an origin
std::string_view without_usual_port(std::string_view text, std::string_view scheme) {
  const std::size_t port = begin_of_port(text);
  return text.substr(port) == (scheme == "https" ? ":443" : ":80") ? text.substr(0, port) : text;
}

/// Whether a page comes from the server that it asks, whatever is between them speaks TLS or not.
bool is_same(std::string_view origin, std::string_view host) {
  const std::string_view scheme = scheme_of(origin);
  const std::size_t begin = scheme.size() + 3;  // behind "://"
  const bool is_ours = (scheme == "http" || scheme == "https") && origin.size() > begin;
  return is_ours && same_word(without_usual_port(origin.substr(begin), scheme),
                              without_usual_port(host, scheme));
}

}  // namespace

boost::asio::ip::address parse_address(const std::string& host) {
  boost::system::error_code error;
  const auto address =
      boost::asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
  const bool is_mapped = !error && address.is_v6() && address.to_v6().is_v4_mapped();
  if (is_mapped) return make_address_v4(boost::asio::ip::v4_mapped, address.to_v6());
  if (!error) return address;
  throw Error(ErrorCode::BadInput,
              "--host is '" + host + "'; expected an address such as 127.0.0.1, 0.0.0.0, ::1");
}

bool is_valid_host(std::string_view text) {
  std::string_view name = text.substr(0, begin_of_port(text));
  std::string_view others = "-._~%!$&'()*+,;=";
  if (!name.empty() && name.front() == '[') {
    if (name.size() < 4 || name.back() != ']') return false;
    name = name.substr(1, name.size() - 2);
    others = ":.";
  }
  return std::all_of(name.begin(), name.end(), [&](char byte) {
    return std::isalnum(static_cast<unsigned char>(byte)) != 0 ||
           others.find(byte) != std::string_view::npos;
  });
}

Access::Access(const std::string& listens_on, std::vector<std::string> hosts,
               std::vector<std::string> origins)
    : address_(parse_address(listens_on)),
      judges_hosts_(address_.is_loopback() || !hosts.empty()),
      hosts_(std::move(hosts)),
      origins_(std::move(origins)) {
  for (std::string& host : hosts_) {
    if (host.empty() || !is_valid_host(host) || begin_of_port(host) != host.size()) {
      throw Error(ErrorCode::BadInput, "--allowed_host is '" + host +
                                           "'; expected a name such as models.example.org, "
                                           "without a port");
    }
    host = std::string(name_in(host));
  }
  for (std::string& origin : origins_) {
    const std::size_t scheme = origin.find("://");
    const bool is_whole = scheme != std::string::npos && scheme > 0 && scheme + 3 < origin.size() &&
                          is_valid_host(origin.substr(scheme + 3));
    if (origin != "*" && !is_whole) {
      throw Error(ErrorCode::BadInput, "--allow_origin is '" + origin +
                                           "'; expected * or an origin such as "
                                           "https://example.org, without a path");
    }
    origin = std::string(without_usual_port(origin, scheme_of(origin)));  // as browsers send it
  }
}

bool Access::is_ours(std::string_view host) const {
  const std::string_view name = name_in(host);
  const auto is_name = [&](const std::string& allowed) { return same_word(allowed, name); };
  if (is_name("localhost") || std::any_of(hosts_.begin(), hosts_.end(), is_name)) return true;
  boost::system::error_code failed;
  const auto given = boost::asio::ip::make_address(std::string(name), failed);
  // No name leads a browser to a server that it calls by an address.
  return !failed && (address_.is_unspecified() || given == address_);
}

bool Access::shares_with(std::string_view origin) const {
  return !origin.empty() && std::any_of(origins_.begin(), origins_.end(), [&](const auto& allowed) {
    return allowed == "*" || same_word(allowed, origin);
  });
}

std::optional<Response> Access::refuse(const HttpRequest& request) const {
  // HTTP/1.0, which no browser speaks, needs no Host.
  const bool has_host = !request.host.empty() || !request.is_http_1_0;
  if (judges_hosts_ && has_host && !is_ours(request.host)) {
    return error_response(421, "this server is not '" + request.host +
                                   "'; start it with --allowed_host to give it that name");
  }
  const bool is_foreign = !request.origin.empty() && !is_same(request.origin, request.host);
  if (is_foreign && !shares_with(request.origin)) {
    return error_response(403, "pages of '" + request.origin +
                                   "' may not use this server; start it with --allow_origin to "
                                   "let them");
  }
  return std::nullopt;
}

}  // namespace lenet::serve

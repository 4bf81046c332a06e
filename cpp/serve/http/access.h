/// \file
/// Who may ask, as far as browsers say it: any page that somebody looks at can send requests to
/// this machine, and a name that its owner points here makes them look like the page's own.
#pragma once

#include <boost/asio/ip/address.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "http/request_parser.h"

namespace lenet::serve {

/// \param host "localhost" is 127.0.0.1
/// \throws Error BadInput
boost::asio::ip::address parse_address(const std::string& host);

/// Whether the field Host may be so: a name or an address, and perhaps a port (RFC 3986, 3.2.2).
bool is_valid_host(std::string_view text);

/// Thread-safety: everything may be called from any number of threads at once.
class Access {
 public:
  /// \param listens_on as parse_address takes it; Host is judged where that is this machine alone,
  ///   or where `hosts` names any
  /// \param hosts names, without a port, that Host may give besides the address and "localhost"
  /// \param origins such as "https://example.org", whose pages may use the server; "*": any
  /// \throws Error BadInput for what is none of these
  Access(const std::string& listens_on, std::vector<std::string> hosts,
         std::vector<std::string> origins);

  /// 421 for a host that this server is not, 403 for a page of another origin.
  std::optional<Response> refuse(const HttpRequest& request) const;

  /// Whether pages of other origins may read any response.
  bool shares() const { return !origins_.empty(); }
  /// Whether a page of another origin may read the response.
  bool shares_with(std::string_view origin) const;

 private:
  bool is_ours(std::string_view host) const;

  boost::asio::ip::address address_;
  bool judges_hosts_;
  std::vector<std::string> hosts_;
  std::vector<std::string> origins_;
};

}  // namespace lenet::serve

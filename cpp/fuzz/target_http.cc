#include <algorithm>
#include <string>
#include <vector>

#include "http/request_parser.h"
#include "support.h"
#include "targets.h"

namespace lenet::fuzz {
namespace {

using serve::RequestParser;

const serve::RequestLimits kLimits{512, 20, 4096};

struct Requests {
  std::vector<std::string> bodies;
  int failure = 0;  ///< status
};

/// As a connection parses what arrives in pieces of that size.
Requests parse_pieces(std::string_view bytes, std::size_t piece) {
  Requests found;
  std::string kept;
  auto parser = std::make_unique<RequestParser>(kLimits);
  while (!bytes.empty() && found.failure == 0) {
    kept += bytes.substr(0, piece);
    bytes.remove_prefix(std::min(piece, bytes.size()));
    for (std::size_t used = 1; used > 0 && !kept.empty() && found.failure == 0;) {
      used = parser->parse(kept);
      require(used <= kept.size(), "no more bytes are used than there are");
      kept.erase(0, used);
      require(parser->failure() || parser->request().body.size() <= kLimits.body_bytes,
              "the body is within its limit");
      if (parser->failure()) {
        found.failure = parser->failure()->status;
        require(found.failure >= 400 && found.failure < 600, "a failure has a status");
      } else if (parser->done()) {
        const std::string& path = parser->request().path;
        require(path == "*" || path.substr(0, 1) == "/", "a path begins with '/'");
        require(path.find_first_of(std::string("\0\r\n ", 4)) == std::string::npos,
                "a path has no spaces");
        found.bodies.push_back(parser->request().body);
        parser = std::make_unique<RequestParser>(kLimits);
        used = 1;
      }
    }
    require(found.failure != 0 || kept.size() < 2 * kLimits.header_bytes + piece,
            "what is kept is limited");
  }
  return found;
}

}  // namespace

/// Where the pieces end changes nothing, but which limit of a header is noticed first. A header
/// that comes in pieces is judged once it is whole.
void http(std::string_view bytes) {
  const Requests whole = parse_pieces(bytes, bytes.size() + 1);
  for (const std::size_t piece : {1U, 7U}) {
    const Requests pieces = parse_pieces(bytes, piece);
    if (whole.failure == 431 || pieces.failure == 431) continue;
    require(pieces.failure == whole.failure || pieces.failure == 0,
            "the failure does not depend on the pieces");
    require(pieces.bodies == whole.bodies, "the requests do not depend on the pieces");
  }
}

}  // namespace lenet::fuzz

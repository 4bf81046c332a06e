/// \file
/// The files of a web page, read once: nothing that a client asks for touches the file system.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "request.h"

namespace lenet::serve {

class Page {
 public:
  /// Reads the files of a folder and of those in it, but hidden ones and symbolic links. A file
  /// `X.br` or `X.gz` beside `X` is `X` packed.
  /// \param folder empty: no page
  /// \throws Error FileNotFound; BadInput when there is no index.html, or too much.
  explicit Page(const std::string& folder);

  /// \param path as a client sent it; "/" is index.html
  /// \param accept_encoding, if_none_match as the client sent them
  /// \returns 200, or 304; nothing when there is no such file. What it refers to is this object's.
  std::optional<Response> find(std::string_view path, std::string_view accept_encoding,
                               std::string_view if_none_match) const;

 private:
  struct File {
    std::string type;
    std::string tag;  ///< ETag
    std::string bytes;
  };
  std::map<std::string, File, std::less<>> files_;  ///< by their paths, such as "/index.html"
};

}  // namespace lenet::serve

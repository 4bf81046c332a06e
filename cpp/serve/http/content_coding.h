/// \file
/// Content-Encoding: gzip, and deflate, by which HTTP means the format of zlib.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace lenet::serve {

enum class Coding { Identity, Gzip, Deflate };

/// As Content-Encoding names it.
const char* to_string(Coding coding);

/// \returns nothing for a coding that is not supported.
std::optional<Coding> parse_coding(std::string_view name);

/// Whether an Accept-Encoding field accepts the coding of that name, in lower case; `*` counts for
/// none.
bool accepts_coding(std::string_view accept, std::string_view name);
/// \returns Gzip, else Deflate, else Identity, whatever the client's order of preference.
Coding choose_coding(std::string_view accept);

/// Unpacks a body piece by piece.
class Unpacker {
 public:
  enum class Result { Ok, Damaged, TooLarge };

  /// \param coding not Identity
  explicit Unpacker(Coding coding);
  ~Unpacker() { inflateEnd(&stream_); }
  Unpacker(const Unpacker&) = delete;
  Unpacker& operator=(const Unpacker&) = delete;

  /// Appends to `body` what the bytes unpack to.
  /// \returns TooLarge once `body` would have more than `max_bytes`; bytes behind the end of the
  ///   packed data are Damaged.
  Result add(std::string_view bytes, std::string& body, std::size_t max_bytes);
  /// Whether the packed data was whole.
  bool finished() const { return finished_; }

 private:
  z_stream stream_{};
  bool finished_ = false;
};

/// \param coding not Identity
std::string pack(std::string_view body, Coding coding);

/// Whether they are the same but for the case of ASCII letters.
bool same_word(std::string_view a, std::string_view b);
/// Without spaces and tabs at both ends.
std::string_view trimmed(std::string_view text);

}  // namespace lenet::serve

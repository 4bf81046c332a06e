/// \file
/// Content-Encoding: gzip, and deflate, by which HTTP means the format of zlib.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace lenet::serve {

enum class Coding { Identity, Gzip, Deflate };

/// \returns nothing for a coding that is not supported.
std::optional<Coding> parse_coding(std::string_view name);

/// \param accept the value of an Accept-Encoding field
/// \returns Gzip, else Deflate, else Identity, whatever the client's order of preference.
Coding choose_coding(std::string_view accept);

/// Whether the field accepts the coding of that name, in lower case; `*` counts for none.
bool accepts_coding(std::string_view accept, std::string_view name);

/// Unpacks a body piece by piece.
class Unpacker {
 public:
  enum class Result { Ok, Damaged, TooLarge };

  /// \param coding not Identity
  explicit Unpacker(Coding coding);
  ~Unpacker();
  Unpacker(const Unpacker&) = delete;
  Unpacker& operator=(const Unpacker&) = delete;

  /// Appends to `body` what the bytes unpack to.
  /// \returns TooLarge once `body` would have more than `max_bytes`; bytes behind the end of the
  ///   packed data are Damaged.
  Result add(std::string_view bytes, std::string& body, std::size_t max_bytes);
  /// Whether the packed data was whole.
  bool finished() const { return finished_; }

 private:
  struct Stream;
  std::unique_ptr<Stream> stream_;
  bool finished_ = false;
};

/// \param coding not Identity
/// \param tail packed behind `body`
std::string pack(std::string_view body, std::string_view tail, Coding coding);

/// Whether they are the same but for the case of ASCII letters.
bool same_word(std::string_view a, std::string_view b);
/// Without spaces and tabs at both ends.
std::string_view trimmed(std::string_view text);

}  // namespace lenet::serve

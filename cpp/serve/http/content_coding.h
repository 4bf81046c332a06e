/// \file
/// Content-Encoding: gzip, and deflate, by which HTTP means the format of zlib.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace lenet::serve {

/// Why a request is refused, with the status from 400 to 599.
struct Failure {
  int status;
  const char* message;
};

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

/// What both of these do takes milliseconds for each megabyte: nothing for a thread that reads.
/// \param coding not Identity
std::string pack(std::string_view body, Coding coding);
/// \param body replaced by what it unpacks to
/// \param deadline looked at after every 64 kB
/// \returns 413 for more than `max_bytes`; 400 for a body that is not whole, or has more behind its
///   end; 503 once the deadline has passed, or when there is no memory
std::optional<Failure> unpack(std::string& body, Coding coding, std::size_t max_bytes,
                              std::chrono::steady_clock::time_point deadline) noexcept;

/// Whether they are the same but for the case of ASCII letters.
bool same_word(std::string_view a, std::string_view b);
/// Without spaces and tabs at both ends.
std::string_view trimmed(std::string_view text);

}  // namespace lenet::serve

#include "http/content_coding.h"

#include <strings.h>
#include <zlib.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <new>

namespace lenet::serve {
namespace {

constexpr std::size_t kUnpackAtOnce = 64 << 10;
constexpr std::size_t kMostOfByte = 1032;  // that deflate makes of one

int window_of(Coding coding) { return coding == Coding::Gzip ? MAX_WBITS + 16 : MAX_WBITS; }

void set_input(z_stream& stream, std::string_view bytes) {
  // zlib does not change what it reads.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
}

void set_output(z_stream& stream, char* to, std::size_t size) {
  stream.next_out = reinterpret_cast<Bytef*>(to);
  stream.avail_out = static_cast<uInt>(size);
}

}  // namespace

bool same_word(std::string_view a, std::string_view b) {
  return a.size() == b.size() && strncasecmp(a.data(), b.data(), a.size()) == 0;
}

std::string_view trimmed(std::string_view text) {
  const auto begin = std::min(text.find_first_not_of(" \t"), text.size());
  return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

const char* to_string(Coding coding) {
  return coding == Coding::Gzip ? "gzip" : coding == Coding::Deflate ? "deflate" : "identity";
}

std::optional<Coding> parse_coding(std::string_view name) {
  if (name.empty()) return Coding::Identity;
  if (same_word(name, "x-gzip")) return Coding::Gzip;
  for (const Coding coding : {Coding::Identity, Coding::Gzip, Coding::Deflate}) {
    if (same_word(name, to_string(coding))) return coding;
  }
  return std::nullopt;
}

bool accepts_coding(std::string_view accept, std::string_view name) {
  while (!accept.empty()) {
    const std::string_view item = accept.substr(0, accept.find(','));
    accept.remove_prefix(std::min(item.size() + 1, accept.size()));
    const std::size_t semicolon = std::min(item.find(';'), item.size());
    if (!same_word(trimmed(item.substr(0, semicolon)), name)) continue;
    const std::string_view weight = item.substr(semicolon);  // "; q=0.000": not acceptable
    return weight.empty() || weight.find_first_of("123456789") != std::string_view::npos;
  }
  return false;
}

Coding choose_coding(std::string_view accept) {
  if (accepts_coding(accept, "gzip")) return Coding::Gzip;
  return accepts_coding(accept, "deflate") ? Coding::Deflate : Coding::Identity;
}

std::string pack(std::string_view body, Coding coding) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, window_of(coding), MAX_MEM_LEVEL,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::bad_alloc();
  }
  const std::unique_ptr<z_stream, decltype(&deflateEnd)> ends(&stream, deflateEnd);
  std::string packed(deflateBound(&stream, body.size()), '\0');
  set_input(stream, body);
  set_output(stream, packed.data(), packed.size());
  deflate(&stream, Z_FINISH);
  packed.resize(stream.total_out);
  return packed;
}

std::optional<Failure> unpack(std::string& body, Coding coding, std::size_t max_bytes,
                              std::chrono::steady_clock::time_point deadline) noexcept try {
  constexpr Failure kDamaged = {400, "the packed body is damaged"};
  z_stream stream{};
  if (inflateInit2(&stream, window_of(coding)) != Z_OK) throw std::bad_alloc();
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> ends(&stream, inflateEnd);
  std::string_view left = body;
  std::string whole;
  // Memory that is not written to is none. A string that grows by itself is there twice at times.
  whole.reserve(std::min(max_bytes + 1, body.size() * kMostOfByte + kUnpackAtOnce));
  for (int result = Z_OK; result != Z_STREAM_END;) {
    if (std::chrono::steady_clock::now() > deadline) {
      return Failure{503, "the request took too long"};
    }
    // One byte more than allowed, to notice it.
    const std::size_t before = whole.size();
    const std::size_t room = std::min(kUnpackAtOnce, max_bytes + 1 - before);
    whole.resize(before + room);
    set_output(stream, whole.data() + before, room);
    const std::string_view piece = left.substr(0, std::numeric_limits<uInt>::max());
    set_input(stream, piece);
    result = inflate(&stream, Z_NO_FLUSH);
    whole.resize(before + room - stream.avail_out);
    left.remove_prefix(piece.size() - stream.avail_in);
    if (result == Z_MEM_ERROR) throw std::bad_alloc();
    if (whole.size() > max_bytes) return Failure{413, "the body is too large once it is unpacked"};
    if (result == Z_BUF_ERROR) return Failure{400, "the packed body is not whole"};
    if (result != Z_OK && result != Z_STREAM_END) return kDamaged;
  }
  if (!left.empty()) return kDamaged;
  body = std::move(whole);
  return std::nullopt;
} catch (const std::bad_alloc&) {
  return Failure{503, "out of memory"};
}

}  // namespace lenet::serve

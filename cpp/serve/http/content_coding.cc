#include "http/content_coding.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <new>

namespace lenet::serve {
namespace {

constexpr int kZlibWindow = 15;
constexpr int kGzipWindow = kZlibWindow + 16;
constexpr std::size_t kUnpackAtOnce = 64 << 10;

int window_of(Coding coding) { return coding == Coding::Gzip ? kGzipWindow : kZlibWindow; }

char lower(char letter) {
  return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

/// zlib does not change what it reads.
Bytef* bytes_of(std::string_view text) {
  return reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
}

}  // namespace

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view trimmed(std::string_view text) {
  const auto begin = std::min(text.find_first_not_of(" \t"), text.size());
  return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

std::optional<Coding> parse_coding(std::string_view name) {
  if (name.empty() || same_word(name, "identity")) return Coding::Identity;
  if (same_word(name, "gzip") || same_word(name, "x-gzip")) return Coding::Gzip;
  if (same_word(name, "deflate")) return Coding::Deflate;
  return std::nullopt;
}

bool accepts_coding(std::string_view accept, std::string_view name) {
  while (!accept.empty()) {
    const std::string_view item = accept.substr(0, accept.find(','));
    accept.remove_prefix(std::min(item.size() + 1, accept.size()));
    const std::size_t semicolon = item.find(';');
    if (!same_word(trimmed(item.substr(0, semicolon)), name)) continue;
    if (semicolon == std::string_view::npos) return true;
    const std::string_view weight = trimmed(item.substr(semicolon + 1));
    // "q=0", "q=0.000": not acceptable.
    return weight.find_first_of("123456789") != std::string_view::npos;
  }
  return false;
}

Coding choose_coding(std::string_view accept) {
  if (accepts_coding(accept, "gzip")) return Coding::Gzip;
  return accepts_coding(accept, "deflate") ? Coding::Deflate : Coding::Identity;
}

struct Unpacker::Stream : z_stream {};

Unpacker::Unpacker(Coding coding) : stream_(std::make_unique<Stream>()) {
  if (inflateInit2(stream_.get(), window_of(coding)) != Z_OK) throw std::bad_alloc();
}

Unpacker::~Unpacker() { inflateEnd(stream_.get()); }

Unpacker::Result Unpacker::add(std::string_view bytes, std::string& body, std::size_t max_bytes) {
  stream_->next_in = bytes_of(bytes);
  stream_->avail_in = static_cast<uInt>(bytes.size());
  bool more = true;
  while (more) {
    if (finished_) return stream_->avail_in == 0 ? Result::Ok : Result::Damaged;
    // One byte more than allowed, to notice it.
    const std::size_t before = body.size();
    const std::size_t room = std::min(kUnpackAtOnce, max_bytes + 1 - before);
    body.resize(before + room);
    stream_->next_out = reinterpret_cast<Bytef*>(body.data() + before);
    stream_->avail_out = static_cast<uInt>(room);
    const int result = inflate(stream_.get(), Z_NO_FLUSH);
    more = stream_->avail_out == 0 || stream_->avail_in > 0;
    body.resize(before + room - stream_->avail_out);
    if (body.size() > max_bytes) return Result::TooLarge;
    if (result == Z_STREAM_END) {
      finished_ = true;
      more = true;  // for what is behind the end
    } else if (result == Z_BUF_ERROR) {
      return Result::Ok;  // all was read
    } else if (result != Z_OK) {
      return Result::Damaged;
    }
  }
  return Result::Ok;
}

std::string pack(std::string_view body, std::string_view tail, Coding coding) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, window_of(coding), MAX_MEM_LEVEL,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    throw std::bad_alloc();
  }
  std::string packed(deflateBound(&stream, body.size() + tail.size()), '\0');
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  const auto add = [&](std::string_view bytes, int flush) {
    stream.next_in = bytes_of(bytes);
    stream.avail_in = static_cast<uInt>(bytes.size());
    deflate(&stream, flush);
  };
  add(body, Z_NO_FLUSH);
  add(tail, Z_FINISH);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

}  // namespace lenet::serve

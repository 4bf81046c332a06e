#include "io/netpbm.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "io/bad_file.h"
#include "io/npy.h"

namespace lenet {
namespace {

/// The numbers of a header, which white space and comments stand between.
class HeaderReader {
 public:
  HeaderReader(std::string_view bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  std::int64_t next_number() {
    while (at_ < bytes_.size() && (is_space() || bytes_[at_] == '#')) {
      if (bytes_[at_] == '#') at_ = std::min(bytes_.find('\n', at_), bytes_.size() - 1);
      ++at_;
    }
    std::int64_t value = 0;
    const auto result = std::from_chars(bytes_.data() + at_, bytes_.data() + bytes_.size(), value);
    if (result.ec != std::errc() || value < 1) {
      bad_file(path_,
               std::string("is damaged: bad ") + (bytes_[1] == '6' ? "PPM" : "PGM") + " header");
    }
    at_ = static_cast<std::size_t>(result.ptr - bytes_.data());
    return value;
  }

  /// What follows the one white space after the last number.
  std::string_view rest() const { return bytes_.substr(std::min(at_ + 1, bytes_.size())); }

 private:
  bool is_space() const { return std::isspace(static_cast<unsigned char>(bytes_[at_])) != 0; }

  std::string_view bytes_;
  const std::string& path_;
  std::size_t at_ = 2;
};

}  // namespace

Netpbm parse_netpbm(std::string_view bytes, const std::string& path) {
  HeaderReader header(bytes, path);
  Netpbm image;
  image.channels = bytes[1] == '6' ? 3 : 1;
  image.width = header.next_number();
  image.height = header.next_number();
  const std::int64_t maximum = header.next_number();
  if (maximum != 255) {
    bad_file(path, "has a greatest value of " + std::to_string(maximum) + "; expected 255");
  }
  image.pixels = header.rest();
  Array array{"|u1", {image.height, image.width}, image.pixels};
  if (image.channels == 3) array.shape.push_back(3);
  require_whole(array, path);
  return image;
}

}  // namespace lenet

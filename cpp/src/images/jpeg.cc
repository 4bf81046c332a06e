#include "images/jpeg.h"

#include <cstdint>
#include <utility>

#include "images/exif.h"
#include "io/bad_file.h"
#include "io/byte_reader.h"

namespace lenet {
namespace {

constexpr std::string_view kExifHeader("Exif\0\0", 6);
constexpr std::string_view kAdobe = "Adobe";

/// Each scan may pass over all pixels, however few bytes it has. Cameras and encoders write about
/// 10; libtiff has the same limit, and so has the Python code.
constexpr int kMaxScans = 100;

/// The second bytes of markers (ITU-T T.81, table B.1).
enum Marker : unsigned {
  kBaseline = 0xc0,
  kExtended = 0xc1,
  kProgressive = 0xc2,
  kHuffmanTables = 0xc4,
  kLastFrame = 0xcf,
  kFirstRestart = 0xd0,
  kLastRestart = 0xd7,
  kStart = 0xd8,
  kEnd = 0xd9,
  kScan = 0xda,
  kQuantization = 0xdb,
  kRestartInterval = 0xdd,
  kApp0 = 0xe0,
  kApp1 = 0xe1,
  kApp14 = 0xee,
};

bool is_restart(unsigned marker) { return marker >= kFirstRestart && marker <= kLastRestart; }

bool begins(std::string_view bytes, std::string_view text) {
  return bytes.substr(0, text.size()) == text;
}

class Reader {
 public:
  Reader(std::string_view bytes, const std::string& path) : reader_(bytes), path_(path) {
    reader_.take(2);
    jpeg_.stream = {'\xff', static_cast<char>(kStart)};
  }

  Jpeg read() {
    for (unsigned marker = next_marker(); marker != kEnd; marker = next_marker()) {
      // These stand alone; here they mean nothing.
      if (marker <= 0x01 || is_restart(marker)) continue;
      if (marker == kStart) damaged("it begins a second time");
      const std::string_view size = take(2);
      const std::uint32_t length = big_endian(size);
      if (length < 2) damaged("a segment of no length");
      read_segment(marker, size, take(length - 2));
    }
    keep(kEnd);
    if (four_components_ && !adobe_) unsupported("CMYK without Adobe's marker");
    return std::move(jpeg_);
  }

 private:
  [[noreturn]] void damaged(const char* problem) const {
    bad_file(path_, std::string("is a damaged JPEG: ") + problem);
  }

  [[noreturn]] void unsupported(const char* kind) const {
    throw Error(ErrorCode::Unsupported, "'" + path_ + "' is a JPEG of a kind (" + kind +
                                            ") that is not read in C++; convert it to PNG, or "
                                            "classify it in Python");
  }

  std::string_view take(std::uint64_t count) {
    const std::string_view bytes = reader_.take(count);
    if (!reader_.ok()) bad_file(path_, "is a JPEG that is cut short");
    return bytes;
  }

  unsigned take_byte() { return static_cast<unsigned char>(take(1)[0]); }

  /// Skips what is no marker, as other decoders do.
  unsigned next_marker() {
    if (pending_ == 0) {
      while (take_byte() != 0xff) continue;
      pending_ = 0xff;
    }
    while (pending_ == 0xff) pending_ = take_byte();
    return std::exchange(pending_, 0U);
  }

  void keep(unsigned marker, std::string_view size = {}, std::string_view content = {}) {
    jpeg_.stream += {'\xff', static_cast<char>(marker)};
    jpeg_.stream += size;
    jpeg_.stream += content;
  }

  void read_segment(unsigned marker, std::string_view size, std::string_view content) {
    switch (marker) {
      case kBaseline:
      case kExtended:
      case kProgressive:
        read_frame(content);
        break;
      case kHuffmanTables:
        check_huffman_tables(content);
        break;
      case kApp1:
        if (!exif_seen_ && begins(content, kExifHeader)) {
          jpeg_.container.orientation = exif_orientation(content.substr(kExifHeader.size()));
          exif_seen_ = true;
        }
        return;
      case kApp14:
        adobe_ = adobe_ || begins(content, kAdobe);
        break;
      case kScan:
      case kQuantization:
      case kRestartInterval:
      case kApp0:
        break;
      default:
        if (marker >= kBaseline && marker <= kLastFrame) unsupported("arithmetic or lossless");
        return;
    }
    keep(marker, size, content);
    if (marker == kScan) {
      if (++scans_ > kMaxScans) {
        bad_file(path_, "is a JPEG of more than " + std::to_string(kMaxScans) +
                            " scans, each of which may take as long as an image: save it anew, as "
                            "baseline JPEG or PNG");
      }
      copy_scan();
    }
  }

  void read_frame(std::string_view content) {
    constexpr std::size_t kComponents = 5;  // after precision, height and width
    if (content.size() <= kComponents) damaged("a frame of no components");
    if (jpeg_.container.width != 0) damaged("several frames");
    jpeg_.container.height = big_endian(content.substr(1, 2));
    jpeg_.container.width = big_endian(content.substr(3, 2));
    four_components_ = content[kComponents] == 4;
  }

  /// Each: class and number, how many codes there are of 1 to 16 bits, a value for each.
  void check_huffman_tables(std::string_view content) const {
    while (!content.empty()) {
      constexpr std::size_t kLengths = 16;
      constexpr std::size_t kMaxCodes = 256;
      if (content.size() < 1 + kLengths) damaged("a Huffman table is cut short");
      std::size_t codes = 0;
      for (const char count : content.substr(1, kLengths)) {
        codes += static_cast<unsigned char>(count);
      }
      if (codes > kMaxCodes) damaged("a Huffman table has more than 256 codes");
      if (content.size() < 1 + kLengths + codes) damaged("a Huffman table is cut short");
      content.remove_prefix(1 + kLengths + codes);
    }
  }

  /// Up to the next marker; within the data, zeros and restarts follow a byte of ones.
  void copy_scan() {
    for (;;) {
      const unsigned byte = take_byte();
      if (byte != 0xff) {
        jpeg_.stream += static_cast<char>(byte);
        continue;
      }
      pending_ = 0xff;
      while (pending_ == 0xff) pending_ = take_byte();
      if (pending_ != 0 && !is_restart(pending_)) return;
      jpeg_.stream += {'\xff', static_cast<char>(std::exchange(pending_, 0U))};
    }
  }

  ByteReader reader_;
  const std::string& path_;
  Jpeg jpeg_;
  unsigned pending_ = 0;  ///< the second byte of a marker that was met already; 0: none
  int scans_ = 0;
  bool adobe_ = false;
  bool four_components_ = false;
  bool exif_seen_ = false;
};

}  // namespace

bool is_jpeg(std::string_view bytes) { return begins(bytes, "\xff\xd8\xff"); }

Jpeg read_jpeg(std::string_view bytes, const std::string& path) {
  return Reader(bytes, path).read();
}

}  // namespace lenet

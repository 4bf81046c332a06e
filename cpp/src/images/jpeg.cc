// clang-format off
#include <cstdio>  // jpeglib.h uses it
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <algorithm>
#include <csetjmp>
#include <exception>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "images/decoders.h"
#include "lenet/interruption.h"

namespace lenet {
namespace {

constexpr std::string_view kExifHeader("Exif\0\0", 6);
constexpr unsigned kStartOfScan = 0xda;

/// libtiff has the same limit, and so has the Python code.
constexpr int kMaxScans = 100;

/// Zeros, 0x01 and restarts stand within data; a byte of ones before a marker is padding.
bool is_marker(unsigned code) {
  return code > 0x01 && code != 0xff && (code < JPEG_RST0 || code > JPEG_RST0 + 7);
}

/// Whether a segment holds the size of the picture: SOF, but not DHT, JPG or DAC.
bool is_frame(unsigned code) {
  return code >= 0xc0 && code <= 0xcf && code != 0xc4 && code != 0xc8 && code != 0xcc;
}

/// What the segments of a file say.
struct Segments {
  int orientation = 1;  ///< of EXIF
  std::int64_t scans = 0;
  std::int64_t pixels = 0;  ///< of the largest frame; a valid file has one frame
};

/// Walks over the segments as libjpeg does, without decoding. Refuses a file that is cut short or
/// has too many scans.
Segments read_segments(const ImageFile& file) {
  constexpr std::size_t kFrameSize = 7;  // bytes up to the width: length, depth, height, width
  const std::string_view bytes = file.bytes;
  const auto byte = [bytes](std::size_t at) { return static_cast<unsigned char>(bytes[at]); };
  const auto number = [byte](std::size_t at) {
    return std::int64_t{byte(at)} * 256 + std::int64_t{byte(at + 1)};
  };
  Segments found;
  int orientation = 0;
  for (std::size_t at = 2; (at = bytes.find('\xff', at)) < bytes.size() - 1;) {
    const unsigned code = byte(++at);
    if (!is_marker(code)) continue;
    if (code == JPEG_EOI) {
      found.orientation = std::max(orientation, 1);
      return found;
    }
    if (bytes.size() - at < 3) break;
    const auto length = static_cast<std::size_t>(number(at + 1));
    if (length < 2) {  // of which it is itself the first two bytes
      file.refuse("is a damaged JPEG: a segment of " + std::to_string(length) + " bytes");
    }
    const std::string_view segment = bytes.substr(at + 1, length);
    if (code == JPEG_APP0 + 1 && orientation == 0 && segment.substr(2, 6) == kExifHeader) {
      orientation = std::max(exif_orientation(segment.substr(8)), 1);
    }
    if (is_frame(code) && segment.size() >= kFrameSize) {
      found.pixels = std::max(found.pixels, number(at + 4) * number(at + 6));
    }
    if (code == kStartOfScan && ++found.scans > kMaxScans) {
      file.refuse("is a JPEG of more than " + std::to_string(kMaxScans) +
                  " scans, each of which may take as long as an image: save it anew, as baseline "
                  "JPEG or PNG");
    }
    at += 1 + segment.size();
  }
  file.refuse("is a JPEG that is cut short");
}

/// Whether a warning of libjpeg means that pixels are lost.
bool is_damage(int warning) {
  return warning == JWRN_HUFF_BAD_CODE || warning == JWRN_ARITH_BAD_CODE ||
         warning == JWRN_HIT_MARKER || warning == JWRN_MUST_RESYNC || warning == JWRN_JPEG_EOF;
}

// jpeg_crop_scanline() and jpeg_skip_scanlines() are libjpeg-turbo's own. Earlier releases of it
// gave other pixels, or crashed.
#if defined(LIBJPEG_TURBO_VERSION_NUMBER) && LIBJPEG_TURBO_VERSION_NUMBER >= 2001000
constexpr bool kLeavesOut = true;
#else
constexpr bool kLeavesOut = false;
void jpeg_crop_scanline(j_decompress_ptr, JDIMENSION*, JDIMENSION*) {}
void jpeg_skip_scanlines(j_decompress_ptr, JDIMENSION) {}
#endif

/// As Pillow converts it; the file holds 255 minus each ink.
void cmyk_to_rgb(const std::vector<std::uint8_t>& row, std::uint8_t* rgb) {
  for (auto ink = row.cbegin(); ink != row.cend(); ink += 4) {
    for (int i = 0; i < 3; ++i) {
      *rgb++ = static_cast<std::uint8_t>(ink[3] - divide_by_255((255U - ink[i]) * ink[3]));
    }
  }
}

class Decoder {
 public:
  /// Reads the header.
  explicit Decoder(const ImageFile& file) : file_(file) {
    info_.err = jpeg_std_error(&errors_);
    info_.client_data = this;
    errors_.error_exit = give_up;
    progress_.progress_monitor = look_for_interruption;
    errors_.emit_message = [](j_common_ptr info, int level) {
      if (level < 0 && is_damage(info->err->msg_code)) give_up(info);
    };
    try {
      read_header();
    } catch (...) {
      jpeg_destroy_decompress(&info_);
      throw;
    }
  }
  ~Decoder() { jpeg_destroy_decompress(&info_); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  std::int64_t height() const noexcept { return info_.image_height; }
  std::int64_t width() const noexcept { return info_.image_width; }
  std::int64_t channels() const noexcept { return info_.num_components == 1 ? 1 : 3; }
  /// The number of rows that were read.
  std::int64_t done() const noexcept { return info_.output_scanline; }

  /// Begins to decode; these columns have to get their pixels, others need not.
  void start(const ColumnRange& columns) {
    const int components = info_.num_components;
    info_.out_color_space = components == 1 ? JCS_GRAYSCALE : components == 3 ? JCS_RGB : JCS_CMYK;
    if (components == 4) cmyk_.resize(std::size_t{info_.image_width} * 4);
    call([&] {
      jpeg_start_decompress(&info_);
      leaves_out_ = kLeavesOut && components != 4 && !info_.arith_code &&
                    jpeg_has_multiple_scans(&info_) == FALSE;
    });
    if (leaves_out_) crop(columns);
  }

  /// Leaves out rows of blocks that lie before row `y` as a whole. Their codes are read, so that
  /// damage is found, but not their pixels.
  void leave_out_before(std::int64_t y) {
    // Where it does not begin with a row of blocks, libjpeg-turbo gives rows from before the skip
    // (its issue 915).
    const std::int64_t rows = std::int64_t{info_.max_v_samp_factor} * DCTSIZE;
    if (!leaves_out_ || done() % rows != 0) return;
    while (y - done() >= rows) {
      check_interruption();
      call([&] { jpeg_skip_scanlines(&info_, static_cast<JDIMENSION>(rows)); });
    }
  }

  /// Reads the next row.
  void read(std::uint8_t* target) {
    call([&] {
      JSAMPROW row = cmyk_.empty() ? target + first_ * channels() : cmyk_.data();
      jpeg_read_scanlines(&info_, &row, 1);
    });
    if (!cmyk_.empty()) cmyk_to_rgb(cmyk_, target);
  }

  /// Reads what is behind the last row.
  void finish() {
    call([this] { jpeg_finish_decompress(&info_); });
  }

 private:
  [[noreturn]] static void give_up(j_common_ptr info) {
    std::longjmp(static_cast<Decoder*>(info->client_data)->before_, 1);
  }

  /// Called for each row of blocks of each scan. libjpeg is C, which no exception may pass.
  static void look_for_interruption(j_common_ptr info) {
    auto& self = *static_cast<Decoder*>(info->client_data);
    try {
      check_interruption();
    } catch (...) {
      self.interruption_ = std::current_exception();
    }
    if (self.interruption_) give_up(info);
  }

  /// An error in one of the calls leaves them by a jump, so that nothing that has a destructor may
  /// live among them.
  template <typename Calls>
  void call(const Calls& calls) {
    if (setjmp(before_) == 0) {
      calls();
      return;
    }
    if (interruption_) std::rethrow_exception(interruption_);
    if (errors_.msg_code == JERR_OUT_OF_MEMORY) throw std::bad_alloc();
    std::vector<char> text(JMSG_LENGTH_MAX);
    errors_.format_message(reinterpret_cast<j_common_ptr>(&info_), text.data());
    file_.refuse(std::string("is a damaged JPEG: ") + text.data());
  }

  void read_header() {
    call([this] {
      jpeg_create_decompress(&info_);
      info_.progress = &progress_;
      jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(file_.bytes.data()),
                   static_cast<unsigned long>(file_.bytes.size()));
      jpeg_read_header(&info_, TRUE);
    });
    file_.check_size(info_.image_height, info_.image_width);
    const int components = info_.num_components;
    if (components != 1 && components != 3 && components != 4) {
      file_.refuse("is a JPEG of " + std::to_string(components) +
                   " components; save it anew, in grey or RGB");
    }
  }

  void crop(const ColumnRange& columns) {
    // The pixels at the border of what is decoded differ, because they are made of fewer samples of
    // colour. They are within this margin.
    const std::int64_t margin = std::int64_t{info_.max_h_samp_factor} * DCTSIZE;
    const std::int64_t first = std::max<std::int64_t>(columns.first - margin, 0);
    const std::int64_t end = std::min(columns.first + columns.count + margin, width());
    auto count = static_cast<JDIMENSION>(end - first);
    if (count == width()) return;
    first_ = static_cast<JDIMENSION>(first);
    call([&] { jpeg_crop_scanline(&info_, &first_, &count); });
  }

  ImageFile file_;
  std::vector<std::uint8_t> cmyk_;  ///< a row, where the file has such
  bool leaves_out_ = false;
  JDIMENSION first_ = 0;  ///< the first column that is decoded
  jpeg_decompress_struct info_{};
  jpeg_error_mgr errors_{};
  jpeg_progress_mgr progress_{};
  std::exception_ptr interruption_;
  std::jmp_buf before_{};
};

class JpegImage final : public EncodedImage {
 public:
  JpegImage(std::unique_ptr<Decoder> decoder, const Turn& turn_after)
      : EncodedImage(decoder->height(), decoder->width(), decoder->channels(), turn_after),
        decoder_(std::move(decoder)),
        kept_(width * channels) {}

  void need(const ColumnRange& columns) override { columns_ = columns; }
  void keep(std::int64_t count) override { kept_.keep(count); }

  const std::uint8_t* row(std::int64_t y) override {
    if (kept_.empty()) decoder_->start(columns_);
    while (decoder_->done() <= y) {
      decoder_->leave_out_before(y);
      decoder_->read(kept_.at(decoder_->done()));
    }
    return kept_.at(y);
  }

  Image whole() override {
    Image image = filled_image(height, width, channels);
    const std::int64_t row_bytes = width * channels;
    decoder_->start({0, width});
    while (decoder_->done() < height) {
      decoder_->read(image.pixels.data() + decoder_->done() * row_bytes);
    }
    decoder_->finish();
    return upright(std::move(image), turn);
  }

  void finish() override {
    row(height - 1);
    decoder_->finish();
  }

 private:
  std::unique_ptr<Decoder> decoder_;
  ColumnRange columns_{0, width};
  KeptRows kept_;
};

}  // namespace

std::unique_ptr<EncodedImage> open_jpeg(const ImageFile& file) {
  const Segments segments = read_segments(file);
  auto decoder = std::make_unique<Decoder>(file);
  const std::int64_t most = kScansOfLargestImage * file.max_pixels;
  if (decoder->height() * decoder->width() > most / std::max<std::int64_t>(segments.scans, 1)) {
    file.refuse("has " + std::to_string(segments.scans) + " scans of " +
                size_text(decoder->height(), decoder->width()) +
                " pixels, together over the limit of " + std::to_string(most) +
                ": save it anew, as baseline JPEG or PNG");
  }
  return std::make_unique<JpegImage>(std::move(decoder), Turn(segments.orientation));
}

std::int64_t jpeg_work(std::string_view bytes) {
  const Segments segments = read_segments({bytes, "", kMaxImagePixels});
  return segments.pixels * segments.scans;
}

}  // namespace lenet

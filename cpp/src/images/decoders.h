/// Decoding of image files, and what makes photos upright. The decoders of photos are
/// each in a file of its own, which is built where its library is.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "images/steps.h"
#include "io/array_file.h"

namespace lenet {

/// A progressive JPEG has several scans, about 10 from cameras and encoders. Each may pass over all
/// pixels, even one of few bytes. The product of pixels and scans is at most this many times the
/// limit of pixels. The Python code has the same limit.
constexpr std::int64_t kScansOfLargestImage = 16;

struct ImageFile {
  std::string_view bytes;
  std::string path;  ///< for messages
  std::int64_t max_pixels;
  int depth = 16;           ///< of the samples of a 16-bit picture
  bool* is_dark = nullptr;  ///< as decode_bytes

  /// \throws Error BadInput over the limit of pixels. Sizes are at least 1.
  void check_size(std::int64_t height, std::int64_t width) const;

  [[noreturn]] void refuse(const std::string& problem) const { bad_file(path, problem); }
  /// \param kind continues "'FILE' is ..."
  [[noreturn]] void refuse_kind(const std::string& kind) const {
    throw Error(ErrorCode::Unsupported, "'" + path + "' is " + kind);
  }
};

/// As `decode_image`, from a file's bytes and with another limit.
/// \param path for messages
/// \param is_dark null, or becomes true when no sample of a 16-bit picture is above 4,095, as if
///   12 bits were all that it has, and `depth` says nothing of that
Image decode_bytes(std::string_view bytes, const std::string& path, std::int64_t max_pixels,
                   int depth = 16, bool* is_dark = nullptr);

/// An image file that is decoded later: the errors of decode_bytes come here, or then.
/// \param file its bytes have to outlive the result
std::unique_ptr<EncodedImage> open_image(const ImageFile& file);

/// Whether C++ decodes, or refuses as empty, a file that begins so: 64 bytes are enough to tell.
bool is_decoded_in_cpp(std::string_view begin);

/// Opens an image file for Python, as open_image() does; Pillow reads the kinds that C++ does not.
/// \returns null for a file of such a kind
std::unique_ptr<EncodedImage> open_known(const ImageFile& file);

/// Returns how much work it is to decode a file: the pixels that its header says, times the scans
/// of a JPEG. 0: the header is damaged, so that decoding ends there. This takes time linear in the
/// bytes of the file, and much less than to decode it.
std::int64_t decode_work(std::string_view bytes) noexcept;

/// Whether an error is one of open_image() or of decoding, which name the file; those of the steps
/// of a pipeline do not.
bool names_file(const Error& error, const std::string& path);

/// Whether bytes begin as an image file does: of a kind that is read, or of one that decode_bytes
/// names when it refuses it.
bool is_image_file(std::string_view bytes);

/// What to say of a dark one.
constexpr const char* kDarkNote =
    "no sample of this 16-bit picture is above 4,095; if its camera has 12 bits, write "
    "\"depth\": 12 in preprocess.json";

/// An image that was decoded.
class DecodedImage final : public EncodedImage {
 public:
  explicit DecodedImage(Image image)
      : EncodedImage(image.height, image.width, image.channels), image_(std::move(image)) {}

  void keep(std::int64_t /*count*/) override {}
  const std::uint8_t* row(std::int64_t y) override { return row_of(image_, y); }
  Image whole() override { return std::move(image_); }
  void finish() override {}

 private:
  Image image_;
};

/// Memory for the last rows that were decoded of an image.
class KeptRows {
 public:
  explicit KeptRows(std::int64_t row_bytes) : row_bytes_(row_bytes) {}

  /// As Rows::keep.
  void keep(std::int64_t count) { count_ = count; }

  /// Whether no row was asked for yet.
  bool empty() const noexcept { return rows_.empty(); }

  /// Returns the place of a row, which before was that of a row that need no longer be kept.
  std::uint8_t* at(std::int64_t y) {
    // Not in the constructor, because an image that is decoded as a whole needs none of it.
    rows_.resize(static_cast<std::size_t>(count_ * row_bytes_));
    return rows_.data() + y % count_ * row_bytes_;
  }

 private:
  std::int64_t row_bytes_;
  std::int64_t count_ = 1;
  std::vector<std::uint8_t> rows_;
};

/// Upright and opaque, 1 or 3 channels.
/// \param file begins as its kind does
/// \throws Error BadInput: damaged, cut short, over the limit of pixels or of scans; Unsupported:
///   of a kind that is not read.
std::unique_ptr<EncodedImage> open_jpeg(const ImageFile& file);
std::unique_ptr<EncodedImage> open_png(const ImageFile& file);
Image decode_webp(const ImageFile& file);
Image decode_bmp(const ImageFile& file);

/// decode_work() of a kind of file.
/// \throws Error for a damaged header
std::int64_t jpeg_work(std::string_view bytes);
std::int64_t png_work(std::string_view bytes);
std::int64_t webp_work(std::string_view bytes);

/// The orientation (tag 0x0112) in EXIF data: 1 to 8; 0 when it is not told; 1, upright, when the
/// data are damaged.
/// \param tiff begins with the byte order, "II" or "MM", before which "Exif\0\0" may stand
int exif_orientation(std::string_view tiff);

}  // namespace lenet

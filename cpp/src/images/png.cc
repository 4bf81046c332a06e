#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "images/decoders.h"
#include "images/interruption_point.h"
#include "io/byte_reader.h"

namespace lenet {
namespace {

/// The standard allows one eXIf chunk. Of several the last one counts, as in Pillow; the others are
/// not read. \param bytes a PNG, at least to the end of its header
int orientation_of(std::string_view bytes) {
  ByteReader reader(bytes.substr(8));
  std::string_view exif;
  while (true) {
    const std::uint32_t length = reader.read_big_endian_32();
    const std::string_view type = reader.take(4);
    const std::string_view content = reader.take(length);
    reader.take(4);  // the checksum
    if (!reader.ok() || type == "IEND") return exif_orientation(exif);
    if (type == "eXIf") exif = content;
  }
}

/// Turns rows as libpng gives them into pixels of 8 bits.
class Conversion {
 public:
  Conversion() = default;
  virtual ~Conversion() = default;
  Conversion(const Conversion&) = delete;
  Conversion& operator=(const Conversion&) = delete;

  virtual void convert(const std::uint8_t* row, std::uint8_t* target) = 0;
  /// Refuses a file for what its rows had. This is asked after the last row, because damage
  /// anywhere in a file is reported first.
  virtual void check(const ImageFile& file) const = 0;
};

/// Samples of 16 bits, the upper byte first.
class WideSamples final : public Conversion {
 public:
  /// \param channels with 2 and 4 the last one is alpha, which has all 16 bits
  WideSamples(std::int64_t width, std::int64_t channels, int depth)
      : row_bytes_(2 * width * channels),
        colours_(channels % 2 == 0 ? channels - 1 : channels),
        has_alpha_(channels % 2 == 0),
        depth_(depth) {}

  void convert(const std::uint8_t* row, std::uint8_t* target) override {
    const std::int64_t colours = colours_;
    const int shift = depth_ - 8;
    unsigned largest = largest_;
    for (const std::uint8_t* const end = row + row_bytes_; row != end;) {
      for (std::int64_t i = 0; i < colours; ++i, row += 2) {
        const unsigned sample = row[0] * 256U + row[1];
        largest = std::max(largest, sample);
        *target++ = static_cast<std::uint8_t>(sample >> shift);
      }
      if (!has_alpha_) continue;
      *target++ = *row;
      row += 2;
    }
    largest_ = largest;
  }

  void check(const ImageFile& file) const override {
    constexpr unsigned kDark = 4095;
    if (largest_ >> depth_ != 0) {
      file.refuse("has a sample of " + std::to_string(largest_) + ", which needs more than the " +
                  std::to_string(depth_) + " bits of \"depth\" in its preprocess.json");
    }
    if (file.is_dark != nullptr) *file.is_dark = depth_ == 16 && largest_ <= kDark;
  }

 private:
  std::int64_t row_bytes_;
  std::int64_t colours_;
  bool has_alpha_;
  int depth_;
  unsigned largest_ = 0;
};

/// Indices of colours.
class Palette final : public Conversion {
 public:
  Palette(png_structp png, png_infop info) : width_(png_get_image_width(png, info)) {
    png_colorp colours = nullptr;
    png_get_PLTE(png, info, &colours, &count_);
    png_bytep alphas = nullptr;
    int alpha_count = 0;
    png_get_tRNS(png, info, &alphas, &alpha_count, nullptr);
    has_alpha_ = alphas != nullptr;
    for (int i = 0; i < count_; ++i) {
      colours_[static_cast<std::size_t>(i)] = {colours[i].red, colours[i].green, colours[i].blue,
                                               i < alpha_count ? alphas[i] : std::uint8_t{255}};
    }
  }

  std::int64_t channels() const noexcept { return has_alpha_ ? 4 : 3; }

  void convert(const std::uint8_t* row, std::uint8_t* target) override {
    if (has_alpha_) {
      convert_to<4>(row, target);
    } else {
      convert_to<3>(row, target);
    }
  }

  void check(const ImageFile& file) const override {
    if (largest_ >= count_) file.refuse("is a damaged PNG: a colour that is not in its palette");
  }

 private:
  template <int kChannels>
  void convert_to(const std::uint8_t* row, std::uint8_t* target) {
    const std::int64_t width = width_;
    int largest = largest_;
    for (std::int64_t x = 0; x < width; ++x) {
      largest = std::max<int>(largest, row[x]);
      target = std::copy_n(colours_[row[x]].begin(), kChannels, target);
    }
    largest_ = largest;
  }

  std::int64_t width_;
  std::array<std::array<std::uint8_t, 4>, 256> colours_{};  ///< also of indices that are refused
  int count_ = 0;
  bool has_alpha_ = false;
  int largest_ = -1;  ///< index
};

/// The structures of libpng, which are destroyed also when a constructor that holds them throws.
struct Reading {
  Reading(void* owner, png_error_ptr give_up, png_error_ptr warn)
      : png(png_create_read_struct(PNG_LIBPNG_VER_STRING, owner, give_up, warn)),
        info(png_create_info_struct(png)) {
    if (png != nullptr && info != nullptr) return;
    png_destroy_read_struct(&png, nullptr, nullptr);
    throw std::bad_alloc();
  }
  ~Reading() { png_destroy_read_struct(&png, &info, nullptr); }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

  png_structp png;
  png_infop info;
};

class Decoder {
 public:
  /// Reads the header.
  explicit Decoder(const ImageFile& file)
      : file_(file), left_(file_.bytes), reading_(this, give_up, warn) {
    read_header();
    const bool is_palette = png_get_color_type(png_, info_) == PNG_COLOR_TYPE_PALETTE;
    const bool is_wide = png_get_bit_depth(png_, info_) == 16;
    call([&] {
      png_set_packing(png_);
      if (!is_palette) png_set_expand(png_);
      passes_ = png_set_interlace_handling(png_);
      png_read_update_info(png_, info_);
    });
    channels_ = png_get_channels(png_, info_);
    raw_bytes_ = static_cast<std::size_t>(width() * channels_ * (is_wide ? 2 : 1));
    if (is_palette) {
      auto palette = std::make_unique<Palette>(png_, info_);
      channels_ = palette->channels();
      conversion_ = std::move(palette);
    } else if (is_wide) {
      conversion_ = std::make_unique<WideSamples>(width(), channels_, file_.depth);
    }
  }

  std::int64_t height() const noexcept { return png_get_image_height(png_, info_); }
  std::int64_t width() const noexcept { return png_get_image_width(png_, info_); }
  /// 1 to 4; with 2 and 4 the last one is alpha.
  std::int64_t channels() const noexcept { return channels_; }
  bool is_interlaced() const noexcept { return passes_ > 1; }
  /// The number of rows that were read, unless they are interlaced.
  std::int64_t done() const noexcept { return done_; }

  /// Reads the next row. They are not interlaced.
  void read(std::uint8_t* target) {
    const bool is_last = ++done_ == height();
    if (conversion_ == nullptr) {
      read_raw(target, is_last);
    } else {
      raw_.resize(raw_bytes_);
      read_raw(raw_.data(), is_last);
      conversion_->convert(raw_.data(), target);
    }
  }

  /// Reads what is behind the last row.
  void finish() {
    left_ = {file_.bytes.data() + read_, file_.bytes.size() - read_};
    // Without it a transparency here would pass in silence.
    call([this] { png_read_end(png_, info_); });
    if (conversion_ != nullptr) conversion_->check(file_);
  }

  /// Reads all. No row may have been read.
  Image whole() {
    Image image = filled_image(height(), width(), channels_);
    if (is_interlaced()) {
      read_interlaced(image.pixels.data());
    } else {
      while (done_ < image.height) read(image.pixels.data() + done_ * row_bytes());
    }
    finish();
    return image;
  }

 private:
  static constexpr std::size_t kRowBytes = 64;  // what a row costs beside its pixels
  static constexpr std::size_t kMaxRest = std::size_t{1} << 17;

  [[noreturn]] static void give_up(png_structp png, png_const_charp text) {
    auto& self = *static_cast<Decoder*>(png_get_error_ptr(png));
    std::strncpy(self.text_.data(), text, self.text_.size() - 1);
    std::longjmp(self.before_, 1);
  }

  /// libpng leaves out a transparency that does not fit the picture, and says so here.
  static void warn(png_structp png, png_const_charp text) {
    const std::string_view warning = text;
    const bool has_alpha = warning == "tRNS: invalid with alpha channel";  // which counts alone
    if (warning.substr(0, 5) == "tRNS:" && !has_alpha) png_error(png, text);
  }

  static void read_bytes(png_structp png, png_bytep to, png_size_t size) {
    auto& self = *static_cast<Decoder*>(png_get_io_ptr(png));
    if (size > self.left_.size()) {
      png_error(png, size > self.file_.bytes.size() - self.read_ ? "it is cut short"
                                                                 : "it has more data than pixels");
    }
    std::memcpy(to, self.left_.data(), size);
    self.left_.remove_prefix(size);
    self.read_ += size;
  }

  /// As in jpeg.cc.
  template <typename Calls>
  void call(const Calls& calls) {
    if (setjmp(before_) == 0) {
      calls();
      return;
    }
    file_.refuse(std::string("is a damaged PNG: ") + text_.data());
  }

  void read_header() {
    call([this] {
      png_set_read_fn(png_, this, read_bytes);
      png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // ours is on the pixels
      // Unknown chunks change no pixels and are not kept; a wrong checksum is an error in every
      // chunk, also in one that may be left out.
      png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
      png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
      png_read_info(png_, info_);
    });
    file_.check_size(height(), width());
  }

  std::int64_t row_bytes() const noexcept { return width() * channels_; }

  /// \param is_last of the last pass
  void read_raw(std::uint8_t* row, bool is_last) {
    // With the last row libpng unpacks the rest of the data, however much that is.
    if (is_last) left_ = left_.substr(0, 16 * static_cast<std::size_t>(width()) + kMaxRest);
    call([&] { png_read_row(png_, row, nullptr); });
    point_.did(raw_bytes_ + kRowBytes);
  }

  /// Holds all rows as libpng gives them, because each pass adds pixels to the rows of those
  /// before.
  void read_interlaced(std::uint8_t* target) {
    const std::int64_t rows = height();
    std::vector<std::uint8_t> raw;
    if (conversion_ != nullptr) raw.resize(static_cast<std::size_t>(rows) * raw_bytes_);
    std::uint8_t* const first = raw.empty() ? target : raw.data();
    const auto raw_row = [&](std::int64_t y) {
      return first + static_cast<std::size_t>(y) * raw_bytes_;
    };
    for (int pass = 1; pass <= passes_; ++pass) {
      for (std::int64_t y = 0; y < rows; ++y) {
        read_raw(raw_row(y), pass == passes_ && y == rows - 1);
      }
    }
    if (conversion_ == nullptr) return;
    for (std::int64_t y = 0; y < rows; ++y) {
      conversion_->convert(raw_row(y), target + y * row_bytes());
    }
  }

  ImageFile file_;
  std::string_view left_;  ///< what may be read now
  std::size_t read_ = 0;
  Reading reading_;
  png_structp png_ = reading_.png;
  png_infop info_ = reading_.info;
  int passes_ = 1;
  std::int64_t channels_ = 0;
  std::size_t raw_bytes_ = 0;               ///< of a row as libpng gives it
  std::unique_ptr<Conversion> conversion_;  ///< null where such a row is one of pixels
  std::vector<std::uint8_t> raw_;           ///< a row before its conversion
  std::int64_t done_ = 0;
  InterruptionPoint point_;
  std::jmp_buf before_{};
  std::array<char, 200> text_{};
};

class PngImage final : public EncodedImage {
 public:
  PngImage(std::unique_ptr<Decoder> decoder, const Turn& turn_after)
      : EncodedImage(decoder->height(), decoder->width(), decoder->channels(), turn_after),
        decoder_(std::move(decoder)),
        kept_(width * channels) {}

  void keep(std::int64_t count) override { kept_.keep(count); }

  const std::uint8_t* row(std::int64_t y) override {
    while (decoder_->done() <= y) decoder_->read(kept_.at(decoder_->done()));
    return kept_.at(y);
  }

  Image whole() override { return upright(decoder_->whole(), turn); }

  void finish() override {
    row(height - 1);
    decoder_->finish();
  }

 private:
  std::unique_ptr<Decoder> decoder_;
  KeptRows kept_;
};

}  // namespace

std::unique_ptr<EncodedImage> open_png(const ImageFile& file) {
  auto decoder = std::make_unique<Decoder>(file);
  const Turn turn(orientation_of(file.bytes));
  // Whether a transparent picture is composed over white or black depends on all of its pixels.
  const bool has_alpha = decoder->channels() % 2 == 0;
  if (!has_alpha && !decoder->is_interlaced()) {
    return std::make_unique<PngImage>(std::move(decoder), turn);
  }
  return std::make_unique<DecodedImage>(upright(opaque(decoder->whole()), turn));
}

std::int64_t png_work(std::string_view bytes) {
  constexpr std::size_t kSize = 16;  // where the header has the width and the height
  constexpr std::int64_t kMostSide = std::int64_t{1} << 31;
  // A row takes about as long as so many of its pixels.
  constexpr std::int64_t kRowPixels = 64;
  if (bytes.size() < kSize + 8) return 0;
  const auto* const at = reinterpret_cast<const png_byte*>(bytes.data());
  const std::int64_t width = png_get_uint_32(at + kSize);
  const std::int64_t height = png_get_uint_32(at + kSize + 4);
  return width < kMostSide && height < kMostSide ? (width + kRowPixels) * height : 0;
}

}  // namespace lenet

#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <new>
#include <utility>

#include "images/decoders.h"
#include "images/interruption_point.h"
#include "io/byte_reader.h"

namespace lenet {
namespace {

/// The standard allows one eXIf chunk. Of several the last one counts, as in Pillow; the others are
/// not read. \param bytes a valid PNG
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

class Decoder {
 public:
  explicit Decoder(const ImageFile& file)
      : file_(file),
        left_(file.bytes),
        png_(png_create_read_struct(PNG_LIBPNG_VER_STRING, this, give_up, warn)),
        info_(png_create_info_struct(png_)) {
    if (png_ == nullptr || info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw std::bad_alloc();
    }
  }
  ~Decoder() { png_destroy_read_struct(&png_, &info_, nullptr); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  /// 1 to 4 channels; with 2 and 4 the last one is alpha.
  Image decode() {
    call([this] {
      png_set_read_fn(png_, this, read);
      png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);  // ours is on the pixels
      // Of the chunks that can be left out, only transparency changes pixels; a wrong checksum
      // anywhere is an error.
      png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
      png_set_crc_action(png_, PNG_CRC_ERROR_QUIT, PNG_CRC_ERROR_QUIT);
      png_read_info(png_, info_);
    });
    const std::int64_t height = png_get_image_height(png_, info_);
    const std::int64_t width = png_get_image_width(png_, info_);
    file_.check_size(height, width);
    const bool is_palette = png_get_color_type(png_, info_) == PNG_COLOR_TYPE_PALETTE;
    const bool is_wide = png_get_bit_depth(png_, info_) == 16;
    int passes = 1;
    call([&] {
      png_set_packing(png_);
      if (!is_palette) png_set_expand(png_);
      passes = png_set_interlace_handling(png_);
      png_read_update_info(png_, info_);
    });
    Image image{{}, height, width, png_get_channels(png_, info_)};
    const auto row_values = static_cast<std::size_t>(width * image.channels * (is_wide ? 2 : 1));
    image.pixels.resize(static_cast<std::size_t>(height) * row_values);
    InterruptionPoint point;
    call([&] {
      for (int pass = 0; pass < passes; ++pass) {
        for (std::int64_t y = 0; y < height; ++y) {
          // With the last row libpng unpacks the rest of the data, however much that is.
          const bool is_last = pass == passes - 1 && y == height - 1;
          if (is_last) left_ = left_.substr(0, 16 * static_cast<std::size_t>(width) + kMaxRest);
          png_read_row(png_, image.pixels.data() + static_cast<std::size_t>(y) * row_values,
                       nullptr);
          point.did(row_values + kRowBytes);
        }
      }
      left_ = {file_.bytes.data() + read_, file_.bytes.size() - read_};
      png_read_end(png_, info_);  // without it a transparency here would pass in silence
    });
    if (is_wide) to_8_bits(image.pixels, static_cast<std::size_t>(image.channels));
    return is_palette ? with_colours(image) : std::move(image);
  }

 private:
  static constexpr unsigned kDark = 4095;
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

  static void read(png_structp png, png_bytep to, png_size_t size) {
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

  /// \param samples of 16 bits, the upper byte first, of pixels whose alpha has all of these
  void to_8_bits(std::vector<std::uint8_t>& samples, std::size_t channels) const {
    const std::size_t colours = channels - (channels % 2 == 0 ? 1 : 0);
    unsigned largest = 0;
    for (std::size_t i = 0; i < samples.size() / 2; i += channels) {
      for (std::size_t j = i; j < i + channels; ++j) {
        const unsigned sample = samples[2 * j] * 256U + samples[2 * j + 1];
        const bool is_colour = j < i + colours;
        if (is_colour) largest = std::max(largest, sample);
        samples[j] = static_cast<std::uint8_t>(sample >> (is_colour ? file_.depth - 8 : 8));
      }
    }
    samples.resize(samples.size() / 2);
    if (largest >> file_.depth != 0) {
      file_.refuse("has a sample of " + std::to_string(largest) + ", which needs more than the " +
                   std::to_string(file_.depth) + " bits of \"depth\" in its preprocess.json");
    }
    if (file_.is_dark != nullptr) *file_.is_dark = file_.depth == 16 && largest <= kDark;
  }

  Image with_colours(const Image& indices) {
    png_colorp colours = nullptr;
    int count = 0;
    png_get_PLTE(png_, info_, &colours, &count);
    png_bytep alphas = nullptr;
    int alpha_count = 0;
    png_get_tRNS(png_, info_, &alphas, &alpha_count, nullptr);
    Image image = empty_image(indices.height, indices.width, alphas == nullptr ? 3 : 4);
    for (const std::uint8_t index : indices.pixels) {
      if (index >= count) file_.refuse("is a damaged PNG: a colour that is not in its palette");
      const png_color& colour = colours[index];
      const std::array<std::uint8_t, 4> pixel = {
          colour.red, colour.green, colour.blue,
          index < alpha_count ? alphas[index] : std::uint8_t{255}};
      image.pixels.insert(image.pixels.end(), pixel.begin(), pixel.begin() + image.channels);
    }
    return image;
  }

  const ImageFile& file_;
  std::string_view left_;  ///< what may be read now
  std::size_t read_ = 0;
  png_structp png_;
  png_infop info_;
  std::jmp_buf before_{};
  std::array<char, 200> text_{};
};

}  // namespace

Image decode_png(const ImageFile& file) {
  Image image = opaque(Decoder(file).decode());
  return upright(std::move(image), Turn(orientation_of(file.bytes)));
}

}  // namespace lenet

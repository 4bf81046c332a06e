/// The steps of a pipeline, and what each does to the pixels, exactly. Channels are in any order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "lenet/image_pipeline.h"
#include "pixels.h"

namespace lenet {

/// Makes an image that has room for its pixels and none of them yet.
inline Image empty_image(std::int64_t height, std::int64_t width, std::int64_t channels) {
  Image image{{}, height, width, channels};
  image.pixels.reserve(static_cast<std::size_t>(height * width * channels));
  return image;
}

/// Makes an image of zeros, whose pixels can be written in any order.
inline Image filled_image(std::int64_t height, std::int64_t width, std::int64_t channels) {
  Image image{{}, height, width, channels};
  image.pixels.resize(static_cast<std::size_t>(height * width * channels));
  return image;
}

/// \param image with `row_bytes`, as everywhere in here
inline const std::uint8_t* row_of(const ImageView& image, std::int64_t row) {
  return image.pixels + static_cast<std::size_t>(row) * image.row_bytes;
}

/// Some columns of an image.
struct ColumnRange {
  std::int64_t first;
  std::int64_t count;
};

/// The rows of an image, which are asked for from the first to the last, as a file is decoded.
class Rows {
 public:
  Rows(std::int64_t rows, std::int64_t columns, std::int64_t values)
      : height(rows), width(columns), channels(values) {}
  virtual ~Rows() = default;
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;

  /// Has the last `count` rows that are asked for stay where they are; 1 by default. Called before
  /// the first is.
  virtual void keep(std::int64_t count) = 0;
  /// \param y as large as before, or larger; or one that is kept
  virtual const std::uint8_t* row(std::int64_t y) = 0;

  const std::int64_t height;
  const std::int64_t width;
  const std::int64_t channels;
};

/// The rows of an image that is in memory, in any order.
class ImageRows final : public Rows {
 public:
  /// \param image its pixels have to outlive this
  explicit ImageRows(const ImageView& image)
      : Rows(image.height, image.width, image.channels()), image_(image) {}

  void keep(std::int64_t /*count*/) override {}
  const std::uint8_t* row(std::int64_t y) override { return row_of(image_, y); }

 private:
  ImageView image_;
};

/// Height and width, in pixels.
struct Extent {
  std::int64_t height;
  std::int64_t width;
};

/// How a picture that lies in a file is made upright, as EXIF tells it.
struct Turn {
  Turn() = default;
  /// \param orientation 0 or 1, as it is, to 8
  explicit Turn(int orientation);
  explicit operator bool() const noexcept { return swaps || from_right || from_bottom; }

  bool swaps = false;        ///< its columns become rows
  bool from_right = false;   ///< its columns are taken from the last to the first
  bool from_bottom = false;  ///< its rows are taken from the last to the first
};

/// The size of an image that was turned.
Extent upright(const Extent& image, const Turn& turn);

/// Turns an image.
Image upright(Image image, const Turn& turn);

/// An image file that is decoded by whole(), or row by row. The rows are those of the file, and
/// what is made of them has to be turned.
class EncodedImage : public Rows {
 public:
  EncodedImage(std::int64_t rows, std::int64_t columns, std::int64_t values,
               const Turn& turn_after = {})
      : Rows(rows, columns, values), turn(turn_after) {}

  /// Allows the others to have any values, so that they need not be decoded. Called before the
  /// first row is asked for.
  virtual void need(const ColumnRange& /*columns*/) {}
  /// Decodes all of it, and turns it. No row may have been asked for.
  /// \throws Error as decode_image.
  virtual Image whole() = 0;
  /// Decodes what no row was asked for, as damage is an error wherever it is.
  virtual void finish() = 0;

  const Turn turn;
};

/// A part of an image, in pixels.
struct Region {
  std::int64_t top;
  std::int64_t left;
  std::int64_t height;
  std::int64_t width;
};

/// Copies the pixels of a region as they are; the order of the channels stays.
Image copy_of(Rows& rows, const Region& region);
Image copy_of(const ImageView& image);

/// "640 x 480", for messages.
inline std::string size_text(std::int64_t height, std::int64_t width) {
  return std::to_string(width) + " x " + std::to_string(height);
}

enum class Mode { Grey, Rgb, Bgr };

std::int64_t channels_of(Mode mode);

enum class Interpolation {
  Nearest,
  Bilinear,
  Bicubic,
  Area,    // of OpenCV only
  Lanczos  // of Pillow only
};

enum class Library { Pillow, OpenCv };  // whose `resize`

/// How a fraction of a pixel is rounded; PaddleClas and paddle.vision differ.
enum class Rounding { Down, HalfEven };

/// How an image gets `height` and `width`.
enum class Fit {
  Fill,     ///< by another factor for each axis
  Inside,   ///< by one factor, the smaller of the two: it has one of them, and at most the other
  Outside,  ///< by one factor, the greater of the two: it has one of them, and at least the other
  Height,   ///< it has the height, and the width in proportion, rounded up, but at most `width`
};

struct Resize {
  std::int64_t short_side = 0;  ///< 0: `height` and `width` instead
  std::int64_t height = 0;
  std::int64_t width = 0;
  Interpolation interpolation = Interpolation::Bilinear;
  Library library = Library::Pillow;
  Rounding rounding = Rounding::Down;  ///< of the long side
  Fit fit = Fit::Fill;
};

/// Where a border of an odd number of pixels has the one more.
enum class Border { After, Before };

struct CenterCrop {
  std::int64_t height = 0;
  std::int64_t width = 0;
  Rounding rounding = Rounding::HalfEven;  ///< of the first row and column
  /// The colour of the border that a smaller image gets, a value for each channel, red first;
  /// empty: it is refused.
  std::vector<std::uint8_t> fill = {};
  Border border = Border::After;
};

/// The middle: of `height` and `width`, these parts of the image's shorter side, rounded down.
struct CropShare {
  double height = 1;
  double width = 1;
};

/// The digit of a photo as MNIST would have it.
struct Digit {
  std::int64_t size = 0;  ///< height and width of the result
  std::int64_t box = 0;   ///< the longer side of the digit in it
};

using ImageStep = std::variant<Resize, CenterCrop, CropShare, Digit>;

struct Normalize {
  float scale = 1;
  std::vector<float> mean;  ///< of each channel
  std::vector<float> std;   ///< of each channel, above 0
};

/// Zeros behind the normalized values, to the right and below; nothing where both are 0.
struct Pad {
  std::int64_t height = 0;  ///< of the result
  std::int64_t width = 0;
};

/// A whole preprocessing. ToCHW, which can only be the last one, is not among the steps.
struct Preparation {
  Mode mode = Mode::Rgb;
  int depth = 16;  ///< bits of the samples of 16-bit pictures
  std::vector<ImageStep> image_steps;
  Normalize normalize;
  Pad pad = {};
  bool channels_last = false;  ///< without ToCHW: [height, width, channels] is what comes out
};

/// Grey to RGB: three times the same. RGB or BGR to grey: (19595 R + 38470 G + 7471 B + 32768)
/// >> 16. \param image without alpha, and with another number of channels
Image to_channels(const ImageView& image, std::int64_t channels);

/// value / 255, rounded to the nearest, for at most 255 * 255.
inline std::uint8_t divide_by_255(unsigned value) {
  value += 128;
  return static_cast<std::uint8_t>((value + (value >> 8)) >> 8);
}

/// Composes an image with alpha (2 or 4 channels, the last one) over white, or over black where
/// white would hide what is drawn. Returns one of 1 or 3 channels as it is.
Image opaque(Image image);

/// The pixels at these rows and columns.
Image pick(Rows& image, const std::vector<std::int32_t>& rows,
           const std::vector<std::int32_t>& columns);

/// \throws Error BadInput when the result of a resize has more than kMaxImagePixels.
void require_resized_pixels(std::int64_t old_height, std::int64_t old_width, std::int64_t height,
                            std::int64_t width);

/// To which size an image is resized, and how.
struct Scaling {
  std::int64_t height;
  std::int64_t width;
  Interpolation interpolation;
  Library library = Library::Pillow;
  /// How the result is turned afterwards. Its pixels are those of an image that is turned first and
  /// resized then, which matters because rounding depends on the axis and on its direction.
  Turn turn = {};
};

/// Returns the resize that gives, when its result is turned, what `scaling` makes of the upright
/// image.
Scaling before(const Turn& turn, Scaling scaling);

/// Returns the region that is, when it is turned, `region` of the upright image.
/// \param image its size before the turn
Region before(const Turn& turn, Region region, const Extent& image);

/// Mirrors places along an axis of this size, and their order: what was the last place becomes the
/// first one.
void mirror(std::vector<std::int32_t>& places, std::int64_t size);

/// Makes a region of the resized image; no other pixels of it are computed. They are the same bits
/// as the library's own `resize`, but for OpenCV's bicubic: within 1, as its own builds differ. A
/// size that stays changes nothing.
///
/// Pillow's bilinear, bicubic and lanczos are antialiased: when the image becomes smaller, the
/// filter becomes wider. Weights are of 22 bits; between the two passes values are rounded to 8
/// bits. Rows are resized first, unless the height shrinks by more than twice as many pixels as the
/// width.
///
/// Time and memory are linear in the pixels of both images, whatever their shapes.
/// \param rows may be asked for again from the first on, unless takes_rows_in_order()
/// \throws Error BadInput when the result has more than kMaxImagePixels.
Image resize(Rows& rows, const Scaling& scaling, const Region& region);
Image resize(const ImageView& image, const Scaling& scaling);

/// Whether a resize asks for each row of an image of this width once, from the first to the last,
/// and gives the same bits before a turn as behind it.
bool takes_rows_in_order(std::int64_t width, const Scaling& scaling, const Region& region);

/// The columns of an image of this width that a resize reads, and perhaps some more.
ColumnRange columns_read(std::int64_t width, const Scaling& scaling, const Region& region);

/// `cv::resize` of OpenCV 4.6 to 5.0 for 8-bit images (modules/imgproc/src/resize.cpp): two pixels
/// along each axis, or four for bicubic, however much the image shrinks, with weights of 11 bits
/// and no rounding between the passes; area is the mean of what a new pixel covers, in float32, or,
/// where an axis grows, two pixels whose weights are those of their parts.
/// \param scaling to another size than that of the image
Image resize_as_opencv(Rows& image, const Scaling& scaling, const Region& region);
/// New columns are computed so many at a time: what is known of a column takes some 40 times the
/// memory of its pixel.
constexpr std::int64_t kHeldColumns = 4096;

/// Finds the digit of a photo, as digit/digit.md defines it.
/// \param image grey
/// \returns grey, `step.size` x `step.size`, light on dark
/// \throws Error BadInput when nothing stands out from the background.
Image find_digit(const Digit& step, const ImageView& image);

/// \throws Error BadInput: smaller than a crop without a fill, too large after resizing, no digit.
Image run_step(const ImageStep& step, const ImageView& image);

/// \throws Error BadInput, as a step does, or beyond kMaxStepPixels: before anything is computed.
void require_steps(const std::vector<ImageStep>& steps, Extent extent);

/// A resize, and the crop behind it if there is one: what that cuts off is not computed.
struct ResizedPart {
  /// \param to, step for the upright image
  /// \param turn makes the image upright
  /// \throws Error BadInput where the crop is larger than the resized image, and has no fill.
  ResizedPart(const Scaling& to, const std::optional<CenterCrop>& step, const Turn& turn = {});

  /// \returns an upright image
  Image make(Rows& rows) const;

  /// How many of the steps it is.
  std::size_t steps() const noexcept { return crop ? 2 : 1; }

  Scaling scaling;  ///< before the turn
  Region region;    ///< of the resized image before the turn, that is computed
  std::optional<CenterCrop> crop;
  std::int64_t top_border = 0;
  std::int64_t left_border = 0;
};

/// The resize that begins at a step, with the crop behind it; nothing where it is another step.
/// \param image its size before the turn
std::optional<ResizedPart> resize_at(const std::vector<ImageStep>& steps, std::size_t at,
                                     const Extent& image, const Turn& turn = {});

/// (pixel * scale - mean) / std, rounded after each operation.
PixelTable make_table(const Normalize& normalize, Mode mode);

}  // namespace lenet

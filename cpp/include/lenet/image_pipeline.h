/// \file
/// From an image file to what a model takes: decoding, and the steps of `preprocess.json` beside
/// the model. In Python, `lenet_cpp.images.Pipeline` runs the same steps.
///
///     #include <lenet/image_pipeline.h>
///
///     const auto pipeline = lenet::ImagePipeline::load("inference_model/lenet/preprocess.json");
///     const lenet::Tensor digit = pipeline(lenet::decode_image("photo.jpg"));  // [1, 28, 28]
///
/// A picture that the program holds already, such as a cv::Mat, is read where it is:
///
///     lenet::ImageView frame{mat.data, mat.rows, mat.cols, mat.step, lenet::PixelFormat::Bgr};
///     const lenet::Tensor digit = pipeline(frame);
///
/// Thread-safety: everything here may be called from any number of threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "lenet/error.h"
#include "lenet/export.h"
#include "lenet/tensor.h"

namespace lenet {

/// The bytes of a pixel, in this order.
enum class PixelFormat : std::int32_t { Grey, Rgb, Bgr, Rgba, Bgra };

/// An image of 8 bits a channel in memory of the caller's, who keeps it while it is used.
struct ImageView {
  const std::uint8_t* pixels = nullptr;  ///< of the first row
  std::int64_t height = 0;               ///< in pixels
  std::int64_t width = 0;
  std::size_t row_bytes = 0;  ///< from a row to the next; 0: the rows follow each other directly
  /// With alpha, what is transparent is drawn on white or black, as of a file.
  PixelFormat format = PixelFormat::Rgb;

  /// The bytes of a pixel: 1, 3 or 4.
  std::int64_t channels() const noexcept {
    return format == PixelFormat::Grey ? 1 : format < PixelFormat::Rgba ? 3 : 4;
  }
};

/// A decoded image.
struct Image {
  std::vector<std::uint8_t> pixels;  ///< [height, width, channels], row-major
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;  ///< 1: grey; 3: red, green, blue

  operator ImageView() const noexcept {
    return {pixels.data(), height, width, static_cast<std::size_t>(width * channels),
            channels == 1 ? PixelFormat::Grey : PixelFormat::Rgb};
  }
};

/// Images of more pixels are refused before they are decoded, as in Python: 256 MiB of RGB.
constexpr std::int64_t kMaxImagePixels = 89'478'485;

/// The steps of a pipeline may read and write so many pixels for one image, all steps together: the
/// largest image may be made another one of its size twice.
constexpr std::int64_t kMaxStepPixels = 4 * kMaxImagePixels;

/// Reads one image: BMP (without compression), PGM, PPM (binary, 8 bits), .npy (uint8, [H, W],
/// [H, W, 1] or [H, W, 3]); JPEG where `can_decode_jpeg()`, PNG where `can_decode_png()`, WebP, of
/// an animation the first frame, where `can_decode_webp()`. The kind of file is told by its first
/// bytes. The pixels are the same bits as Pillow's.
/// What comes out is upright (EXIF orientation applied), opaque (transparent pixels on white, or on
/// black where white would hide what is drawn) and of 8 bits a channel: of 16 the upper 8.
/// \throws Error FileNotFound; BadInput naming the file when it is damaged, cut short, of more than
///   kMaxImagePixels, or no image, or a JPEG of more than 100 scans or of more than 16 times
///   kMaxImagePixels in all scans together; Unsupported when it is an image of another kind.
LENET_API Image decode_image(const std::string& path);

/// The same where a camera fills less than the 16 bits of a picture's samples: the upper 8 of
/// `depth`, which is 10, 12, 14 or 16; `ImagePipeline::depth` has it. Others are not affected.
/// \throws Error BadInput too when a sample has more bits.
LENET_API Image decode_image(const std::string& path, int depth);

/// The same of what such a file holds, which messages call "the image".
/// \throws Error BadInput too when `bytes` is null.
LENET_API Image decode_image_from_memory(const void* bytes, std::size_t size, int depth = 16);

/// Whether this library was built with libjpeg-turbo (Debian: libjpeg-dev).
LENET_API bool can_decode_jpeg() noexcept;
/// Whether this library was built with libpng (Debian: libpng-dev).
LENET_API bool can_decode_png() noexcept;
/// Whether this library was built with libwebp (Debian: libwebp-dev).
LENET_API bool can_decode_webp() noexcept;

class EncodedImage;
struct Preparation;

/// The steps that a model's images go through. A value: copies share the steps, which never change.
class LENET_API ImagePipeline {
 public:
  /// Reads a `preprocess.json` (docs/preprocessing.md describes it), or what a toolkit wrote beside
  /// the model: PaddleClas's and PaddleX's `inference.yml`, PaddleX 2's `model.yml`, Hugging Face's
  /// `preprocessor_config.json`, timm's `config.json`. Its contents tell which it is.
  /// \param check_hashes compare it with SHA256SUMS beside it, if that is there and names it
  /// \throws Error FileNotFound; BadModel naming the file and what is wrong where (a step, field or
  ///   version that is not known, steps in an order that makes no sense); Unsupported naming what a
  ///   toolkit's file asks for and is not computed here, or where a .yml is read in a build without
  ///   libyaml.
  static ImagePipeline load(const std::string& path, bool check_hashes = true);

  /// Takes the contents of a `preprocess.json`.
  /// \throws Error BadModel with what is wrong where.
  static ImagePipeline parse(const std::string& description);

  /// \returns float32 [C, H, W], or [H, W, C] where the steps have no ToCHW.
  /// \throws Error BadInput: not an image, smaller than the crop, too large after resizing, steps
  ///   beyond kMaxStepPixels, all of these before anything is computed; or without a digit to be
  ///   found. std::bad_alloc as any C++.
  Tensor operator()(const Image& image) const;
  Tensor operator()(const ImageView& image) const;

  /// The same up to Normalize: pixels of `channels()`, red first.
  /// \throws Error Unsupported too where the pipeline `pads()`.
  Image prepare(const Image& image) const;
  Image prepare(const ImageView& image) const;

  /// What comes after `prepare`, done by the predictor where it reads its input.
  /// \param pixels of N images, [N, height, width, channels]
  /// \returns for `Predictor::run`; refers to the pixels and to the pipeline or a copy of it.
  TensorView view(const std::uint8_t* pixels, Shape shape) const;

  /// Checks that the channels come where the model has them. It lets pass what the shape does not
  /// tell, such as open sizes, and another number of channels, which a run refuses.
  /// \param input the shape of the model's input, as `TensorSpec::shape`
  /// \param source the file of the description, for the message; may be empty
  /// \throws Error BadInput with both orders and the remedy.
  void require_layout(const Shape& input, const std::string& source = {}) const;

  /// Whether the values of a pixel stay side by side, [H, W, C]: the steps have no ToCHW.
  bool channels_last() const noexcept;

  /// Whether zeros are put behind the normalized values (the step Pad), which pixels do not have.
  bool pads() const noexcept;

  /// Channels of the result: 1 for mode "L", 3 for "RGB" and "BGR".
  std::int64_t channels() const noexcept;

  /// The bits that samples of 16-bit pictures have: 10, 12, 14 or 16.
  int depth() const noexcept;

  // The types of these are known inside this library only: steps that were read already, and a
  // file that is decoded while it is prepared.
  explicit ImagePipeline(Preparation preparation);
  Tensor operator()(EncodedImage& image) const;
  Image prepare(EncodedImage& image) const;

 private:
  struct State;

  void require_pixels() const;
  Image resized(const ImageView& image) const;
  Image resized(EncodedImage& image) const;
  Tensor to_tensor(const Image& image) const;

  std::shared_ptr<const State> state_;
};

}  // namespace lenet

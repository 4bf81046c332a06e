#include <algorithm>
#include <cmath>
#include <new>
#include <optional>
#include <utility>

#include "images/steps.h"
#include "io/printable.h"
#include "lenet/interruption.h"

namespace lenet {

PixelTable make_table(const Normalize& normalize, Mode mode) {
  PixelTable table;
  table.reversed = mode == Mode::Bgr;
  table.channels.resize(normalize.mean.size());
  for (std::size_t channel = 0; channel < normalize.mean.size(); ++channel) {
    for (std::size_t pixel = 0; pixel < 256; ++pixel) {
      // Statements of their own, and -ffp-contract=off: rounded after each, as NumPy does.
      float value = static_cast<float>(pixel) * normalize.scale;
      value = value - normalize.mean[channel];
      value = value / normalize.std[channel];
      table.channels[channel][pixel] = value;
      table.finite &= std::isfinite(value);
    }
  }
  return table;
}

struct ImagePipeline::State : Preparation {
  explicit State(Preparation preparation)
      : Preparation(std::move(preparation)), table(make_table(normalize, mode)) {
    table.channels_last = channels_last;
  }

  PixelTable table;
};

ImagePipeline::ImagePipeline(Preparation preparation)
    : state_(std::make_shared<State>(std::move(preparation))) {}

namespace {

/// \param tensor [channels, height, width], or [height, width, channels] where they come last; in
///   the upper left corner of the result
Tensor padded(const Tensor& tensor, const Pad& pad, bool channels_last) {
  const std::size_t rows = channels_last ? 0 : 1;
  const std::int64_t height = tensor.shape[rows];
  const std::int64_t width = tensor.shape[rows + 1];
  if (height > pad.height || width > pad.width) {
    throw Error(ErrorCode::BadInput, "cannot pad " + size_text(height, width) + " pixels to " +
                                         size_text(pad.height, pad.width) +
                                         ": resize the image first");
  }
  Tensor result;
  result.shape = tensor.shape;
  result.shape[rows] = pad.height;
  result.shape[rows + 1] = pad.width;
  result.data.resize(element_count(result.shape));
  const std::int64_t planes = channels_last ? 1 : tensor.shape[0];
  const std::int64_t values = channels_last ? tensor.shape[2] : 1;  // of a pixel
  const float* from = tensor.data.data();
  for (std::int64_t plane = 0; plane < planes; ++plane) {
    for (std::int64_t row = 0; row < height; ++row, from += width * values) {
      std::copy(from, from + width * values,
                result.data.data() + (plane * pad.height + row) * pad.width * values);
    }
  }
  return result;
}

/// \returns float32 [channels, height, width], or [height, width, channels] where they come last
Tensor values_of(const Image& image, const PixelTable& table) {
  Tensor tensor;
  read_values(
      {nullptr, {1, image.height, image.width, image.channels}, image.pixels.data(), &table},
      tensor);
  tensor.shape.erase(tensor.shape.begin());
  return tensor;
}

/// \throws Error BadInput: the number of its pixels does not match its size.
ImageView view_of(const Image& image) {
  const Shape shape = {image.height, image.width, image.channels};
  if (image.height < 1 || image.width < 1 || (image.channels != 1 && image.channels != 3) ||
      image.height > kMaxImagePixels / image.width || element_count(shape) != image.pixels.size()) {
    throw Error(ErrorCode::BadInput,
                "not an image: shape " + to_string(shape) + " and " +
                    std::to_string(image.pixels.size()) + " bytes; expected [H, W, 1] or " +
                    "[H, W, 3] of at most " + std::to_string(kMaxImagePixels) + " pixels");
  }
  return image;
}

/// Runs the steps from `at` on.
/// \param current the image, which may be that of `held`
/// \param held becomes the result, unless there is no step
void run_steps(const std::vector<ImageStep>& steps, std::size_t at, ImageView current,
               Image& held) {
  while (at < steps.size()) {
    check_interruption();
    const auto part = resize_at(steps, at, {current.height, current.width});
    if (part) {
      ImageRows rows(current);
      held = part->make(rows);
      at += part->steps();
    } else {
      held = run_step(steps[at++], current);
    }
    current = held;
  }
}

/// Rows that are converted as to_channels() does.
class ConvertedRows final : public Rows {
 public:
  ConvertedRows(Rows& rows, std::int64_t to) : Rows(rows.height, rows.width, to), rows_(rows) {}

  void keep(std::int64_t count) override { kept_.resize(static_cast<std::size_t>(count)); }

  const std::uint8_t* row(std::int64_t y) override {
    Converted& slot = kept_[static_cast<std::size_t>(y) % kept_.size()];
    if (std::exchange(slot.y, y) != y) {
      const PixelFormat format = rows_.channels == 1 ? PixelFormat::Grey : PixelFormat::Rgb;
      slot.image = to_channels({rows_.row(y), 1, width, 0, format}, channels);
    }
    return slot.image.pixels.data();
  }

 private:
  struct Converted {
    std::int64_t y = -1;
    Image image;
  };

  Rows& rows_;
  std::vector<Converted> kept_ = std::vector<Converted>(1);
};

/// Prepares pixels that have blue first.
ImageStep blue_first(ImageStep step) {
  auto* const crop = std::get_if<CenterCrop>(&step);
  if (crop != nullptr) std::reverse(crop->fill.begin(), crop->fill.end());
  return step;
}

}  // namespace

Image ImagePipeline::prepare(const Image& image) const { return prepare(view_of(image)); }

Image ImagePipeline::prepare(const ImageView& image) const {
  require_pixels();
  return resized(image);
}

Image ImagePipeline::prepare(EncodedImage& image) const {
  require_pixels();
  return resized(image);
}

void ImagePipeline::require_pixels() const {
  if (!pads()) return;
  throw Error(ErrorCode::Unsupported,
              "this preprocessing pads the normalized values with zeros, which pixels do not "
              "have: give the model its tensor, as lenet_classify and Python make it");
}

Image ImagePipeline::resized(const ImageView& image) const {
  ImageView current = image;
  const auto pixel_bytes = static_cast<std::size_t>(image.channels());
  const bool knows_format = image.format >= PixelFormat::Grey && image.format <= PixelFormat::Bgra;
  const bool sound = image.pixels != nullptr && image.height >= 1 && image.width >= 1 &&
                     image.height <= kMaxImagePixels / image.width && knows_format;
  const std::size_t least = sound ? static_cast<std::size_t>(image.width) * pixel_bytes : 0;
  if (image.row_bytes == 0) current.row_bytes = least;
  if (!sound || current.row_bytes < least) {
    const char* const wrong = image.pixels == nullptr ? "pixels is null"
                              : !knows_format         ? "of an unknown format"
                              : !sound                ? "of a size that is not allowed"
                                                      : "in rows that do not hold it";
    throw Error(ErrorCode::BadInput,
                print("not an image, %s: %s pixels, rows of %zu bytes, format %d; expected at most "
                      "%lld pixels",
                      wrong, size_text(image.height, image.width).c_str(), current.row_bytes,
                      static_cast<int>(image.format), static_cast<long long>(kMaxImagePixels)));
  }
  require_steps(state_->image_steps, {image.height, image.width});
  // Blue stays first until the image is small: of the steps only a fill has an order.
  const bool reversed = image.format == PixelFormat::Bgr || image.format == PixelFormat::Bgra;
  Image held;
  if (pixel_bytes == 4) {
    held = opaque(copy_of(current));
    current = held;
    if (reversed) current.format = PixelFormat::Bgr;
  }
  if (current.channels() != channels()) {
    held = to_channels(current, channels());
    current = held;
  }
  std::vector<ImageStep> steps = state_->image_steps;
  if (reversed) std::transform(steps.begin(), steps.end(), steps.begin(), blue_first);
  run_steps(steps, 0, current, held);
  if (held.pixels.empty()) held = copy_of(current);
  if (reversed && channels() == 3) {
    for (std::size_t i = 0; i < held.pixels.size(); i += 3) {
      std::swap(held.pixels[i], held.pixels[i + 2]);
    }
  }
  return held;
}

Image ImagePipeline::resized(EncodedImage& image) const try {
  const std::vector<ImageStep>& steps = state_->image_steps;
  const Extent extent{image.height, image.width};
  require_steps(steps, upright(extent, image.turn));
  const auto part = resize_at(steps, 0, extent, image.turn);
  if (!part || !takes_rows_in_order(image.width, part->scaling, part->region)) {
    return resized(image.whole());
  }
  image.need(columns_read(image.width, part->scaling, part->region));
  Image made;
  if (image.channels == channels()) {
    made = part->make(image);
  } else {
    ConvertedRows converted(image, channels());
    made = part->make(converted);
  }
  image.finish();
  run_steps(steps, part->steps(), made, made);
  return made;
} catch (const std::bad_alloc&) {
  throw Error(ErrorCode::BackendFailure, "not enough memory to decode and prepare an image");
}

TensorView ImagePipeline::view(const std::uint8_t* pixels, Shape shape) const {
  return {nullptr, std::move(shape), pixels, &state_->table};
}

Tensor ImagePipeline::operator()(const Image& image) const { return (*this)(view_of(image)); }
Tensor ImagePipeline::operator()(const ImageView& image) const { return to_tensor(resized(image)); }
Tensor ImagePipeline::operator()(EncodedImage& image) const { return to_tensor(resized(image)); }

Tensor ImagePipeline::to_tensor(const Image& image) const {
  Tensor tensor = values_of(image, state_->table);
  return pads() ? padded(tensor, state_->pad, channels_last()) : tensor;
}

void ImagePipeline::require_layout(const Shape& input, const std::string& source) const {
  lenet::require_layout(state_->table, input,
                        source.empty() ? "the preprocessing" : "'" + printable(source) + "'");
}

bool ImagePipeline::channels_last() const noexcept { return state_->channels_last; }

bool ImagePipeline::pads() const noexcept { return state_->pad.height > 0; }

int ImagePipeline::depth() const noexcept { return state_->depth; }

std::int64_t ImagePipeline::channels() const noexcept { return channels_of(state_->mode); }

}  // namespace lenet

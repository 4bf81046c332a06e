#include "images/steps.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "io/printable.h"
#include "lenet/interruption.h"

namespace lenet {
namespace {

/// Height and width, in pixels.
struct Extent {
  std::int64_t height;
  std::int64_t width;
};

constexpr double kMaxSide = static_cast<double>(kMaxImagePixels) + 1;  // over the limit

std::int64_t pixels_of(const Extent& extent) { return extent.height * extent.width; }

// What each step makes of an image of this size, or an error: known before any of its pixels is.

Extent extent_after(const Resize& step, const Extent& image) {
  Extent result{step.height, step.width};
  if (step.short_side > 0) {
    const std::int64_t shorter = std::min(image.height, image.width);
    const std::int64_t longer = std::max(image.height, image.width);
    // As paddle.vision's int(longer * short_side / shorter), where the product is exact, and
    // PaddleClas's round(longer * (short_side / shorter)).
    const auto scaled = static_cast<std::int64_t>(
        step.rounding == Rounding::Down
            ? static_cast<double>(longer * step.short_side) / static_cast<double>(shorter)
            : std::nearbyint(static_cast<double>(longer) * (static_cast<double>(step.short_side) /
                                                            static_cast<double>(shorter))));
    result = image.height <= image.width ? Extent{step.short_side, scaled}
                                         : Extent{scaled, step.short_side};
  } else if (step.fit == Fit::Height) {
    // As PaddleOCR: ceil(height * (w / h)).
    const double ratio = static_cast<double>(image.width) / static_cast<double>(image.height);
    const double width = std::ceil(static_cast<double>(step.height) * ratio);
    result.width = static_cast<std::int64_t>(std::min(width, static_cast<double>(step.width)));
  } else if (step.fit != Fit::Fill) {
    // As timm's ResizeKeepRatio: round(side / ratio), half to even.
    const auto ratio_of = [](std::int64_t old, std::int64_t side) {
      return static_cast<double>(old) / static_cast<double>(side);
    };
    const auto [least, most] =
        std::minmax({ratio_of(image.height, step.height), ratio_of(image.width, step.width)});
    const double ratio = step.fit == Fit::Inside ? most : least;
    const auto scaled = [&](std::int64_t old) {
      const double side = std::nearbyint(static_cast<double>(old) / ratio);
      return static_cast<std::int64_t>(std::clamp(side, 1.0, kMaxSide));
    };
    result = {scaled(image.height), scaled(image.width)};
  }
  require_resized_pixels(image.height, image.width, result.height, result.width);
  return result;
}

Extent extent_after(const CenterCrop& step, const Extent& image) {
  const bool smaller = image.height < step.height || image.width < step.width;
  if (smaller && step.fill.empty()) {
    throw Error(ErrorCode::BadInput, "cannot crop " + size_text(step.height, step.width) +
                                         " pixels from " + size_text(image.height, image.width) +
                                         ": resize the image first");
  }
  return {step.height, step.width};
}

Extent extent_after(const CropShare& step, const Extent& image) {
  const auto shorter = static_cast<double>(std::min(image.height, image.width));
  const auto part = [&](double share) {
    return std::max<std::int64_t>(static_cast<std::int64_t>(share * shorter), 1);
  };
  return {part(step.height), part(step.width)};
}

Extent extent_after(const Digit& step, const Extent& /*image*/) { return {step.size, step.size}; }

/// \throws Error BadInput, as a step does, or beyond kMaxStepPixels: before anything is computed.
void require_steps(const std::vector<ImageStep>& steps, Extent extent) {
  const std::string from = size_text(extent.height, extent.width);
  std::int64_t work = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Extent before = extent;
    extent = std::visit([&](const auto& step) { return extent_after(step, before); }, steps[i]);
    work += pixels_of(before) + pixels_of(extent);
    if (work <= kMaxStepPixels) continue;
    throw Error(ErrorCode::BadInput,
                "the first " + std::to_string(i + 1) +
                    " steps of the preprocessing read and write " + std::to_string(work) +
                    " pixels for an image of " + from + ", over the limit of " +
                    std::to_string(kMaxStepPixels) +
                    ": give it fewer or smaller steps, or scale the image down");
  }
}

Image apply_step(const Resize& step, const ImageView& image) {
  const Extent to = extent_after(step, {image.height, image.width});
  return resize(image, to.height, to.width, step.interpolation, step.library);
}

std::int64_t half(std::int64_t difference, Rounding rounding) {
  const std::int64_t lower = difference / 2;
  const bool up = rounding == Rounding::HalfEven && difference % 2 == 1 && lower % 2 == 1;
  return up ? lower + 1 : lower;
}

/// The rows or columns that a crop takes of an image, and the border before them.
struct Taken {
  Taken(std::int64_t image, std::int64_t crop, const CenterCrop& step)
      : count(std::min(image, crop)) {
    if (image >= crop) {
      first = half(image - crop, step.rounding);
    } else {
      border = (crop - image + (step.border == Border::Before ? 1 : 0)) / 2;
    }
  }

  std::int64_t first = 0;
  std::int64_t count;
  std::int64_t border = 0;
};

/// The image in the middle of a larger one of one colour.
Image bordered(const Image& image, const CenterCrop& step, std::int64_t top, std::int64_t left) {
  Image result = empty_image(step.height, step.width, image.channels);
  for (std::int64_t i = 0; i < step.height * step.width; ++i) {
    result.pixels.insert(result.pixels.end(), step.fill.begin(), step.fill.end());
  }
  const auto row_bytes = image.width * image.channels;
  for (std::int64_t row = 0; row < image.height; ++row) {
    const auto begin = image.pixels.begin() + row * row_bytes;
    std::copy(begin, begin + row_bytes,
              result.pixels.begin() + ((top + row) * step.width + left) * image.channels);
  }
  return result;
}

Image apply_step(const CenterCrop& step, const ImageView& image) {
  extent_after(step, {image.height, image.width});
  const Taken rows(image.height, step.height, step);
  const Taken columns(image.width, step.width, step);
  Image middle = copy_of({row_of(image, rows.first) + columns.first * image.channels(), rows.count,
                          columns.count, image.row_bytes, image.format});
  const bool whole = rows.count == step.height && columns.count == step.width;
  return whole ? middle : bordered(middle, step, rows.border, columns.border);
}

Image apply_step(const CropShare& step, const ImageView& image) {
  const Extent to = extent_after(step, {image.height, image.width});
  return apply_step(CenterCrop{to.height, to.width, Rounding::Down}, image);
}

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

Image apply_step(const Digit& step, const ImageView& image) { return find_digit(step, image); }

constexpr unsigned kAlmostWhite = 240;  // as in python/lenet_cpp/data/images/reading.py

Image over(unsigned background, const Image& image) {
  Image result = empty_image(image.height, image.width, image.channels - 1);
  for (auto pixel = image.pixels.cbegin(); pixel != image.pixels.cend(); pixel += image.channels) {
    const unsigned alpha = pixel[result.channels];
    for (std::int64_t i = 0; i < result.channels; ++i) {
      result.pixels.push_back(divide_by_255(pixel[i] * alpha + background * (255U - alpha)));
    }
  }
  return result;
}

/// Whether something is drawn, and more than half is transparent.
bool is_mostly_transparent(const Image& image) {
  std::uint64_t alphas = 0;
  const auto step = static_cast<std::size_t>(image.channels);
  for (std::size_t i = step - 1; i < image.pixels.size(); i += step) alphas += image.pixels[i];
  return alphas > 0 && 2 * alphas < 255 * (image.pixels.size() / step);
}

}  // namespace

std::int64_t channels_of(Mode mode) { return mode == Mode::Grey ? 1 : 3; }

Image copy_of(const ImageView& image) {
  Image result = empty_image(image.height, image.width, image.channels());
  for (std::int64_t row = 0; row < image.height; ++row) {
    const std::uint8_t* begin = row_of(image, row);
    result.pixels.insert(result.pixels.end(), begin, begin + image.width * result.channels);
  }
  return result;
}

Image to_channels(const ImageView& image, std::int64_t channels) {
  Image result = empty_image(image.height, image.width, channels);
  const std::size_t red = image.format == PixelFormat::Bgr ? 2 : 0;
  for (std::int64_t row = 0; row < image.height; ++row) {
    const std::uint8_t* pixel = row_of(image, row);
    for (std::int64_t x = 0; x < image.width; ++x, pixel += image.channels()) {
      if (channels == 3) {
        result.pixels.insert(result.pixels.end(), 3, *pixel);
      } else {
        const unsigned sum =
            19595U * pixel[red] + 38470U * pixel[1] + 7471U * pixel[2 - red] + 32768U;
        result.pixels.push_back(static_cast<std::uint8_t>(sum >> 16));
      }
    }
  }
  return result;
}

Image opaque(Image image) {
  if (image.channels % 2 == 1) return image;
  Image result = over(255, image);
  // What is drawn in almost white, such as a digit on a transparent canvas, would be lost.
  if (*std::min_element(result.pixels.begin(), result.pixels.end()) >= kAlmostWhite &&
      is_mostly_transparent(image)) {
    result = over(0, image);
  }
  return result;
}

Image run_step(const ImageStep& step, const ImageView& image) {
  return std::visit([&](const auto& one) { return apply_step(one, image); }, step);
}

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

// ---- the pipeline

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

/// Prepares pixels that have blue first.
ImageStep blue_first(ImageStep step) {
  auto* const crop = std::get_if<CenterCrop>(&step);
  if (crop != nullptr) std::reverse(crop->fill.begin(), crop->fill.end());
  return step;
}

}  // namespace

Image ImagePipeline::prepare(const Image& image) const { return prepare(view_of(image)); }

Image ImagePipeline::prepare(const ImageView& image) const {
  if (pads()) {
    throw Error(ErrorCode::Unsupported,
                "this preprocessing pads the normalized values with zeros, which pixels do not "
                "have: give the model its tensor, as lenet_classify and Python make it");
  }
  return resized(image);
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
  const auto hold = [&](Image made) {
    held = std::move(made);
    current = held;
  };
  if (pixel_bytes == 4) {
    hold(opaque(copy_of(current)));
    if (reversed) current.format = PixelFormat::Bgr;
  }
  const bool converts = current.channels() != channels();
  if (converts) hold(to_channels(current, channels()));
  for (const ImageStep& step : state_->image_steps) {
    check_interruption();
    hold(run_step(reversed ? blue_first(step) : step, current));
  }
  if (held.pixels.empty()) hold(copy_of(current));
  if (reversed && channels() == 3) {
    for (std::size_t i = 0; i < held.pixels.size(); i += 3) {
      std::swap(held.pixels[i], held.pixels[i + 2]);
    }
  }
  return held;
}

TensorView ImagePipeline::view(const std::uint8_t* pixels, Shape shape) const {
  return {nullptr, std::move(shape), pixels, &state_->table};
}

Tensor ImagePipeline::operator()(const Image& image) const { return (*this)(view_of(image)); }
Tensor ImagePipeline::operator()(const ImageView& image) const {
  Tensor tensor = values_of(resized(image), state_->table);
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

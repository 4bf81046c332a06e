#include "images/steps.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <optional>
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

Scaling scaling_of(const Resize& step, const Extent& image) {
  const Extent to = extent_after(step, image);
  return {to.height, to.width, step.interpolation, step.library};
}

Image apply_step(const Resize& step, const ImageView& image) {
  return resize(image, scaling_of(step, {image.height, image.width}));
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

/// Which part of a resized image is computed: what a crop cuts off is not.
struct ResizedPart {
  ResizedPart(const Scaling& to, const std::optional<CenterCrop>& step)
      : scaling(to), region{0, 0, to.height, to.width}, crop(step) {
    if (!crop) return;
    extent_after(*crop, {to.height, to.width});
    const Taken rows(to.height, crop->height, *crop);
    const Taken columns(to.width, crop->width, *crop);
    region = {rows.first, columns.first, rows.count, columns.count};
    top_border = rows.border;
    left_border = columns.border;
  }

  Image make(Rows& rows) const {
    Image middle = resize(rows, scaling, region);
    const bool has_border = crop && (region.height != crop->height || region.width != crop->width);
    return has_border ? bordered(middle, *crop, top_border, left_border) : middle;
  }

  /// How many of the steps it is.
  std::size_t steps() const noexcept { return crop ? 2 : 1; }

  Scaling scaling;
  Region region;
  std::optional<CenterCrop> crop;
  std::int64_t top_border = 0;
  std::int64_t left_border = 0;
};

Image apply_step(const CenterCrop& step, const ImageView& image) {
  ImageRows rows(image);
  return ResizedPart({image.height, image.width, Interpolation::Nearest}, step).make(rows);
}

CenterCrop crop_of(const CropShare& step, const Extent& image) {
  const Extent to = extent_after(step, image);
  return {to.height, to.width, Rounding::Down};
}

Image apply_step(const CropShare& step, const ImageView& image) {
  return apply_step(crop_of(step, {image.height, image.width}), image);
}

/// The crop that a step is for an image of this size; nothing where it is another step.
std::optional<CenterCrop> crop_of(const ImageStep& step, const Extent& image) {
  if (const auto* crop = std::get_if<CenterCrop>(&step)) return *crop;
  if (const auto* share = std::get_if<CropShare>(&step)) return crop_of(*share, image);
  return std::nullopt;
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

Image copy_of(Rows& rows, const Region& region) {
  Image result = empty_image(region.height, region.width, rows.channels);
  for (std::int64_t row = 0; row < region.height; ++row) {
    const std::uint8_t* const begin = rows.row(region.top + row) + region.left * result.channels;
    result.pixels.insert(result.pixels.end(), begin, begin + region.width * result.channels);
  }
  return result;
}

Image copy_of(const ImageView& image) {
  ImageRows rows(image);
  return copy_of(rows, {0, 0, image.height, image.width});
}

Image to_channels(const ImageView& image, std::int64_t channels) {
  Image result = filled_image(image.height, image.width, channels);
  std::uint8_t* to = result.pixels.data();
  const std::size_t red = image.format == PixelFormat::Bgr ? 2 : 0;
  for (std::int64_t row = 0; row < image.height; ++row) {
    const std::uint8_t* pixel = row_of(image, row);
    for (std::int64_t x = 0; x < image.width; ++x, pixel += image.channels()) {
      if (channels == 3) {
        to = std::fill_n(to, 3, *pixel);
      } else {
        const unsigned sum =
            19595U * pixel[red] + 38470U * pixel[1] + 7471U * pixel[2 - red] + 32768U;
        *to++ = static_cast<std::uint8_t>(sum >> 16);
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

/// The resize that begins at a step, with the crop behind it; nothing where it is another step.
std::optional<ResizedPart> first_part(const std::vector<ImageStep>& steps, std::size_t at,
                                      const Extent& image) {
  const auto* const step = at < steps.size() ? std::get_if<Resize>(&steps[at]) : nullptr;
  if (step == nullptr) return std::nullopt;
  const Scaling scaling = scaling_of(*step, image);
  if (at + 1 == steps.size()) return ResizedPart(scaling, std::nullopt);
  return ResizedPart(scaling, crop_of(steps[at + 1], {scaling.height, scaling.width}));
}

/// Runs the steps from `at` on.
/// \param current the image, which may be that of `held`
/// \param held becomes the result, unless there is no step
void run_steps(const std::vector<ImageStep>& steps, std::size_t at, ImageView current,
               Image& held) {
  while (at < steps.size()) {
    check_interruption();
    const auto part = first_part(steps, at, {current.height, current.width});
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
  require_steps(steps, {image.height, image.width});
  const auto part = first_part(steps, 0, {image.height, image.width});
  if (!part || !takes_rows_in_order(image.width, part->scaling, part->region)) {
    return resized(image.whole());
  }
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

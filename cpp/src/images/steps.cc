#include "images/steps.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace lenet {
namespace {

Image apply_step(const Resize& step, const Image& image) {
  std::int64_t height = step.height;
  std::int64_t width = step.width;
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
    height = image.height <= image.width ? step.short_side : scaled;
    width = image.height <= image.width ? scaled : step.short_side;
  }
  return resize(image, height, width, step.interpolation, step.library);
}

std::int64_t half(std::int64_t difference, Rounding rounding) {
  const std::int64_t lower = difference / 2;
  const bool up = rounding == Rounding::HalfEven && difference % 2 == 1 && lower % 2 == 1;
  return up ? lower + 1 : lower;
}

Image apply_step(const CenterCrop& step, const Image& image) {
  if (image.height < step.height || image.width < step.width) {
    throw Error(ErrorCode::BadInput, "cannot crop " + size_text(step.height, step.width) +
                                         " pixels from " + size_text(image.height, image.width) +
                                         ": resize the image first");
  }
  const std::int64_t top = half(image.height - step.height, step.rounding);
  const std::int64_t left = half(image.width - step.width, step.rounding);
  Image result = empty_image(step.height, step.width, image.channels);
  for (std::int64_t row = top; row < top + step.height; ++row) {
    const auto begin = image.pixels.begin() + (row * image.width + left) * image.channels;
    result.pixels.insert(result.pixels.end(), begin, begin + step.width * image.channels);
  }
  return result;
}

Image apply_step(const Digit& step, const Image& image) { return find_digit(step, image); }

}  // namespace

std::int64_t channels_of(Mode mode) { return mode == Mode::Grey ? 1 : 3; }

Image to_channels(const Image& image, std::int64_t channels) {
  if (image.channels == channels) return image;
  Image result = empty_image(image.height, image.width, channels);
  if (channels == 3) {
    for (const std::uint8_t grey : image.pixels) result.pixels.insert(result.pixels.end(), 3, grey);
    return result;
  }
  for (auto pixel = image.pixels.cbegin(); pixel != image.pixels.cend(); pixel += 3) {
    const unsigned sum = 19595U * pixel[0] + 38470U * pixel[1] + 7471U * pixel[2] + 32768U;
    result.pixels.push_back(static_cast<std::uint8_t>(sum >> 16));
  }
  return result;
}

Image run_step(const ImageStep& step, const Image& image) {
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
      : Preparation(std::move(preparation)), table(make_table(normalize, mode)) {}

  PixelTable table;
};

ImagePipeline::ImagePipeline(Preparation preparation)
    : state_(std::make_shared<State>(std::move(preparation))) {}

Image ImagePipeline::prepare(const Image& image) const {
  const Shape shape = {image.height, image.width, image.channels};
  if (image.height < 1 || image.width < 1 || (image.channels != 1 && image.channels != 3) ||
      image.height > kMaxImagePixels / image.width || element_count(shape) != image.pixels.size()) {
    throw Error(ErrorCode::BadInput,
                "not an image: shape " + to_string(shape) + " and " +
                    std::to_string(image.pixels.size()) + " bytes; expected [H, W, 1] or " +
                    "[H, W, 3] of at most " + std::to_string(kMaxImagePixels) + " pixels");
  }
  Image current = to_channels(image, channels());
  for (const ImageStep& step : state_->image_steps) current = run_step(step, current);
  return current;
}

TensorView ImagePipeline::view(const std::uint8_t* pixels, Shape shape) const {
  return {nullptr, std::move(shape), pixels, &state_->table};
}

Tensor ImagePipeline::operator()(const Image& image) const {
  const Image prepared = prepare(image);
  Tensor tensor;
  read_values(view(prepared.pixels.data(), {1, prepared.height, prepared.width, channels()}),
              tensor);
  tensor.shape.erase(tensor.shape.begin());
  return tensor;
}

std::int64_t ImagePipeline::channels() const noexcept { return channels_of(state_->mode); }

}  // namespace lenet

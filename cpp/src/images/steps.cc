#include "images/steps.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "io/printable.h"

namespace lenet {
namespace {

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

}  // namespace

ResizedPart::ResizedPart(const Scaling& to, const std::optional<CenterCrop>& step, const Turn& turn)
    : scaling(before(turn, to)), region{0, 0, scaling.height, scaling.width}, crop(step) {
  if (!crop) return;
  extent_after(*crop, {to.height, to.width});
  const Taken rows(to.height, crop->height, *crop);
  const Taken columns(to.width, crop->width, *crop);
  region = before(turn, {rows.first, columns.first, rows.count, columns.count},
                  {scaling.height, scaling.width});
  top_border = rows.border;
  left_border = columns.border;
}

Image ResizedPart::make(Rows& rows) const {
  Image middle = upright(resize(rows, scaling, region), scaling.turn);
  const bool has_border = crop && (middle.height != crop->height || middle.width != crop->width);
  return has_border ? bordered(middle, *crop, top_border, left_border) : middle;
}

namespace {

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

Image apply_step(const Digit& step, const ImageView& image) { return find_digit(step, image); }

}  // namespace

std::int64_t channels_of(Mode mode) { return mode == Mode::Grey ? 1 : 3; }

Image run_step(const ImageStep& step, const ImageView& image) {
  return std::visit([&](const auto& one) { return apply_step(one, image); }, step);
}

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

std::optional<ResizedPart> resize_at(const std::vector<ImageStep>& steps, std::size_t at,
                                     const Extent& image, const Turn& turn) {
  const auto* const step = at < steps.size() ? std::get_if<Resize>(&steps[at]) : nullptr;
  if (step == nullptr) return std::nullopt;
  const Scaling scaling = scaling_of(*step, upright(image, turn));
  if (at + 1 == steps.size()) return ResizedPart(scaling, std::nullopt, turn);
  return ResizedPart(scaling, crop_of(steps[at + 1], {scaling.height, scaling.width}), turn);
}

}  // namespace lenet

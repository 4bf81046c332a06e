#include <algorithm>
#include <string>
#include <variant>

#include "description/description.h"
#include "support.h"
#include "targets.h"

namespace lenet::fuzz {
namespace {

constexpr std::int64_t kSmall = 64;

bool is_small(const Resize& step) {
  return std::max({step.short_side, step.height, step.width}) <= kSmall;
}
bool is_small(const CenterCrop& step) { return std::max(step.height, step.width) <= kSmall; }
bool is_small(const CropShare& /*step*/) { return true; }
bool is_small(const Digit& step) { return step.size <= kSmall; }

/// An image whose pixels are all different.
Image gradient(std::int64_t channels) {
  Image image{{}, 9, 7, channels};
  for (int i = 0; i < 9 * 7 * channels; ++i) image.pixels.push_back(static_cast<std::uint8_t>(i));
  return image;
}

}  // namespace

void preprocess(std::string_view bytes) {
  Preparation description;
  const bool accepted = accepts({ErrorCode::BadModel}, [&] {
    description = parse_description(std::string(bytes), "preprocess.json").images;
    require(description.image_steps.size() <= bytes.size(), "no more steps than bytes");
  });
  if (!accepted) return;
  const std::int64_t channels = channels_of(description.mode);
  const auto& steps = description.image_steps;
  // A step can ask for a large image; it is not this reader's to refuse it.
  const auto small = [](const ImageStep& step) {
    return std::visit([](const auto& one) { return is_small(one); }, step);
  };
  if (steps.size() > 8 || !std::all_of(steps.begin(), steps.end(), small)) return;
  accepts({ErrorCode::BadInput, ErrorCode::Unsupported}, [&] {
    Image image = gradient(channels);
    for (const ImageStep& step : steps) image = run_step(step, image);
    const PixelTable table = make_table(description.normalize, description.mode);
    require(table.channels.size() == static_cast<std::size_t>(channels), "values for each channel");
    require(image.pixels.size() == element_count({image.height, image.width, channels}),
            "as many pixels as the size says");
  });
}

}  // namespace lenet::fuzz

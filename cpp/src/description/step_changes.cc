#include "description/step_changes.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <utility>

#include "io/json.h"
#include "lenet/error.h"
#include "lenet/image_pipeline.h"

namespace lenet {
namespace {

using nlohmann::json;

constexpr std::size_t kMostChannels = 3;
constexpr std::string_view kOf255 = "/255";
constexpr const char* kNone = "none";

[[noreturn]] void refuse(const std::string& shown, const std::string& text,
                         const std::string& expected) {
  throw Error(ErrorCode::BadInput, shown + " is '" + text + "'; expected " + expected);
}

/// Splits at commas.
std::vector<std::string> parts_of(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

/// \param least of a value for pixels from 0 to 1, whose greatest is 1
StepChanges::Values parse_values(const std::string& shown, const std::string& text, double least) {
  StepChanges::Values values;
  std::string_view list = text;
  if (list.size() > kOf255.size() && list.substr(list.size() - kOf255.size()) == kOf255) {
    values.of_255 = true;
    list.remove_suffix(kOf255.size());
  }
  const double unit = values.of_255 ? 255 : 1;
  bool is_valid = true;
  for (const std::string& part : parts_of(list)) {
    double number = 0;
    const char* const last = part.data() + part.size();
    const auto [end, error] = std::from_chars(part.data(), last, number);
    is_valid =
        is_valid && error == std::errc() && end == last && number >= least * unit && number <= unit;
    values.numbers.push_back(number);
  }
  if (is_valid && values.numbers.size() <= kMostChannels) return values;
  refuse(shown, text,
         "a number for each channel, or one for all, for pixels from 0 to 1, such as "
         "0.485,0.456,0.406; end numbers for pixels from 0 to 255 with /255, such as "
         "123.675,116.28,103.53/255" +
             std::string(least > 0 ? "; a standard deviation is above 0" : ""));
}

StepChanges::Size parse_size(const std::string& shown, const std::string& text, bool is_resize) {
  if (text == kNone) return {};
  std::vector<std::int64_t> sides;
  for (const std::string& part : parts_of(text)) {
    const bool is_number = !part.empty() && part.size() <= 9 &&
                           part.find_first_not_of("0123456789") == std::string::npos;
    sides.push_back(is_number ? std::strtoll(part.c_str(), nullptr, 10) : 0);
  }
  const bool is_positive =
      std::all_of(sides.begin(), sides.end(), [](std::int64_t side) { return side > 0; });
  if (sides.size() == 1 && !is_resize) sides.push_back(sides[0]);
  const bool is_small = sides[0] <= kMaxImagePixels / std::max<std::int64_t>(sides.back(), 1) ||
                        (sides.size() == 1 && sides[0] <= kMaxImagePixels);
  if (!is_positive || sides.size() > 2 || !is_small) {
    refuse(shown, text,
           std::string(is_resize ? "the length of the shorter side" : "the side of a square") +
               " in pixels, HEIGHT,WIDTH or none, of at most " + std::to_string(kMaxImagePixels) +
               " pixels");
  }
  return {sides[0], sides.size() == 2 ? sides[1] : 0};
}

void set_mean(StepChanges& changes, const std::string& shown, const std::string& text) {
  changes.mean = parse_values(shown, text, -1);
}

void set_std(StepChanges& changes, const std::string& shown, const std::string& text) {
  constexpr double kLeast = 1e-6;
  changes.std = parse_values(shown, text, kLeast);
}

void set_resize(StepChanges& changes, const std::string& shown, const std::string& text) {
  changes.resize = parse_size(shown, text, true);
}

void set_crop(StepChanges& changes, const std::string& shown, const std::string& text) {
  changes.crop = parse_size(shown, text, false);
}

void set_library(StepChanges& changes, const std::string& shown, const std::string& text) {
  if (text != "pillow" && text != "opencv") refuse(shown, text, "pillow or opencv");
  changes.library = text;
}

/// Removes the steps of these types.
/// \returns the first of them that has the first of the types, or null
json take_out(json& steps, const std::vector<std::string>& types) {
  json found;
  json left = json::array();
  for (json& step : steps) {
    const std::string type = step["type"];
    if (std::find(types.begin(), types.end(), type) == types.end()) {
      left.push_back(std::move(step));
    } else if (found.is_null() && type == types[0]) {
      found = std::move(step);
    }
  }
  steps = std::move(left);
  return found;
}

void change_resize(json& steps, const StepChanges::Size& size) {
  json resize = take_out(steps, {"Resize", "Digit"});
  if (size.height == 0) return;
  if (resize.is_null()) resize = {{"type", "Resize"}, {"interpolation", "bilinear"}};
  for (const char* name : {"short_side", "size", "fit"}) resize.erase(name);
  if (size.width == 0) {
    resize["short_side"] = size.height;
  } else {
    resize["size"] = {size.height, size.width};
  }
  steps.insert(steps.begin(), std::move(resize));
}

void change_crop(json& steps, const StepChanges::Size& size) {
  json crop = take_out(steps, {"CenterCrop"});
  if (size.height == 0) return;
  if (crop.is_null()) crop = {{"type", "CenterCrop"}};
  crop.erase("share");
  crop["size"] = {size.height, size.width};
  const auto normalize = std::find_if(steps.begin(), steps.end(),
                                      [](const json& step) { return step["type"] == "Normalize"; });
  steps.insert(normalize, std::move(crop));
}

/// Resizes and rounds as torchvision or as PaddleClas.
void change_library(json& steps, const std::string& library) {
  const bool is_opencv = library == "opencv";
  bool has_effect = false;
  for (json& step : steps) {
    const bool is_resize = step["type"] == "Resize";
    if (!is_resize && (step["type"] != "CenterCrop" || !step.contains("size"))) continue;
    has_effect = true;
    step.erase("library");
    step.erase("rounding");
    if (is_resize && is_opencv) step["library"] = library;
    if (is_opencv) step["rounding"] = is_resize ? "half_even" : "down";
    const std::string filter = is_resize ? step["interpolation"].get<std::string>() : "";
    if (filter == (is_opencv ? "lanczos" : "area")) {
      throw Error(ErrorCode::BadInput, "library: " + library + " does not have the filter " +
                                           filter +
                                           " of the description; write the steps into a "
                                           "file for --preprocess");
    }
  }
  if (!has_effect) {
    throw Error(
        ErrorCode::BadInput,
        "library: the images are neither resized nor cropped, so it has no effect; leave it "
        "out");
  }
}

void change_values(json& normalize, const StepChanges& changes) {
  const double scale = normalize["scale"];
  const std::size_t channels = normalize["mean"].size();
  const bool has_both = changes.mean && changes.std;
  if (scale < 0 && !has_both) {
    throw Error(ErrorCode::BadInput,
                "mean, std: the scale of the description is below 0; give both of them");
  }
  const auto is_other = [](const std::optional<StepChanges::Values>& given) {
    return given && !given->of_255;
  };
  const bool is_255 = !is_other(changes.mean) && !is_other(changes.std) && (has_both || scale == 1);
  const double white = is_255 ? 255 : 1;  // the value of a white pixel after the scale
  const auto change = [&](const char* name, const std::optional<StepChanges::Values>& given) {
    std::vector<double> values = normalize[name];
    double factor = white / (255 * scale);
    if (given) {
      values = given->numbers;
      if (values.size() != 1 && values.size() != channels) {
        throw Error(ErrorCode::BadInput,
                    std::string(name) + ": " + std::to_string(values.size()) +
                        " numbers for images of " + std::to_string(channels) +
                        (channels == 1 ? " channel" : " channels") + "; give " +
                        (channels == 1 ? "1" : "1 or " + std::to_string(channels)));
      }
      values.resize(channels, values[0]);
      factor = white / (given->of_255 ? 255 : 1);
    }
    for (double& value : values) value *= factor;
    normalize[name] = values;
  };
  change("mean", changes.mean);
  change("std", changes.std);
  normalize["scale"] = is_255 ? 1.0 : 1.0 / 255;
}

}  // namespace

const std::array<StepOption, 5> kStepOptions = {{
    {"mean", "V,...",
     "mean of the channels that is subtracted, for pixels from 0 to 1, such as 0.485,0.456,0.406; "
     "for pixels from 0 to 255 end it with /255: 123.675,116.28,103.53/255. A single number is for "
     "all channels (default: that of the description). --resize, --crop and --library change the "
     "other steps",
     set_mean},
    {"std", "V,...",
     "standard deviation of the channels, by which the result is divided, in the same form as "
     "--mean (default: that of the description)",
     set_std},
    {"resize", "N|H,W|none",
     "resize the shorter side to N pixels, or the image to height H and width W, or not at all "
     "(default: as the description says)",
     set_resize},
    {"crop", "N|H,W|none",
     "crop the middle: a square of N pixels, or height H and width W, or do not crop (default: as "
     "the description says)",
     set_crop},
    {"library", "pillow|opencv",
     "resize and round as torchvision does with Pillow, or as PaddleClas does with OpenCV "
     "(default: "
     "as the description says)",
     set_library},
}};

std::string list_of(const StepChanges& changes) {
  std::vector<std::string> names;
  const auto add = [&](const char* name, const std::optional<StepChanges::Values>& given) {
    if (!given) return;
    const char* const most = given->of_255 ? "255" : "1";
    names.push_back(std::string(name) + " (for pixels from 0 to " + most + ")");
  };
  add("mean", changes.mean);
  add("std", changes.std);
  if (changes.resize) names.emplace_back("resize");
  if (changes.crop) names.emplace_back("crop");
  if (!changes.library.empty()) names.emplace_back("library");
  std::string list;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const bool is_last = i + 1 == names.size();
    list += (i == 0 ? "" : is_last ? " and " : ", ") + names[i];
  }
  return list;
}

/// \throws Error BadInput when the given resize leaves fewer pixels than the given crop takes
static void require_enough(const StepChanges& changes) {
  if (!changes.resize || !changes.crop) return;
  const auto [height, width] = *changes.resize;
  const StepChanges::Size& crop = *changes.crop;
  const bool is_enough = width == 0 ? std::min(crop.height, crop.width) <= height
                                    : crop.height <= height && crop.width <= width;
  if (height == 0 || is_enough) return;
  const std::string resized =
      std::to_string(height) + (width == 0 ? "" : "," + std::to_string(width));
  throw Error(ErrorCode::BadInput, "the given crop " + std::to_string(crop.height) + "," +
                                       std::to_string(crop.width) +
                                       " takes more pixels than the given resize " + resized +
                                       " leaves: give a larger resize or a smaller crop");
}

std::string change_steps(const std::string& text, const StepChanges& changes) {
  require_enough(changes);
  json document = parse_json(text);
  json& steps = document["steps"];
  if (changes.resize) change_resize(steps, *changes.resize);
  if (changes.crop) change_crop(steps, *changes.crop);
  if (!changes.library.empty()) change_library(steps, changes.library);
  if (changes.mean || changes.std) {
    for (json& step : steps) {
      if (step["type"] == "Normalize") change_values(step, changes);
    }
  }
  return document.dump();
}

}  // namespace lenet

/// \file
/// Descriptions of Hugging Face and timm: JSON beside an .onnx. Both resize with Pillow.
///
/// Sources: transformers 4 and 5 (image_processing_*.py), timm 1.0 (data/transforms_factory.py).
#include <algorithm>
#include <cmath>
#include <iterator>

#include "description/description.h"
#include "description/toolkit_steps.h"
#include "description/toolkits.h"
#include "io/printable.h"

namespace lenet::toolkits {

using nlohmann::json;

namespace {

/// Reads {"height": H, "width": W}, {"shortest_edge": S}, or a number.
Size hub_size(Field size, bool number_is_short_side) {
  if (!size.value.is_object()) {
    const std::int64_t side = size.integer(kMaxImagePixels);
    return {side, number_is_short_side ? 0 : side};
  }
  Size found;
  if (size.has("shortest_edge")) {
    found.first = size["shortest_edge"].integer(kMaxImagePixels);
  } else {
    found = {size["height"].integer(kMaxImagePixels), size["width"].integer(kMaxImagePixels)};
  }
  refuse_others(size);
  return found;
}

/// Returns the size before a central crop that keeps this share of it.
std::int64_t before_crop(std::int64_t size, double share) {
  return static_cast<std::int64_t>(static_cast<double>(size) / share);
}

double share_of(const Field& field) {
  if (!(field.real() >= 0.01 && field.real() <= 100)) field.wrong("a number from 0.01 to 100");
  return field.real();
}

/// Returns the sizes before a crop for the kinds that do not name them in their files.
/// \param crop becomes that of ConvNext
Size hub_scaled(Field& document, const std::string& kind, Size size, Size& crop) {
  const auto is_kind = [&](const char* begin) { return kind.rfind(begin, 0) == 0; };
  if (is_kind("ConvNext") && size.second == 0) {  // a crop for small sizes, none for large ones
    const std::int64_t side = size.first;
    const double share = share_of(document["crop_pct"]);
    if (side >= 384) return {side, side};
    crop = {side, side};
    return {before_crop(side, share), 0};
  }
  if (is_kind("PoolFormer")) {
    constexpr double kUsual = 0.9;
    const bool says_none = document.has("crop_pct") && !document.gives("crop_pct");
    if (says_none) return size;
    const double share = document.gives("crop_pct") ? share_of(document["crop_pct"]) : kUsual;
    // For a square, PoolFormer's processor resizes the short side.
    if (size.second == 0 || size.first == size.second) return {before_crop(size.first, share), 0};
    return {before_crop(size.first, share), before_crop(size.second, share)};
  }
  if (is_kind("Levit") && size.second == 0) return {before_crop(size.first, 224.0 / 256), 0};
  return size;
}

bool is_on(Field& document, const char* name) {
  return document.gives(name) && document[name].boolean();
}

/// Translates the crop of Perceiver, which comes before its resize: the middle, whose part of the
/// shorter side is that which `size` is of `crop_size`.
std::string crop_before_resize(Field& document) {
  const Size size = hub_size(document["size"], false);
  const Size crop = hub_size(document["crop_size"], false);
  if (size.second == 0 || crop.second == 0) refuse("size or crop_size by the shortest_edge");
  const auto share = [](std::int64_t part, std::int64_t whole) {
    return static_cast<double>(part) / static_cast<double>(whole);
  };
  if (size.first > crop.first || size.second > crop.second) refuse("size above crop_size");
  const json shares = {share(size.first, crop.first), share(size.second, crop.second)};
  return R"({"type":"CenterCrop","share":)" + text_of(shares) + "},";
}

/// Translates Normalize: it multiplies pixels by a factor, may subtract 1, and computes
/// (x - mean) / std. EfficientNet's include_top divides by std once more.
std::string hub_values(Field& document, bool of_efficientnet) {
  const bool scales = !document.gives("do_rescale") || document["do_rescale"].boolean();
  const double factor =
      document.gives("rescale_factor") ? document["rescale_factor"].real() : 1.0 / 255;
  std::vector<double> mean(3);
  std::vector<double> std(3, 1.0);
  if (is_on(document, "do_normalize")) {
    const auto numbers = [&](const char* name) {
      std::vector<double> found;
      for (const Field& item : document[name].items()) found.push_back(item.real());
      return found;
    };
    mean = numbers("image_mean");
    std = numbers("image_std");
  }
  if (scales && is_on(document, "rescale_offset")) {
    for (double& each : mean) each += 1;
  }
  const bool top =
      document.gives("include_top") ? document["include_top"].boolean() : of_efficientnet;
  if (top) {
    const std::vector<Field> again = document["image_std"].items();
    if (again.size() != std.size()) document["image_std"].wrong("as many as image_mean");
    for (std::size_t i = 0; i < std.size(); ++i) std[i] *= again[i].real();
  }
  return normalize_step(scales ? factor : 1, text_of(mean), text_of(std));
}

std::string labels_by(const json& id2label) {
  return id2label.is_null() ? "" : ",\"labels\":" + labels_by_number(id2label);
}

/// A kind that computes as PaddleClas: the shorter side, rounded half to even, and blue first,
/// which is reversed behind the normalization.
std::string from_pp_lcnet(Field document, const json& id2label) {
  for (const char* name : {"do_resize", "do_center_crop", "do_rescale", "do_normalize"}) {
    require(document, name, true);
  }
  require(document, "resample", 2);
  require(document, "size_divisor", 1);
  const Size size = {document["resize_short"].integer(kMaxImagePixels), 0};
  const Size crop = hub_size(document["crop_size"], false);
  const auto reversed = [&](const char* name) {
    json list = document[name].numbers();
    std::reverse(list.begin(), list.end());
    return text_of(list);
  };
  const double factor =
      document.gives("rescale_factor") ? document["rescale_factor"].real() : 1.0 / 255;
  const std::string steps =
      resize_step("pillow", "bilinear", size, "half_even") + "," + crop_step(crop, "down", kBlack) +
      "," + normalize_step(factor, reversed("image_mean"), reversed("image_std")) + ",";
  for (const char* name : {"size", "image_processor_type"}) document.asked.insert(name);
  refuse_others(document);
  return description_of("BGR", steps, labels_by(id2label));
}

/// Returns the mean as a pixel: round(255 * mean), half to even.
json border_colour(const Field& mean) {
  json colour = json::array();
  for (const Field& item : mean.items()) {
    if (!(item.real() >= 0 && item.real() <= 1)) item.wrong("a number from 0 to 1");
    colour.push_back(static_cast<int>(std::nearbyint(255 * item.real())));
  }
  return colour;
}

}  // namespace

std::string from_hugging_face(Field document, const json& id2label) {
  std::string kind;
  for (const char* name : {"feature_extractor_type", "image_processor_type"}) {
    if (document.gives(name)) kind = document[name].text();
  }
  const auto is_kind = [&](const char* begin) { return kind.rfind(begin, 0) == 0; };
  if (is_kind("PPDocLayout")) refuse("its kind, " + kind);  // resizes without antialiasing
  if (is_kind("PPLCNet")) return from_pp_lcnet(document, id2label);
  const bool flips = is_kind("MobileViT");                  // which does not normalize
  for (const char* name : {"do_resize", "do_normalize"}) {  // each kind has its own default
    const bool known = document.gives(name) || (flips && name == std::string("do_normalize"));
    if (!known) refuse(std::string(name) + " is missing");
  }
  std::string steps;
  Size crop;
  const bool crops = is_on(document, "do_center_crop");
  const bool crops_first = crops && is_kind("Perceiver");
  if (crops_first) steps = crop_before_resize(document);
  const bool resizes = is_on(document, "do_resize");
  if (!resizes) document.asked.insert("crop_pct");
  if (resizes) {
    const json& resample = document["resample"].value;
    constexpr const char* kFilters[] = {"nearest", "lanczos", "bilinear", "bicubic"};  // Pillow's
    if (resample != 0 && resample != 1 && resample != 2 && resample != 3) {
      refuse(document["resample"]);
    }
    // Before version 4.26 a number meant both sides for ViT, the short one for others.
    bool is_short_side = !is_kind("ViT") && !is_kind("DeiT") && !is_kind("BeiT");
    if (document.gives("default_to_square")) is_short_side = !is_on(document, "default_to_square");
    const Size size = hub_scaled(document, kind, hub_size(document["size"], is_short_side), crop);
    steps += resize_step("pillow", kFilters[resample.get<std::size_t>()], size, "down") + ",";
  }
  if (crops && !crops_first) crop = hub_size(document["crop_size"], false);
  if (crop.first > 0) {
    // If a border has an odd number of pixels, the processors on torchvision put the larger half
    // after the image.
    const bool fast = kind.size() > 4 && kind.compare(kind.size() - 4, 4, "Fast") == 0;
    const std::string border = fast ? "" : ",\"border\":\"before\"";
    steps += crop_step(crop, "down", kBlack + border) + ",";
  }
  const bool bgr =
      document.gives("do_flip_channel_order") ? document["do_flip_channel_order"].boolean() : flips;
  if (bgr && is_on(document, "do_normalize")) refuse("do_flip_channel_order with do_normalize");
  steps += hub_values(document, is_kind("EfficientNet")) + ",";
  require(document, "data_format", "channels_first");
  // These fields belong to steps that are off, or do not change the tensor of a picture.
  for (const char* name :
       {"size", "resample", "default_to_square", "crop_size", "image_mean", "image_std",
        "do_convert_rgb", "processor_class", "input_data_format", "return_tensors", "device",
        "disable_grouping", "_valid_processor_keys", "auto_map"}) {
    document.asked.insert(name);
  }
  for (const auto& member : document.value.items()) {  // not asked for: not done
    if (member.value().is_null() || member.value() == false) document.asked.insert(member.key());
  }
  refuse_others(document);
  return description_of(bgr ? "BGR" : "RGB", steps, labels_by(id2label));
}

std::string from_timm(Field document) {
  // On Hugging Face's hub, it is a member of the description of the network.
  Field config = document.has("pretrained_cfg") ? document["pretrained_cfg"] : document;
  const std::vector<Field> input = config["input_size"].items();
  if (input.size() != 3 || input[0].value != 3) refuse(config["input_size"]);
  const std::int64_t height = input[1].integer(kMaxImagePixels);
  const std::int64_t width = input[2].integer(kMaxImagePixels);
  const std::string crop_mode = config.gives("crop_mode") ? config["crop_mode"].text() : "center";
  const double share = share_of(config["crop_pct"]);
  const Size size = {before_crop(height, share), before_crop(width, share)};
  const std::string filter = interpolation_of(config["interpolation"], false);
  std::string steps;
  std::string fill = kBlack;
  if (crop_mode == "squash") {
    steps = resize_step("pillow", filter, size, "down");
  } else if (crop_mode == "border") {
    steps = fitted_step("pillow", filter, size, "inside");
    fill = ",\"fill\":" + text_of(border_colour(config["mean"]));
  } else if (crop_mode != "center") {
    refuse(config["crop_mode"]);
  } else if (size.first == size.second) {
    steps = resize_step("pillow", filter, {size.first, 0}, "down");
  } else {
    steps = fitted_step("pillow", filter, size, "outside");
  }
  steps += "," + crop_step({height, width}, "half_even", fill) + "," +
           normalize_step(1.0 / 255, text_of(config["mean"].value), text_of(config["std"].value)) +
           ",";
  Field& named = document.has("label_names") ? document : config;
  return description_of("RGB", steps,
                        named.gives("label_names") ? labels_of(named["label_names"]) : "");
}

}  // namespace lenet::toolkits

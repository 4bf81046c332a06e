// Sources: PaddleClas 2.6 (deploy/python/preprocess.py and postprocess.py), PaddleX 3.7
// (inference/models/image_classification and image_multilabel_classification), PaddleX 2.1
// (cv/transforms/operators.py), PaddleOCR 2.8 (ppocr/data/imaug/rec_img_aug.py), PaddleDetection
// 2.6 (deploy/python/preprocess.py), transformers 4 and 5 (image_processing_*.py), timm 1.0
// (data/transforms_factory.py).

#include "description/toolkits.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "description/description.h"
#include "description/field.h"
#include "io/printable.h"

namespace lenet {
namespace {

using nlohmann::json;
using ReadLabels = std::function<std::string(const std::string& name, const std::string& between)>;

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::Unsupported, printable(what));
}
[[noreturn]] void refuse(const Field& field) { refuse(field.where + " " + field.shown()); }

/// What is there besides what was asked for.
void refuse_others(const Field& field) {
  for (const auto& member : field.value.items()) {
    if (field.asked.count(member.key()) == 0) {
      refuse(field.where + (field.where.empty() ? "" : ".") + member.key() + " is not known");
    }
  }
}

/// What is there is this, or is not done.
void require(Field& values, const char* name, const json& only) {
  if (values.gives(name) && values[name].value != only) refuse(values[name]);
}

std::string lower(std::string text) {
  for (char& byte : text) {
    if (byte >= 'A' && byte <= 'Z') byte = static_cast<char>(byte - 'A' + 'a');
  }
  return text;
}

// Steps are made as text, which takes a fifth of the code that objects take.

using Size = std::pair<std::int64_t, std::int64_t>;  // height, width; 0: the height is a short side

/// A number, or two: width and height, or the other way round.
Size size_of(const Field& field, bool width_first) {
  if (!field.value.is_array()) {
    const std::int64_t size = field.integer(kMaxImagePixels);
    return {size, size};
  }
  const Size size = field.height_width();
  return width_first ? Size{size.second, size.first} : size;
}

std::string size_text_of(const Size& size) {
  return print("\"size\":[%lld,%lld]", static_cast<long long>(size.first),
               static_cast<long long>(size.second));
}

std::string resize_step(const char* library, const std::string& interpolation, const Size& size,
                        const char* rounding) {
  return print(R"({"type":"Resize","library":"%s","interpolation":"%s",)", library,
               interpolation.c_str()) +
         (size.second > 0 ? size_text_of(size)
                          : print(R"("short_side":%lld,"rounding":"%s")",
                                  static_cast<long long>(size.first), rounding)) +
         "}";
}

/// \param more members, each with a comma before it
std::string crop_step(const Size& size, const char* rounding = "down",
                      const std::string& more = "") {
  return print(R"({"type":"CenterCrop","rounding":"%s",)", rounding) + size_text_of(size) + more +
         "}";
}

/// A smaller image gets a black border.
constexpr const char* kBlack = ",\"fill\":[0,0,0]";

/// \param fit as the field of Resize
std::string fitted_step(const char* library, const std::string& interpolation, const Size& size,
                        const char* fit) {
  return print(R"({"type":"Resize","library":"%s","interpolation":"%s","fit":"%s",)", library,
               interpolation.c_str(), fit) +
         size_text_of(size) + "}";
}

std::string normalize_step(double scale, const std::string& mean, const std::string& std) {
  return R"({"type":"Normalize","scale":)" + json(scale).dump() + ",\"mean\":" + mean +
         ",\"std\":" + std + "}";
}

/// \param steps each with a comma behind it
/// \param rest members, each with a comma before it
std::string description_of(const char* mode, const std::string& steps, const std::string& rest) {
  return print(R"({"format_version":1,"mode":"%s","steps":[)", mode) + steps +
         R"({"type":"ToCHW"}])" + rest + "}";
}

std::string text_of(const json& value) {
  return value.dump(-1, ' ', true, json::error_handler_t::replace);
}

/// As Python would write them.
std::string labels_of(const Field& list) {
  json texts = json::array();
  for (const Field& item : list.items()) {
    if (item.value.is_structured()) item.wrong("a text");
    texts.push_back(python_text(item.value));
  }
  return ",\"labels\":" + text_of(texts);
}

// ---- PaddleClas and PaddleX 3: inference.yml

/// The names that both have for OpenCV's, and PaddleClas for Pillow's.
std::string interpolation_of(const Field& field, bool of_opencv) {
  const std::string name = lower(field.text());
  if (name == "linear") return "bilinear";
  if (name == "cubic") return "bicubic";
  if (name == "nearest" || name == "bilinear" || name == "bicubic") return name;
  if (name == (of_opencv ? "area" : "lanczos")) return name;
  refuse(field.where + " " + field.shown() + " of " + (of_opencv ? "opencv" : "pillow"));
}

std::string clas_resize(Field values) {
  const std::string backend = values.gives("backend") ? lower(values["backend"].text()) : "cv2";
  const bool opencv = backend == "cv2";
  if (!opencv && backend != "pil") refuse(values["backend"]);
  const std::string interpolation = values.gives("interpolation")
                                        ? interpolation_of(values["interpolation"], opencv)
                                        : "bilinear";
  values.gives("return_numpy");                             // says how Pillow's result is handed on
  const bool by_short_side = values.gives("resize_short");  // which goes before the size
  if (by_short_side) values.gives("size");
  const Size size = by_short_side ? Size{values["resize_short"].integer(kMaxImagePixels), 0}
                                  : size_of(values["size"], true);
  refuse_others(values);
  return resize_step(opencv ? "opencv" : "pillow", interpolation, size, "half_even");
}

/// A number or a ratio of two, "1.0/255.0", which PaddleClas evaluates as Python.
double scale_of(const Field& field) {
  if (!field.value.is_string()) return field.real();
  const std::string text = field.text();
  const std::size_t slash = std::min(text.find('/'), text.size());
  const auto number = [&](const std::string& part) {
    const std::size_t last = part.find_last_not_of(' ') + 1;
    const std::size_t first = std::min(part.find_first_not_of(" +"), last);
    double value = 0;
    // Not strtod, whose decimal point is the locale's.
    const auto [end, error] = std::from_chars(&part[first], &part[last], value);
    const bool plain = part.find_first_not_of(" +-.eE0123456789") == std::string::npos;
    if (error != std::errc() || end != &part[last] || !plain) {
      field.wrong("a number or a ratio of two");
    }
    return value;
  };
  const double divisor = slash < text.size() ? number(text.substr(slash + 1)) : 1;
  if (divisor == 0) field.fail(text + " divides by zero");
  return number(text.substr(0, slash)) / divisor;
}

std::string clas_normalize(Field values, bool after_chw) {
  const std::string order = values.gives("order") ? values["order"].text() : "chw";
  if ((order == "chw") != after_chw) {
    values.fail("order '" + order + "' does not fit its place " + (after_chw ? "after" : "before") +
                " ToCHWImage");
  }
  require(values, "output_fp16", false);
  require(values, "channel_num", 3);
  const double scale = values.gives("scale") ? scale_of(values["scale"]) : 1.0 / 255;
  std::string mean = "[0.485,0.456,0.406]";
  std::string std = "[0.229,0.224,0.225]";
  for (const auto& [name, list] : {std::pair{"mean", &mean}, std::pair{"std", &std}}) {
    if (!values.gives(name)) continue;
    static_cast<void>(values[name].numbers());
    *list = text_of(values[name].value);
  }
  refuse_others(values);
  return normalize_step(scale, mean, std);
}

/// PaddleClas says to_rgb, PaddleOCR img_mode.
const char* clas_mode(Field values) {
  require(values, "channel_first", false);
  values.gives("to_np");  // is what it does anyhow
  const bool rgb = !values.gives("to_rgb") || values["to_rgb"].boolean();
  const std::string mode = values.gives("img_mode") ? values["img_mode"].text()
                           : rgb                    ? "RGB"
                                                    : "BGR";
  refuse_others(values);
  if (mode != "GRAY" && mode != "RGB" && mode != "BGR") refuse(values["img_mode"]);
  return mode == "GRAY" ? "L" : mode == "RGB" ? "RGB" : "BGR";
}

/// Translates ClsResizeImg of PaddleOCR's angle classifier: it resizes to a height, with the width
/// in proportion, and puts zeros to the right of the normalized values.
/// \returns all steps before ToCHW, each with a comma behind it
std::string clas_text_line(Field values, const std::string& mode) {
  const std::vector<Field> shape = values["image_shape"].items();
  if (shape.size() != 3) values["image_shape"].wrong("[channels, height, width]");
  const std::int64_t channels = shape[0].integer(3);
  if (channels != (mode == "L" ? 1 : 3)) {
    values["image_shape"].fail("has " + std::to_string(channels) +
                               " channels, which is not what DecodeImage gives");
  }
  const Size size = {shape[1].integer(kMaxImagePixels), shape[2].integer(kMaxImagePixels)};
  refuse_others(values);
  const std::string half = channels == 1 ? "[0.5]" : "[0.5,0.5,0.5]";
  return fitted_step("opencv", "bilinear", size, "height") + "," +
         normalize_step(1.0 / 255, half, half) + R"(,{"type":"Pad",)" + size_text_of(size) + "},";
}

/// What stands under the name of an op; nothing counts as no values.
Field values_of(const std::string& name, const json& values) {
  static const json nothing = json::object();
  if (values.is_null()) return {nothing, name, {}};
  Field field{values, name, {}};
  if (!values.is_object()) field.wrong("values by name");
  return field;
}

Field only_member(const Field& item) {
  if (!item.value.is_object() || item.value.size() != 1) item.wrong("the name of one op");
  return values_of(item.value.begin().key(), item.value.begin().value());
}

std::string clas_description(const Field& list, const std::string& rest) {
  const char* mode = "RGB";
  std::string steps;
  int phase = 0;  // 1: a step of images came; 2: Normalize or ToCHW
  bool normalized = false;
  bool chw = false;
  for (const Field& item : list.items()) {
    const Field op = only_member(item);
    const std::string& name = op.where;
    const bool of_images = name == "DecodeImage" || name == "ResizeImage" || name == "CropImage";
    if (of_images && (phase == 2 || (phase == 1 && name == "DecodeImage"))) {
      refuse("the op " + name + " after others that come before it");
    }
    phase = std::max(phase, of_images ? 1 : 2);
    if (name == "ClsResizeImg" && !normalized && !chw && steps.empty()) {
      steps = clas_text_line(op, mode);
      normalized = chw = true;
    } else if (name == "KeepKeys" || name == "ClsLabelEncode") {
      continue;  // of PaddleOCR, for what a training takes beside the image
    } else if (name == "DecodeImage") {
      mode = clas_mode(op);
    } else if (name == "ResizeImage") {
      steps += clas_resize(op) + ",";
    } else if (name == "CropImage") {
      Field values = op;
      steps += crop_step(size_of(values["size"], true)) + ",";
      refuse_others(values);
    } else if (name == "NormalizeImage" && !normalized) {
      steps += clas_normalize(op, chw) + ",";
      normalized = true;
    } else if (name == "ToCHWImage" && !chw) {
      chw = true;
    } else if (name == "NormalizeImage" || name == "ToCHWImage") {
      refuse("the op " + name + " a second time");
    } else {
      refuse("the op '" + name +
             "' is not known, only DecodeImage, ResizeImage, CropImage, NormalizeImage, ToCHWImage "
             "and, alone, ClsResizeImg");
    }
  }
  if (!normalized || !chw) refuse(std::string("no op ") + (chw ? "NormalizeImage" : "ToCHWImage"));
  return description_of(mode, steps, rest);
}

/// The post-processing whose result counts: PaddleClas runs all, for what they do besides.
Field main_post_process(Field section) {
  if (section.has("name")) {  // as configurations for training have it
    const std::string name = section["name"].text();
    return {section.value, name, {"name"}};
  }
  std::string main;
  if (section.gives("main_indicator")) main = section["main_indicator"].text();
  std::vector<Field> found;
  for (const auto& entry : section.value.items()) {
    const std::string& name = entry.key();
    const bool counts =
        main.empty() ? name != "main_indicator" && name != "SavePreLabel" : name == main;
    if (counts) found.push_back(values_of(name, entry.value()));
  }
  if (found.size() == 1) return found[0];
  if (!main.empty()) section.fail("there is no " + main + ", its main_indicator");
  refuse(section.where + " without a main_indicator");
}

constexpr const char* kBest = R"(,"postprocess":{"type":"Topk","topk":1})";

/// Translates ClsPostProcess of PaddleOCR: the most probable class.
std::string best_class_of(Field rule) {
  const std::string labels = rule.gives("label_list") ? labels_of(rule["label_list"]) : "";
  refuse_others(rule);
  return kBest + labels;
}

/// \returns members, each with a comma before it
std::string post_process_of(Field section, const ReadLabels& read_labels) {
  if (!section.value.is_object()) section.wrong("values by name");
  Field rule = main_post_process(section);
  if (rule.where == "ClsPostProcess") return best_class_of(rule);
  const std::vector<PostProcessKind>& kinds = post_process_kinds();
  const auto kind = std::find_if(kinds.begin(), kinds.end(), [&](const PostProcessKind& one) {
    return rule.where == one.name;
  });
  if (kind == kinds.end()) refuse(section.where + "." + rule.where + " is not known");
  std::string made = std::string(R"(,"postprocess":{"type":")") + kind->name + "\"";
  const auto add = [&](const std::string& name, const json& value) {
    made += ",\"" + name + "\":" + text_of(value);
  };
  for (const auto& [name, usual] : kind->thresholds) {
    if (!rule.gives(name)) continue;
    if (!rule[name].value.is_number()) refuse(rule[name]);
    add(name, rule[name].real());
  }
  const bool topk = kind->type == PostProcess::Topk;
  const bool multi_label = kind->type == PostProcess::MultiLabelThreshOutput;
  const bool thresh = kind->type == PostProcess::ThreshOutput;
  if (topk) add("topk", rule.gives("topk") ? rule["topk"].integer(INT32_MAX) : 1);
  if (thresh && rule.gives("default_label_index")) {
    add("default_label_index", rule["default_label_index"].integer(INT32_MAX, 0));
  }
  for (const char* name : {"label_0", "label_1"}) {
    if (thresh && rule.gives(name)) add(name, python_text(rule[name].value));
  }
  std::string labels;
  if ((topk || multi_label) && rule.gives("label_list")) {
    labels = labels_of(rule["label_list"]);
    if (multi_label) add("by_score", true);  // PaddleClas has no list there, PaddleX 3 has
  }
  if (topk || multi_label || thresh) {
    const std::string between = rule.gives("delimiter") ? rule["delimiter"].text() : " ";
    const bool named = rule.gives("class_id_map_file") && labels.empty();
    if (named) labels = read_labels(rule["class_id_map_file"].text(), between);
  }
  refuse_others(rule);
  return made + "}" + labels;
}

std::string from_clas(Field document, const ReadLabels& read_labels) {
  Field section = document["PreProcess"];
  Field list = section["transform_ops"];
  if (!list.value.is_array() || list.value.empty()) list.wrong("a list");
  const bool ends = document.gives("PostProcess");
  return clas_description(list, ends ? post_process_of(document["PostProcess"], read_labels) : "");
}

// ---- PaddleX 2: model.yml

std::string x2_step(Field op) {
  const std::string& name = op.where;
  const bool by_short_side = name == "ResizeByShort";
  std::string step;
  if (name == "Resize" || by_short_side) {
    require(op, "keep_ratio", false);
    require(op, "max_size", -1);
    const std::string filter =
        op.gives("interp") ? interpolation_of(op["interp"], true) : "bilinear";
    const Size size = by_short_side ? Size{op["short_size"].integer(kMaxImagePixels), 0}
                                    : size_of(op["target_size"], false);
    step = resize_step("opencv", filter, size, "half_even");
  } else if (name == "CenterCrop") {
    step = crop_step(size_of(op["crop_size"], false));
  } else if (name == "Normalize") {
    op.gives("is_scale");  // what it checks there, not what it does
    require(op, "min_val", std::vector<int>(3));
    float white = 255;
    if (op.gives("max_val")) {
      const std::vector<float> most = op["max_val"].numbers();
      white = most.empty() ? 0 : most[0];
      if (white == 0 || most != std::vector<float>(most.size(), white)) refuse(op["max_val"]);
    }
    step = normalize_step(1.0F / white, text_of(op["mean"].value), text_of(op["std"].value));
  } else {
    refuse("the transform '" + name +
           "' is not known, only Resize, ResizeByShort, CenterCrop, Normalize");
  }
  refuse_others(op);
  return step + ",";
}

std::string from_x2(Field document) {
  Field attributes = document["_Attributes"];
  if (attributes["model_type"].text() != "classifier") refuse(attributes["model_type"]);
  const bool bgr = document.gives("TransformsMode") && document["TransformsMode"].text() == "BGR";
  std::string steps;
  for (const Field& item : document["Transforms"].items()) steps += x2_step(only_member(item));
  const std::string labels = attributes.gives("labels") ? labels_of(attributes["labels"]) : "";
  return description_of(bgr ? "BGR" : "RGB", steps, kBest + labels);
}

// ---- PaddleDetection: infer_cfg.yml of the networks behind its detectors

/// The values of `arch` of networks that look at a whole picture, and not at parts of it.
constexpr const char* kAttributeNetworks[] = {"StrongBaseline", "PPLCNet", "PPHGNet"};

/// \returns of the step's type, without what follows the step
std::string detection_step(Field op) {
  const std::string type = op["type"].text();
  std::string step;
  if (type == "Resize") {
    if (!op.gives("keep_ratio")) refuse("Preprocess.Resize.keep_ratio is missing, which is true");
    require(op, "keep_ratio", false);
    constexpr const char* kFilters[] = {"nearest", "bilinear", "bicubic",
                                        "area"};  // by cv2's number
    const std::int64_t filter = op.gives("interp") ? op["interp"].integer(INT32_MAX, 0) : 1;
    if (filter > 3) refuse(op["interp"]);
    step = resize_step("opencv", kFilters[filter], size_of(op["target_size"], false), "half_even");
  } else if (type == "NormalizeImage") {
    const bool scales = !op.gives("is_scale") || op["is_scale"].boolean();
    const std::string norm = op.gives("norm_type") ? op["norm_type"].text() : "mean_std";
    if (norm != "mean_std" && norm != "none") refuse(op["norm_type"]);
    const bool plain = norm == "none";
    static_cast<void>(op["mean"].numbers());
    static_cast<void>(op["std"].numbers());
    step = normalize_step(scales ? 1.0 / 255 : 1, plain ? "[0,0,0]" : text_of(op["mean"].value),
                          plain ? "[1,1,1]" : text_of(op["std"].value));
  } else if (type == "Permute") {
    return "";  // ToCHW, which is always last
  } else {
    refuse("Preprocess." + type + " is not known, only Resize, NormalizeImage, Permute");
  }
  refuse_others(op);
  return step + ",";
}

/// Returns the post-processing of attributes. The networks for pedestrians and for vehicles have
/// the outputs of PaddleClas's networks for them; other networks have a label for each output.
const char* attributes_by(const std::vector<Field>& labels) {
  const auto begins = [&](std::size_t count, const char* first) {
    return labels.size() == count && labels[0].value == first;
  };
  return begins(26, "Hat")      ? "PersonAttribute"
         : begins(19, "yellow") ? "VehicleAttribute"
                                : "MultiLabelThreshOutput";
}

std::string from_detection(Field document) {
  const Field arch = document["arch"];
  const auto is_it = [&](const char* name) { return arch.value == name; };
  if (std::none_of(std::begin(kAttributeNetworks), std::end(kAttributeNetworks), is_it)) {
    refuse("arch " + arch.shown() + " is no classifier");
  }
  std::string steps;
  bool permutes = false;
  for (const Field& op : document["Preprocess"].items()) {
    if (permutes) refuse("Preprocess: steps after Permute");
    const std::string step = detection_step(op);
    permutes = step.empty();
    steps += step;
  }
  if (!permutes) refuse("Preprocess: no Permute at the end");
  const bool of_attributes = arch.value == "StrongBaseline" ||
                             (document.gives("metric") && document["metric"].value == "ATTR");
  const std::vector<Field> labels = document["label_list"].items();
  const std::string rest =
      of_attributes ? print(R"(,"postprocess":{"type":"%s"})", attributes_by(labels)) : kBest;
  return description_of("RGB", steps, rest + labels_of(document["label_list"]));
}

// ---- Hugging Face and timm: JSON beside an .onnx. Both resize with Pillow.

/// {"height": H, "width": W}, {"shortest_edge": S}, or a number.
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

/// The size before the middle is cropped that is this share of it.
std::int64_t before_crop(std::int64_t size, double share) {
  return static_cast<std::int64_t>(static_cast<double>(size) / share);
}

double share_of(const Field& field) {
  if (!(field.real() >= 0.01 && field.real() <= 100)) field.wrong("a number from 0.01 to 100");
  return field.real();
}

/// The sizes before a crop that some kinds do not name in their files.
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

/// Normalize: pixels times a factor, perhaps less 1, and (x - mean) / std, for EfficientNet's top
/// divided by std once more.
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
    // A border of an odd number of pixels: the processors on torchvision have the one more behind.
    const bool fast = kind.size() > 4 && kind.compare(kind.size() - 4, 4, "Fast") == 0;
    const std::string border = fast ? "" : ",\"border\":\"before\"";
    steps += crop_step(crop, "down", kBlack + border) + ",";
  }
  const bool bgr =
      document.gives("do_flip_channel_order") ? document["do_flip_channel_order"].boolean() : flips;
  if (bgr && is_on(document, "do_normalize")) refuse("do_flip_channel_order with do_normalize");
  steps += hub_values(document, is_kind("EfficientNet")) + ",";
  require(document, "data_format", "channels_first");
  // These fields belong to steps that are off, or change no picture's tensor.
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

/// The mean as a pixel: round(255 * mean), half to even.
json border_colour(const Field& mean) {
  json colour = json::array();
  for (const Field& item : mean.items()) {
    if (!(item.real() >= 0 && item.real() <= 1)) item.wrong("a number from 0 to 1");
    colour.push_back(static_cast<int>(std::nearbyint(255 * item.real())));
  }
  return colour;
}

std::string from_timm(Field document) {
  // On Hugging Face's hub it is inside of what else is known of the network.
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

}  // namespace

std::string labels_by_number(const json& names) {
  if (!names.is_object()) Field{names, "the labels", {}}.wrong("names by their numbers");
  std::vector<std::string> labels(names.size());
  std::vector<bool> given(names.size());
  for (const auto& [number, name] : names.items()) {
    std::size_t index = 0;
    const char* const end = number.data() + number.size();
    const auto found = std::from_chars(number.data(), end, index);
    if (found.ec != std::errc() || found.ptr != end || index >= labels.size() || given[index]) {
      throw InvalidJson("the labels: expected the numbers 0 to " +
                        std::to_string(labels.size() - 1) + ", found " + number);
    }
    given[index] = true;
    labels[index] = python_text(name);
  }
  return text_of(labels);
}

/// MobileViT's has nothing of a normalization.
static bool is_of_hugging_face(const json& document) {
  return document.contains("image_mean") || document.contains("do_normalize") ||
         document.contains("image_processor_type");
}

bool is_of_toolkit(const json& document) {
  return is_of_hugging_face(document) || document.contains("pretrained_cfg") ||
         document.contains("input_size");
}

std::string translate_description(const json& document, const ReadLabels& read_labels,
                                  const json& id2label) {
  Field whole{document, "", {}};
  if (!document.is_object()) whole.wrong("values by name");
  if (whole.has("PreProcess")) return from_clas(whole, read_labels);
  if (whole.has("Transforms")) return from_x2(whole);
  if (whole.has("Preprocess")) return from_detection(whole);
  if (is_of_hugging_face(document)) return from_hugging_face(whole, id2label);
  if (is_of_toolkit(document)) return from_timm(whole);
  refuse(
      "it is no description that is known: it has neither PreProcess (PaddleClas, PaddleX 3, "
      "PaddleOCR) nor Transforms (PaddleX 2) nor Preprocess (PaddleDetection)");
}

}  // namespace lenet

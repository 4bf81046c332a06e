/// \file
/// Descriptions of PaddleClas, PaddleX, PaddleOCR and PaddleDetection.
///
/// Sources: PaddleClas 2.6 (deploy/python/preprocess.py and postprocess.py), PaddleX 3.7
/// (inference/models/image_classification and image_multilabel_classification), PaddleX 2.1
/// (cv/transforms/operators.py), PaddleOCR 2.8 (ppocr/data/imaug/rec_img_aug.py), PaddleDetection
/// 2.6 (deploy/python/preprocess.py).
#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "description/description.h"
#include "description/toolkit_steps.h"
#include "io/printable.h"

namespace lenet::toolkits {

using nlohmann::json;

namespace {

// ---- PaddleClas and PaddleX 3: inference.yml

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

/// Reads a number, or a ratio such as "1.0/255.0", which PaddleClas evaluates as Python.
double scale_of(const Field& field) {
  if (!field.value.is_string()) return field.real();
  const std::string text = field.text();
  const std::size_t slash = std::min(text.find('/'), text.size());
  const auto number = [&](const std::string& part) {
    const std::size_t last = part.find_last_not_of(' ') + 1;
    const std::size_t first = std::min(part.find_first_not_of(" +"), last);
    double value = 0;
    // strtod would use the decimal point of the locale.
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

/// Reads the order of channels, which PaddleClas calls to_rgb, and PaddleOCR img_mode.
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

/// Returns the post-processing whose result counts. PaddleClas runs all of them, because the others
/// have side effects.
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

// ---- PaddleDetection: infer_cfg.yml of the networks behind its detectors

/// The values of `arch` for networks that classify a whole picture instead of parts of it.
constexpr const char* kAttributeNetworks[] = {"StrongBaseline", "PPLCNet", "PPHGNet"};

/// \returns the type of the step without the text that follows it
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
    return "";  // ToCHW, which is always the last step
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

}  // namespace

std::string from_clas(Field document, const ReadLabels& read_labels) {
  Field section = document["PreProcess"];
  Field list = section["transform_ops"];
  if (!list.value.is_array() || list.value.empty()) list.wrong("a list");
  const bool ends = document.gives("PostProcess");
  return clas_description(list, ends ? post_process_of(document["PostProcess"], read_labels) : "");
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

}  // namespace lenet::toolkits

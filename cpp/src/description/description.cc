#include "description/description.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "description/field.h"
#include "io/printable.h"

namespace lenet {
namespace {

using nlohmann::json;

constexpr int kFormatVersion = 1;
constexpr std::int64_t kMaxDigitSize = 1024;

void parse_rounding(Field& step, Rounding& rounding) {
  if (!step.has("rounding")) return;
  rounding = step["rounding"].choice<Rounding>(
      {{"down", Rounding::Down}, {"half_even", Rounding::HalfEven}});
}

void parse_resize(Field& step, Preparation& result) {
  Resize resize;
  if (step.has("short_side") == step.has("size")) step.fail("expected either short_side or size");
  if (step.has("short_side")) {
    resize.short_side = step["short_side"].integer(kMaxImagePixels);
  } else {
    std::tie(resize.height, resize.width) = step["size"].height_width();
  }
  if (step.has("library")) {
    resize.library =
        step["library"].choice<Library>({{"pillow", Library::Pillow}, {"opencv", Library::OpenCv}});
  }
  resize.interpolation =
      step["interpolation"].choice<Interpolation>({{"nearest", Interpolation::Nearest},
                                                   {"bilinear", Interpolation::Bilinear},
                                                   {"bicubic", Interpolation::Bicubic},
                                                   {"area", Interpolation::Area},
                                                   {"lanczos", Interpolation::Lanczos}});
  if (resize.interpolation == Interpolation::Area && resize.library != Library::OpenCv) {
    step["interpolation"].wrong("area with library opencv only");
  }
  if (resize.interpolation == Interpolation::Lanczos && resize.library != Library::Pillow) {
    step["interpolation"].wrong("lanczos with library pillow only");
  }
  if (step.has("fit")) {
    if (step.has("short_side")) step.fail("fit goes with size only");
    resize.fit = step["fit"].choice<Fit>({{"fill", Fit::Fill},
                                          {"inside", Fit::Inside},
                                          {"outside", Fit::Outside},
                                          {"height", Fit::Height}});
  }
  parse_rounding(step, resize.rounding);
  result.image_steps.emplace_back(resize);
}

CropShare parse_share(const Field& field) {
  std::vector<double> shares;
  for (const Field& item : field.items()) shares.push_back(item.real());
  const auto is_part = [](double share) { return share > 0 && share <= 1; };
  if (shares.size() != 2 || !std::all_of(shares.begin(), shares.end(), is_part)) {
    field.wrong("[height, width], above 0 and at most 1");
  }
  return {shares[0], shares[1]};
}

void parse_crop(Field& step, Preparation& result) {
  if (step.has("share") == step.has("size")) step.fail("expected either size or share");
  if (step.has("share")) {
    result.image_steps.emplace_back(parse_share(step["share"]));
    return;
  }
  CenterCrop crop;
  std::tie(crop.height, crop.width) = step["size"].height_width();
  parse_rounding(step, crop.rounding);
  if (step.has("fill")) {
    const Field fill = step["fill"];
    for (const Field& item : fill.items()) {
      crop.fill.push_back(static_cast<std::uint8_t>(item.integer(255, 0)));
    }
    if (crop.fill.size() != static_cast<std::size_t>(channels_of(result.mode))) {
      fill.wrong("a value for each channel");
    }
  }
  if (step.has("border")) {
    if (crop.fill.empty()) step.fail("border goes with fill only");
    crop.border =
        step["border"].choice<Border>({{"after", Border::After}, {"before", Border::Before}});
  }
  result.image_steps.emplace_back(std::move(crop));
}

void parse_digit(Field& step, Preparation& result) {
  if (result.mode != Mode::Grey) step.fail("Digit takes mode L");
  const Digit digit{step["size"].integer(kMaxDigitSize), step["box"].integer(kMaxDigitSize)};
  if (digit.box >= digit.size) step["box"].wrong("less than size");
  result.image_steps.emplace_back(digit);
}

void parse_normalize(Field& step, Preparation& result) {
  Normalize normalize{step["scale"].number(), step["mean"].numbers(), step["std"].numbers()};
  if (normalize.mean.size() != normalize.std.size() || normalize.mean.empty()) {
    step["std"].wrong("as many as mean, at least one");
  }
  if (normalize.scale == 0) step["scale"].wrong("another number than 0 in float32");
  for (const float deviation : normalize.std) {
    if (!(deviation > 0)) step["std"].wrong("numbers above 0 in float32");
  }
  if (normalize.mean.size() <= 3 && !make_table(normalize, result.mode).finite) {
    step.fail("some of its values are infinite or NaN in float32");
  }
  result.normalize = std::move(normalize);
}

void parse_pad(Field& step, Preparation& result) {
  std::tie(result.pad.height, result.pad.width) = step["size"].height_width();
}

void parse_to_chw(Field&, Preparation&) {}

using ParseStep = void (*)(Field& step, Preparation& result);

void parse_post_process(Field rule, ResultRule& result) {
  const std::vector<PostProcessKind>& kinds = post_process_kinds();
  const auto kind = std::find_if(
      kinds.begin(), kinds.end(),
      [name = rule["type"].text()](const PostProcessKind& one) { return name == one.name; });
  if (kind == kinds.end()) rule["type"].wrong("the name of a post-processing");
  result.type = kind->type;
  for (const auto& [name, usual] : kind->thresholds) {
    result.thresholds.push_back(rule.gives(name) ? rule[name].real() : usual);
  }
  if (kind->type == PostProcess::Topk && rule.gives("topk")) {
    result.topk = rule["topk"].integer(INT32_MAX);
  }
  if (kind->type == PostProcess::MultiLabelThreshOutput && rule.gives("by_score")) {
    result.by_score = rule["by_score"].boolean();
  }
  if (kind->type == PostProcess::ThreshOutput) {
    if (rule.gives("label_0")) result.pair[0] = rule["label_0"].text();
    if (rule.gives("label_1")) result.pair[1] = rule["label_1"].text();
    if (rule.gives("default_label_index")) {
      result.default_class = rule["default_label_index"].integer(INT32_MAX, 0);
    }
  }
  rule.no_other();
}

Preparation parse_document(Field& whole) {
  const Field version = whole["format_version"];
  if (!version.value.is_number_integer() || version.value != kFormatVersion) {
    version.wrong(std::to_string(kFormatVersion));
  }
  Preparation result;
  result.mode =
      whole["mode"].choice<Mode>({{"L", Mode::Grey}, {"RGB", Mode::Rgb}, {"BGR", Mode::Bgr}});
  std::vector<Field> steps = whole["steps"].items();
  if (whole.gives("depth")) {
    const Field depth = whole["depth"];
    result.depth = static_cast<int>(depth.integer(16, 10));
    if (result.depth % 2 != 0) depth.wrong("10, 12, 14 or 16");
  }
  whole.gives("labels");  // which are of the outputs
  whole.gives("postprocess");
  whole.no_other();
  bool normalized = false;
  bool complete = false;
  for (Field& step : steps) {
    const auto parse = step["type"].choice<ParseStep>({{"Resize", parse_resize},
                                                       {"CenterCrop", parse_crop},
                                                       {"Digit", parse_digit},
                                                       {"Normalize", parse_normalize},
                                                       {"Pad", parse_pad},
                                                       {"ToCHW", parse_to_chw}});
    const bool of_values = parse == parse_to_chw || parse == parse_pad;
    const bool again = parse == parse_pad && result.pad.height > 0;
    if (complete || normalized != of_values || again) {
      step.fail(
          "expected Resize, CenterCrop and Digit, then one Normalize, perhaps Pad, perhaps ToCHW");
    }
    parse(step, result);
    normalized = normalized || parse == parse_normalize;
    complete = parse == parse_to_chw;
    step.no_other();
  }
  result.channels_last = !complete;
  if (!normalized) {
    throw InvalidJson(
        "steps: expected Normalize, and behind it ToCHW unless the channels of the model come "
        "last");
  }
  const auto channels = static_cast<std::size_t>(channels_of(result.mode));
  if (result.normalize.mean.size() != channels) {
    throw InvalidJson("steps: Normalize has " + std::to_string(result.normalize.mean.size()) +
                      " channels, the mode has " + std::to_string(channels));
  }
  return result;
}

/// Calls `parse` with the document.
template <typename Parse>
void read_document(const std::string& text, const std::string& path, const Parse& parse) {
  try {
    const json document = parse_json(text);
    Field whole{document, "", {}};
    parse(whole);
  } catch (const InvalidJson& error) {
    const std::string subject = path.empty() ? "" : "'" + path + "' is ";
    throw Error(ErrorCode::BadModel,
                subject + "not a valid description of preprocessing: " + printable(error.what()));
  }
}

}  // namespace

const std::vector<PostProcessKind>& post_process_kinds() {
  static const std::vector<PostProcessKind> kinds = {
      {PostProcess::Topk, "Topk", {}},
      {PostProcess::ThreshOutput, "ThreshOutput", {{"threshold", 0}}},
      {PostProcess::MultiLabelThreshOutput, "MultiLabelThreshOutput", {{"threshold", 0.5}}},
      {PostProcess::PersonAttribute,
       "PersonAttribute",
       {{"threshold", 0.5}, {"glasses_threshold", 0.3}, {"hold_threshold", 0.6}}},
      {PostProcess::VehicleAttribute,
       "VehicleAttribute",
       {{"color_threshold", 0.5}, {"type_threshold", 0.5}}},
      {PostProcess::TableAttribute,
       "TableAttribute",
       {{"source_threshold", 0.5},
        {"number_threshold", 0.5},
        {"color_threshold", 0.5},
        {"clarity_threshold", 0.5},
        {"obstruction_threshold", 0.5},
        {"angle_threshold", 0.5}}},
      {PostProcess::NormalizeFeatures, "NormalizeFeatures", {}}};
  return kinds;
}

Preparation parse_preparation(const std::string& text, const std::string& path) {
  Preparation result;
  read_document(text, path, [&](Field& whole) { result = parse_document(whole); });
  return result;
}

Description parse_description(const std::string& text, const std::string& path) {
  Description result;
  read_document(text, path, [&](Field& whole) {
    result.images = parse_document(whole);
    if (whole.gives("labels")) {
      for (const Field& label : whole["labels"].items()) {
        result.labels.push_back(label.text());
        if (result.labels.back().find('\0') != std::string::npos) label.fail("a NUL character");
      }
    }
    if (whole.gives("postprocess")) parse_post_process(whole["postprocess"], result.outputs);
  });
  return result;
}

ResultRule parse_result_rule(const std::string& text) {
  try {
    ResultRule rule;
    const json parsed = parse_json(text);
    parse_post_process({parsed, "postprocess", {}}, rule);
    return rule;
  } catch (const InvalidJson& error) {
    throw Error(ErrorCode::BadModel, printable(error.what()));
  }
}

ImagePipeline ImagePipeline::parse(const std::string& description) {
  return ImagePipeline(parse_preparation(description, ""));
}

}  // namespace lenet

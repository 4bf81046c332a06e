#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "images/steps.h"
#include "io/json.h"
#include "io/printable.h"

namespace lenet {
namespace {

using nlohmann::json;

constexpr int kFormatVersion = 1;
constexpr std::int64_t kMaxDigitSize = 1024;
constexpr std::size_t kShown = 60;  // characters of a wrong value

/// A value, and where it is, such as "steps[0].size"; nothing for the document.
struct Field {
  const json& value;
  std::string where;
  std::set<std::string> asked;  ///< members

  [[noreturn]] void fail(const std::string& problem) const {
    throw InvalidJson(where.empty() ? problem : where + ": " + problem);
  }
  [[noreturn]] void wrong(const std::string& expected) const {
    std::string text = value.dump(-1, ' ', true, json::error_handler_t::replace);
    if (text.size() > kShown) text = text.substr(0, kShown - 3) + "...";
    fail((where.empty() ? "the document: expected " : "expected ") + expected + ", found " + text);
  }

  bool has(const char* name) const { return value.contains(name); }
  Field operator[](const char* name) {
    if (!value.is_object()) wrong("an object");
    if (!has(name)) fail(std::string(name) + " missing");
    asked.insert(name);
    return {value.at(name), where.empty() ? name : where + "." + name, {}};
  }
  void no_other() const {
    for (const auto& member : value.items()) {
      if (asked.count(member.key()) == 0) fail("unknown " + member.key());
    }
  }

  std::vector<Field> items() const {
    if (!value.is_array()) wrong("a list");
    std::vector<Field> result;
    for (const json& item : value) {
      result.push_back({item, where + "[" + std::to_string(result.size()) + "]", {}});
    }
    return result;
  }

  std::int64_t integer(std::int64_t max) const {
    // As a double an integer of any size can be compared.
    if (!value.is_number_integer() || value.get<double>() < 1 ||
        value.get<double>() > static_cast<double>(max)) {
      wrong("an integer from 1 to " + std::to_string(max));
    }
    return value.get<std::int64_t>();
  }

  std::pair<std::int64_t, std::int64_t> height_width() const {
    if (!value.is_array() || value.size() != 2) wrong("[height, width]");
    const std::int64_t height = items()[0].integer(kMaxImagePixels);
    const std::int64_t width = items()[1].integer(kMaxImagePixels);
    if (height > kMaxImagePixels / width) {
      fail("over the limit of " + std::to_string(kMaxImagePixels) + " pixels");
    }
    return {height, width};
  }

  float number() const {
    if (!value.is_number()) wrong("a number");
    const double number = value.get<double>();
    if (!(std::abs(number) <= static_cast<double>(std::numeric_limits<float>::max()))) {
      wrong("a number that float32 holds");
    }
    return static_cast<float>(number);
  }

  std::vector<float> numbers() const {
    std::vector<float> result;
    for (const Field& item : items()) result.push_back(item.number());
    return result;
  }

  template <typename Value>
  Value choice(std::initializer_list<std::pair<const char*, Value>> choices) const {
    std::string names;
    for (const auto& [name, chosen] : choices) {
      if (value == name) return chosen;
      names += std::string(names.empty() ? "" : ", ") + name;
    }
    wrong("one of " + names);
  }
};

void parse_rounding(Field& step, Rounding& rounding) {
  if (!step.has("rounding")) return;
  rounding = step["rounding"].choice<Rounding>(
      {{"down", Rounding::Down}, {"half_even", Rounding::HalfEven}});
}

void parse_resize(Field& step, Description& result) {
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
                                                   {"area", Interpolation::Area}});
  if (resize.interpolation == Interpolation::Area && resize.library != Library::OpenCv) {
    step["interpolation"].wrong("area with library opencv only");
  }
  parse_rounding(step, resize.rounding);
  result.image_steps.emplace_back(resize);
}

void parse_crop(Field& step, Description& result) {
  const auto [height, width] = step["size"].height_width();
  CenterCrop crop{height, width};
  parse_rounding(step, crop.rounding);
  result.image_steps.emplace_back(crop);
}

void parse_digit(Field& step, Description& result) {
  if (result.mode != Mode::Grey) step.fail("Digit takes mode L");
  const Digit digit{step["size"].integer(kMaxDigitSize), step["box"].integer(kMaxDigitSize)};
  if (digit.box >= digit.size) step["box"].wrong("less than size");
  result.image_steps.emplace_back(digit);
}

void parse_normalize(Field& step, Description& result) {
  Normalize normalize{step["scale"].number(), step["mean"].numbers(), step["std"].numbers()};
  if (normalize.mean.size() != normalize.std.size() || normalize.mean.empty()) {
    step["std"].wrong("as many as mean, at least one");
  }
  if (normalize.scale == 0) step["scale"].wrong("another number than 0 in float32");
  for (const float deviation : normalize.std) {
    if (!(deviation > 0)) step["std"].wrong("numbers above 0 in float32");
  }
  result.normalize = std::move(normalize);
}

void parse_to_chw(Field&, Description&) {}

using ParseStep = void (*)(Field& step, Description& result);

Description parse_document(const json& document) {
  Field whole{document, "", {}};
  const Field version = whole["format_version"];
  if (!version.value.is_number_integer() || version.value != kFormatVersion) {
    version.wrong(std::to_string(kFormatVersion));
  }
  Description result;
  result.mode =
      whole["mode"].choice<Mode>({{"L", Mode::Grey}, {"RGB", Mode::Rgb}, {"BGR", Mode::Bgr}});
  std::vector<Field> steps = whole["steps"].items();
  whole.no_other();
  bool normalized = false;
  bool complete = false;
  for (Field& step : steps) {
    const auto parse = step["type"].choice<ParseStep>({{"Resize", parse_resize},
                                                       {"CenterCrop", parse_crop},
                                                       {"Digit", parse_digit},
                                                       {"Normalize", parse_normalize},
                                                       {"ToCHW", parse_to_chw}});
    if (complete || normalized != (parse == parse_to_chw)) {
      step.fail("expected Resize, CenterCrop and Digit, then one Normalize, then ToCHW");
    }
    parse(step, result);
    normalized = normalized || parse == parse_normalize;
    complete = parse == parse_to_chw;
    step.no_other();
  }
  if (!complete) throw InvalidJson("steps: expected Normalize and ToCHW at the end");
  const auto channels = static_cast<std::size_t>(channels_of(result.mode));
  if (result.normalize.mean.size() != channels) {
    throw InvalidJson("steps: Normalize has " + std::to_string(result.normalize.mean.size()) +
                      " channels, the mode has " + std::to_string(channels));
  }
  return result;
}

}  // namespace

Description parse_description(const std::string& text, const std::string& path) {
  try {
    return parse_document(parse_json(text));
  } catch (const InvalidJson& error) {
    const std::string subject = path.empty() ? "" : "'" + path + "' is ";
    throw Error(ErrorCode::BadModel,
                subject + "not a valid description of preprocessing: " + printable(error.what()));
  }
}

}  // namespace lenet

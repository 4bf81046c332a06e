#include "images/description.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <utility>

#include "io/json.h"
#include "io/printable.h"

namespace lenet {
namespace {

using nlohmann::json;

constexpr int kFormatVersion = 1;
constexpr std::int64_t kMaxDigitSize = 1024;
constexpr std::size_t kShown = 60;  // characters of a wrong value

/// What is wrong where.
struct Problem {
  std::string text;
};

[[noreturn]] void wrong(const std::string& where, const std::string& expected, const json& found) {
  std::string text = found.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > kShown) text = text.substr(0, kShown - 3) + "...";
  throw Problem{where + ": expected " + expected + ", found " + text};
}

/// An object of which every field is asked for once.
class Object {
 public:
  Object(const json& value, std::string where) : value_(value), where_(std::move(where)) {
    if (!value.is_object()) wrong(where_.empty() ? "the document" : where_, "an object", value);
  }

  bool has(const char* name) const { return value_.contains(name); }
  std::string place(const char* name) const { return where_.empty() ? name : where_ + "." + name; }
  const json& operator[](const char* name) {
    if (!has(name)) throw Problem{prefix() + name + " missing"};
    asked_.insert(name);
    return value_.at(name);
  }
  void no_other() const {
    for (const auto& item : value_.items()) {
      if (asked_.count(item.key()) == 0) throw Problem{prefix() + "unknown " + item.key()};
    }
  }

 private:
  std::string prefix() const { return where_.empty() ? "" : where_ + ": "; }

  const json& value_;
  std::string where_;
  std::set<std::string> asked_;
};

std::int64_t integer(const json& value, const std::string& where, std::int64_t max) {
  // As a double an integer of any size can be compared.
  if (!value.is_number_integer() || value.get<double>() < 1 ||
      value.get<double>() > static_cast<double>(max)) {
    wrong(where, "an integer from 1 to " + std::to_string(max), value);
  }
  return value.get<std::int64_t>();
}

/// [height, width].
std::pair<std::int64_t, std::int64_t> height_width(const json& value, const std::string& where) {
  if (!value.is_array() || value.size() != 2) wrong(where, "[height, width]", value);
  const std::int64_t height = integer(value[0], where + "[0]", kMaxImagePixels);
  const std::int64_t width = integer(value[1], where + "[1]", kMaxImagePixels);
  if (height > kMaxImagePixels / width) {
    throw Problem{where + ": over the limit of " + std::to_string(kMaxImagePixels) + " pixels"};
  }
  return {height, width};
}

float number(const json& value, const std::string& where) {
  if (!value.is_number()) wrong(where, "a number", value);
  const double number = value.get<double>();
  if (!(std::abs(number) <= static_cast<double>(std::numeric_limits<float>::max()))) {
    wrong(where, "a number that float32 holds", value);
  }
  return static_cast<float>(number);
}

std::vector<float> numbers(const json& value, const std::string& where) {
  if (!value.is_array()) wrong(where, "a list", value);
  std::vector<float> result;
  for (const json& item : value) {
    result.push_back(number(item, where + "[" + std::to_string(result.size()) + "]"));
  }
  return result;
}

template <typename Value>
Value choice(const json& value, const std::string& where,
             std::initializer_list<std::pair<const char*, Value>> choices) {
  std::string names;
  for (const auto& [name, chosen] : choices) {
    if (value.is_string() && value.get_ref<const std::string&>() == name) return chosen;
    names += std::string(names.empty() ? "" : ", ") + name;
  }
  wrong(where, "one of " + names, value);
}

Resize parse_resize(Object& step) {
  Resize resize;
  if (step.has("short_side") == step.has("size")) {
    throw Problem{step.place("short_side") + ": expected either short_side or size"};
  }
  if (step.has("short_side")) {
    resize.short_side = integer(step["short_side"], step.place("short_side"), kMaxImagePixels);
  } else {
    std::tie(resize.height, resize.width) = height_width(step["size"], step.place("size"));
  }
  resize.interpolation = choice<Interpolation>(step["interpolation"], step.place("interpolation"),
                                               {{"nearest", Interpolation::Nearest},
                                                {"bilinear", Interpolation::Bilinear},
                                                {"bicubic", Interpolation::Bicubic}});
  return resize;
}

CenterCrop parse_crop(Object& step) {
  const auto [height, width] = height_width(step["size"], step.place("size"));
  return {height, width};
}

Digit parse_digit(Object& step) {
  const Digit digit{integer(step["size"], step.place("size"), kMaxDigitSize),
                    integer(step["box"], step.place("box"), kMaxDigitSize)};
  if (digit.box >= digit.size) throw Problem{step.place("box") + ": expected less than size"};
  return digit;
}

Normalize parse_normalize(Object& step) {
  Normalize normalize{number(step["scale"], step.place("scale")),
                      numbers(step["mean"], step.place("mean")),
                      numbers(step["std"], step.place("std"))};
  if (normalize.mean.size() != normalize.std.size() || normalize.mean.empty()) {
    throw Problem{step.place("std") + ": expected as many as mean, at least one"};
  }
  if (normalize.scale == 0) throw Problem{step.place("scale") + ": is 0 in float32"};
  for (const float deviation : normalize.std) {
    if (!(deviation > 0)) throw Problem{step.place("std") + ": expected above 0 in float32"};
  }
  return normalize;
}

enum class Kind { Resize, CenterCrop, Digit, Normalize, ToChw };

/// Reads the steps one after another; Normalize and ToCHW come last, in this order.
class StepParser {
 public:
  explicit StepParser(Description& result) : result_(result) {}

  void parse(const json& value, const std::string& where) {
    Object step(value, where);
    const Kind kind = choice<Kind>(step["type"], step.place("type"),
                                   {{"Resize", Kind::Resize},
                                    {"CenterCrop", Kind::CenterCrop},
                                    {"Digit", Kind::Digit},
                                    {"Normalize", Kind::Normalize},
                                    {"ToCHW", Kind::ToChw}});
    if (complete_ || (normalized_ && kind != Kind::ToChw) ||
        (!normalized_ && kind == Kind::ToChw)) {
      throw Problem{where +
                    ": expected Resize, CenterCrop and Digit, then one Normalize, then ToCHW"};
    }
    if (kind == Kind::Resize) result_.image_steps.emplace_back(parse_resize(step));
    if (kind == Kind::CenterCrop) result_.image_steps.emplace_back(parse_crop(step));
    if (kind == Kind::Digit) {
      if (result_.mode != Mode::Grey) throw Problem{where + ": Digit takes mode L"};
      result_.image_steps.emplace_back(parse_digit(step));
    }
    if (kind == Kind::Normalize) result_.normalize = parse_normalize(step);
    normalized_ = normalized_ || kind == Kind::Normalize;
    complete_ = kind == Kind::ToChw;
    step.no_other();
  }

  void finish() const {
    if (!complete_) throw Problem{"steps: expected Normalize and ToCHW at the end"};
    const auto channels = static_cast<std::size_t>(channels_of(result_.mode));
    if (result_.normalize.mean.size() != channels) {
      throw Problem{"steps: Normalize has " + std::to_string(result_.normalize.mean.size()) +
                    " channels, the mode has " + std::to_string(channels)};
    }
  }

 private:
  Description& result_;
  bool normalized_ = false;
  bool complete_ = false;
};

Description parse_document(const json& document) {
  Object whole(document, "");
  const json& version = whole["format_version"];
  if (!version.is_number_integer() || version != kFormatVersion) {
    wrong("format_version", std::to_string(kFormatVersion), version);
  }
  Description result;
  result.mode = choice<Mode>(whole["mode"], "mode",
                             {{"L", Mode::Grey}, {"RGB", Mode::Rgb}, {"BGR", Mode::Bgr}});
  const json& steps = whole["steps"];
  if (!steps.is_array()) wrong("steps", "a list", steps);
  whole.no_other();
  StepParser parser(result);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    parser.parse(steps[i], "steps[" + std::to_string(i) + "]");
  }
  parser.finish();
  return result;
}

}  // namespace

Description parse_description(const std::string& text, const std::string& path) {
  std::string problem;
  try {
    return parse_document(parse_json(text));
  } catch (const Problem& found) {
    problem = found.text;
  } catch (const InvalidJson& error) {
    problem = error.what();
  }
  const std::string subject = path.empty() ? "" : "'" + path + "' is ";
  throw Error(ErrorCode::BadModel,
              subject + "not a valid description of preprocessing: " + printable(problem));
}

}  // namespace lenet

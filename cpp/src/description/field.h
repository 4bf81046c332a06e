/// A value in a parsed file, and where it is, for readers that say what is wrong where.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "images/steps.h"
#include "io/json.h"

namespace lenet {

struct Field {
  static constexpr std::size_t kShown = 60;  // characters of a wrong value

  const nlohmann::json& value;
  std::string where;            ///< such as "steps[0].size"; nothing for the document
  std::set<std::string> asked;  ///< members

  [[gnu::noinline]] ~Field() {}  // at each of a hundred places it would take as much as a call

  [[noreturn]] void fail(const std::string& problem) const {
    throw InvalidJson(where.empty() ? problem : where + ": " + problem);
  }
  [[noreturn]] void wrong(const std::string& expected) const {
    fail((where.empty() ? "the document: expected " : "expected ") + expected + ", found " +
         shown());
  }
  std::string shown() const {
    std::string text = value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    return text.size() > kShown ? text.substr(0, kShown - 3) + "..." : text;
  }

  bool has(const char* name) const { return value.contains(name); }
  /// Whether it is there, and not null.
  bool gives(const char* name) {
    asked.insert(name);
    return has(name) && !value.at(name).is_null();
  }
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
    for (const nlohmann::json& item : value) {
      result.push_back({item, where + "[" + std::to_string(result.size()) + "]", {}});
    }
    return result;
  }

  std::int64_t integer(std::int64_t max, std::int64_t min = 1) const {
    // As a double an integer of any size can be compared.
    if (!value.is_number_integer() || value.get<double>() < static_cast<double>(min) ||
        value.get<double>() > static_cast<double>(max)) {
      wrong("an integer from " + std::to_string(min) + " to " + std::to_string(max));
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

  double real() const {
    if (!value.is_number()) wrong("a number");
    const double number = value.get<double>();
    if (!(std::abs(number) <= static_cast<double>(std::numeric_limits<float>::max()))) {
      wrong("a number that float32 holds");
    }
    return number;
  }
  float number() const { return static_cast<float>(real()); }

  std::vector<float> numbers() const {
    std::vector<float> result;
    for (const Field& item : items()) result.push_back(item.number());
    return result;
  }

  bool boolean() const {
    if (!value.is_boolean()) wrong("true or false");
    return value.get<bool>();
  }
  std::string text() const {
    if (!value.is_string()) wrong("a text");
    return value.get<std::string>();
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

}  // namespace lenet

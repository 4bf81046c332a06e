#include "io/yaml.h"

#include <charconv>
#include <nlohmann/json.hpp>
#if LENET_HAS_YAML
#include <yaml.h>

#include <algorithm>
#include <limits>
#include <new>
#endif

#include "io/json.h"
#include "io/printable.h"
#include "io/text.h"
#include "lenet/error.h"

namespace lenet {

using nlohmann::json;

#if LENET_HAS_YAML
namespace {

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCode::Unsupported, what); }

bool is_one_of(std::string_view text, std::initializer_list<const char*> others) {
  return std::find(others.begin(), others.end(), text) != others.end();
}

/// "true", "True" or "TRUE".
bool is_word(std::string_view text, std::string_view word) {
  if (text.size() != word.size() || text.empty()) return false;
  std::string other(word);
  if (text == other) return true;
  other[0] = static_cast<char>(other[0] - 'a' + 'A');
  if (text == other) return true;
  for (std::size_t i = 1; i < other.size(); ++i) other[i] = static_cast<char>(word[i] - 'a' + 'A');
  return text == other;
}

bool has_only(std::string_view text, const char* bytes) {
  return !text.empty() && text.find_first_not_of(bytes) == std::string_view::npos;
}

/// A number in base 2, 8, 16 or 60, or with underscores. `text` has no sign.
bool is_odd_number(std::string_view text) {
  const bool zero = text.size() > 1 && text[0] == '0';
  if (zero && text[1] == 'b') return has_only(text.substr(2), "01_");
  if (zero && text[1] == 'x') return has_only(text.substr(2), "0123456789abcdefABCDEF_");
  if (zero && has_only(text, "01234567_")) return true;
  const bool digits = text[0] >= '0' && text[0] <= '9' && has_only(text, "0123456789_:.");
  return digits && text.find_first_of("_:") != std::string_view::npos;
}

/// A fraction, of which the dot is a must, and an exponent, of which the sign is. Without a sign.
bool is_float(std::string_view text) {
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos) return false;
  const std::size_t end = std::min(text.find_first_of("eE"), text.size());
  const std::string_view exponent = text.substr(end);
  const bool scaled = exponent.size() > 2 && (exponent[1] == '-' || exponent[1] == '+') &&
                      has_only(exponent.substr(2), "0123456789");
  if (dot > end || !(exponent.empty() || scaled)) return false;
  const std::string_view before = text.substr(0, dot);
  const std::string_view after = text.substr(dot + 1, end - dot - 1);
  const auto digits = [](std::string_view part) { return has_only(part, "0123456789"); };
  return digits(before) ? after.empty() || digits(after) : before.empty() && digits(after);
}

/// A value that stands there without quotes.
json plain_value(const std::string& text) {
  if (text.empty() || text == "~" || is_word(text, "null")) return nullptr;
  for (const char* word : {"true", "yes", "on"}) {
    if (is_word(text, word)) return true;
  }
  for (const char* word : {"false", "no", "off"}) {
    if (is_word(text, word)) return false;
  }
  const bool negative = text[0] == '-';
  const std::string_view number = std::string_view(text).substr(negative || text[0] == '+' ? 1 : 0);
  if (number.empty()) return text;
  if (is_one_of(number, {".inf", ".Inf", ".INF"})) {
    const double infinity = std::numeric_limits<double>::infinity();
    return negative ? -infinity : infinity;
  }
  if (is_one_of(text, {".nan", ".NaN", ".NAN"})) return std::numeric_limits<double>::quiet_NaN();
  if (is_odd_number(number)) {
    refuse("'" + printable(text) +
           "' is another number in another version of YAML: write it in base 10, or in quotes");
  }
  const bool integer = has_only(number, "0123456789");
  if (!integer && !is_float(number)) return text;
  std::int64_t value = 0;
  const auto end = std::from_chars(number.data(), number.data() + number.size(), value);
  if (integer && end.ec == std::errc()) return negative ? -value : value;
  // Not strtod, whose decimal point is the locale's. What is out of range stays as it is here.
  const bool tiny = number.find("e-") != number.npos || number.find("E-") != number.npos;
  double real = tiny ? 0 : std::numeric_limits<double>::infinity();
  std::from_chars(number.data(), number.data() + number.size(), real);
  return negative ? -real : real;
}

class Reader {
 public:
  Reader(std::string_view text, const std::set<std::string>& members) : members_(members) {
    if (yaml_parser_initialize(&parser_) == 0) throw std::bad_alloc();
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()),
                                 text.size());
    yaml_parser_set_encoding(&parser_, YAML_UTF8_ENCODING);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() {
    yaml_event_delete(&event_);
    yaml_parser_delete(&parser_);
  }

  json document() {
    next();  // the stream begins
    if (next() == YAML_STREAM_END_EVENT) return nullptr;
    next();
    json value = take(0);
    next();  // the document ends
    if (next() != YAML_STREAM_END_EVENT) throw InvalidJson("a second document follows the first");
    return value;
  }

 private:
  yaml_event_type_t next() {
    yaml_event_delete(&event_);
    if (yaml_parser_parse(&parser_, &event_) != 0) return event_.type;
    if (parser_.error == YAML_MEMORY_ERROR) throw std::bad_alloc();
    const char* problem = parser_.problem != nullptr ? parser_.problem : "it is damaged";
    throw InvalidJson("line " + std::to_string(parser_.problem_mark.line + 1) + ": " + problem);
  }

  [[noreturn]] void refuse_here(const std::string& what) const {
    refuse("line " + std::to_string(event_.start_mark.line + 1) + ": " + what);
  }

  /// Python's tag of a tuple is a list's all the same: PaddleX 2 writes it.
  void check(const unsigned char* tag) const {
    if (tag == nullptr) return;
    const std::string name = reinterpret_cast<const char*>(tag);
    if (name == "tag:yaml.org,2002:str" && event_.type == YAML_SCALAR_EVENT) return;
    if (name == "tag:yaml.org,2002:python/tuple" && event_.type == YAML_SEQUENCE_START_EVENT)
      return;
    refuse_here("a tag, '" + printable(name) + "'");
  }

  std::string scalar() const {
    const auto& data = event_.data.scalar;
    return {reinterpret_cast<const char*>(data.value), data.length};
  }

  /// The value that the event begins.
  json take(std::size_t depth) {
    if (event_.type == YAML_ALIAS_EVENT) refuse_here("an alias");
    if (event_.type == YAML_SCALAR_EVENT) {
      const auto& data = event_.data.scalar;
      check(data.tag);
      return data.style == YAML_PLAIN_SCALAR_STYLE && data.tag == nullptr ? plain_value(scalar())
                                                                          : json(scalar());
    }
    check_depth(depth);
    if (event_.type == YAML_SEQUENCE_START_EVENT) {
      check(event_.data.sequence_start.tag);
      json list = json::array();
      while (next() != YAML_SEQUENCE_END_EVENT) list.push_back(take(depth + 1));
      return list;
    }
    check(event_.data.mapping_start.tag);
    json mapping = json::object();
    while (next() != YAML_MAPPING_END_EVENT) {
      if (event_.type != YAML_SCALAR_EVENT) refuse_here("the name of a member is no text");
      std::string name = scalar();
      if (name == "<<") refuse_here("a merged mapping, '<<'");
      next();
      if (depth == 0 && members_.count(name) == 0) {
        skip();
        continue;
      }
      json value = take(depth + 1);
      const auto [at, is_new] = mapping.emplace(std::move(name), std::move(value));
      if (!is_new) throw InvalidJson("'" + at.key() + "' comes a second time");
    }
    return mapping;
  }

  static void check_depth(std::size_t depth) {
    if (depth < kMaxJsonDepth) return;
    throw InvalidJson("it is nested too deeply, more than " + std::to_string(kMaxJsonDepth) +
                      " levels");
  }

  /// Passes over the value that the event begins, whatever it holds.
  void skip() {
    for (std::size_t depth = 0;; next()) {
      if (event_.type == YAML_SEQUENCE_START_EVENT || event_.type == YAML_MAPPING_START_EVENT) {
        check_depth(++depth);
      }
      if (event_.type == YAML_SEQUENCE_END_EVENT || event_.type == YAML_MAPPING_END_EVENT) --depth;
      if (depth == 0) return;
    }
  }

  const std::set<std::string>& members_;
  yaml_parser_t parser_;
  yaml_event_t event_{};
};

}  // namespace

json parse_yaml(std::string_view text, const std::set<std::string>& members) {
  if (text.size() > kMaxYamlBytes) {
    refuse("it has " + std::to_string(text.size()) + " bytes; at most " +
           std::to_string(kMaxYamlBytes) + " are read");
  }
  return Reader(without_mark(text), members).document();
}

#else

json parse_yaml(std::string_view /*text*/, const std::set<std::string>& /*members*/) {
  throw Error(ErrorCode::Unsupported,
              "this build reads no YAML; apt-get install libyaml-dev, and build again");
}

#endif

}  // namespace lenet

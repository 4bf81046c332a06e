#include "io/json_value.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace lenet {
namespace {

[[noreturn]] void fail(const char* problem) { throw InvalidJson(problem); }

/// \param at where the opening quote is
/// \returns the place after the closing one
std::size_t end_of_text(std::string_view text, std::size_t at) {
  for (++at; at < text.size(); ++at) {
    if (text[at] == '"') return at + 1;
    if (text[at] == '\\') ++at;
  }
  fail("a text has no end");
}

/// \returns how many bytes the value has that `text` begins with
std::size_t size_of_value(std::string_view text) {
  std::size_t depth = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    switch (text[at]) {
      case '"':
        at = end_of_text(text, at);
        break;
      case '{':
      case '[':
        if (++depth > kMaxJsonDepth) fail("it is nested too deeply");
        ++at;
        continue;
      case '}':
      case ']':
        if (depth == 0) return at;
        --depth;
        ++at;
        break;
      case ',':
      case ':':
      case ' ':
      case '\t':
      case '\r':
      case '\n':
        if (depth == 0) return at;
        ++at;
        continue;
      default:  // of a number or a literal, which ends before one of the others
        ++at;
        continue;
    }
    if (depth == 0) return at;
  }
  if (depth > 0) fail("it is cut short");
  return at;
}

/// A number or text. One takes several times its bytes here.
nlohmann::json parse_leaf(std::string_view bytes) {
  constexpr std::size_t kMaxLeaf = 1 << 20;
  if (bytes.size() > kMaxLeaf) fail("a number or text is too long");
  try {
    return nlohmann::json::parse(bytes);
  } catch (const nlohmann::json::exception& error) {
    throw InvalidJson(error.what());
  }
}

}  // namespace

JsonValue JsonValue::parse(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  const std::size_t size = size_of_value(text);
  if (size == 0) fail("there is no value");
  if (text.find_first_not_of(kBlanks, size) != std::string_view::npos) fail("something follows it");
  return JsonValue(text.substr(0, size));
}

std::string JsonValue::text() const {
  if (!is_text()) fail("a value is no text");
  const std::string_view inside = bytes_.substr(1, bytes_.size() - 2);
  const bool plain = std::all_of(inside.begin(), inside.end(), [](char byte) {
    return byte >= ' ' && byte <= '~' && byte != '\\';
  });
  return plain ? std::string(inside) : parse_leaf(bytes_).get<std::string>();
}

std::optional<std::int64_t> JsonValue::integer() const {
  const std::size_t first = begins('-') ? 1 : 0;
  const bool zeros = bytes_.size() > first + 1 && bytes_[first] == '0';  // JSON has none in front
  std::int64_t value = 0;
  const auto end = std::from_chars(bytes_.data(), bytes_.data() + bytes_.size(), value);
  const bool whole = end.ec == std::errc() && end.ptr == bytes_.data() + bytes_.size();
  return whole && !zeros ? std::optional(value) : std::nullopt;
}

std::optional<double> JsonValue::real() const {
  if (is_object() || is_array()) return std::nullopt;
  const nlohmann::json value = parse_leaf(bytes_);
  return value.is_number_float() ? std::optional(value.get<double>()) : std::nullopt;
}

JsonValue::Cursor::Cursor(std::string_view bytes, char open) : left_(bytes), open_(open) {
  if (left_.empty() || left_[0] != open)
    fail(open == '{' ? "a value is no object" : "a value is no list");
  left_.remove_prefix(1);
}

bool JsonValue::Cursor::next() {
  skip_blanks();
  const char close = open_ == '{' ? '}' : ']';
  if (left_.size() == 1 && left_[0] == close) return false;
  if (!first_) expect(',');
  first_ = false;
  return true;
}

JsonValue JsonValue::Cursor::value() {
  skip_blanks();
  const std::size_t size = size_of_value(left_);
  if (size == 0) fail("a value is missing");
  const JsonValue found(left_.substr(0, size));
  left_.remove_prefix(size);
  return found;
}

void JsonValue::Cursor::expect(char byte) {
  skip_blanks();
  if (left_.empty() || left_[0] != byte) fail("a separator is missing");
  left_.remove_prefix(1);
}

void JsonValue::Cursor::skip_blanks() {
  left_.remove_prefix(std::min(left_.find_first_not_of(" \t\r\n"), left_.size()));
}

}  // namespace lenet

#include "io/json.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "io/text.h"

namespace lenet {
namespace {

struct TooDeep : TooLong {
  using TooLong::TooLong;
};

[[noreturn]] void fail(const std::string& problem) { throw InvalidJson(problem); }

void skip_blanks(std::string_view& text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')) ++at;
  text = {at, static_cast<std::size_t>(end - at)};
}

/// What a byte is to the structure of a text.
enum Role : unsigned char { kPlain, kBetween, kQuote, kOpen, kClose };
constexpr std::array<Role, 256> make_roles() {
  std::array<Role, 256> roles{};
  roles['"'] = kQuote;
  roles['{'] = roles['['] = kOpen;
  roles['}'] = roles[']'] = kClose;
  for (const char byte : {',', ':', ' ', '\t', '\r', '\n'}) {
    roles[static_cast<unsigned char>(byte)] = kBetween;
  }
  return roles;
}
constexpr std::array<Role, 256> kRoles = make_roles();

/// \param at where the opening quote is
/// \returns where the closing one is
const char* end_of_text(const char* at, const char* end) {
  while (++at < end && *at != '"') {
    if (*at == '\\' && ++at == end) break;
  }
  if (at == end) fail("a text has no end");
  return at;
}

/// \param ends added to
/// \returns how many bytes the value has that `text` begins with
std::size_t size_of_value(std::string_view text, JsonValue::Ends& ends) {
  if (const char* known = ends.find(text.data())) {
    return static_cast<std::size_t>(known - text.data());
  }
  std::array<const char*, kMaxProgramDepth> begins;
  std::size_t depth = 0;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at != end; ++at) {
    // A number or a literal ends before one of the others.
    const Role passed = depth > 0 ? kBetween : kPlain;
    Role role = kPlain;
    while (at != end && (role = kRoles[static_cast<unsigned char>(*at)]) <= passed) ++at;
    if (at == end) break;
    if (depth == 0 && (role == kClose || role == kBetween)) {
      return static_cast<std::size_t>(at - text.data());
    }
    if (role == kQuote) {
      at = end_of_text(at, end);
    } else if (role == kOpen) {
      if (depth == ends.max_depth()) {
        throw TooDeep("it is nested too deeply, more than " + std::to_string(depth) + " levels");
      }
      begins[depth++] = at;
    } else {
      ends.add(begins[--depth], at + 1);
    }
    if (depth == 0) return static_cast<std::size_t>(at + 1 - text.data());
  }
  if (depth > 0) fail("it is cut short");
  return text.size();
}

nlohmann::json parse_tree(std::string_view text) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw InvalidJson(error.what());
  }
}

/// A number or text. One takes several times its bytes here.
nlohmann::json parse_leaf(std::string_view bytes) {
  constexpr std::size_t kMaxLeaf = 1 << 20;
  if (bytes.size() > kMaxLeaf) throw TooLong("a number or text is longer than 1 MiB");
  return parse_tree(bytes);
}

void require_unique_names(const JsonValue& value) {
  if (value.is_array()) value.each_item(require_unique_names);
  if (!value.is_object()) return;
  std::set<std::string> names;
  value.each_member([&](std::string_view name, const JsonValue& member) {
    if (!names.emplace(name).second) fail("'" + std::string(name) + "' comes a second time");
    require_unique_names(member);
  });
}

}  // namespace

nlohmann::json parse_json(std::string_view text) {
  text = without_mark(text);
  try {
    JsonValue::Ends ends;
    require_unique_names(JsonValue::parse(text, ends));
  } catch (const TooDeep&) {
    throw;  // before a tree is made
  } catch (const InvalidJson&) {
    parse_tree(text);  // tells the line of what is no JSON
    throw;
  }
  return parse_tree(text);
}

std::string python_text(const nlohmann::json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return "None";
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  return value.dump();
}

JsonValue JsonValue::parse(std::string_view text, Ends& ends) {
  const JsonValue value = JsonValue({}, &ends).take_value(text);
  skip_blanks(text);
  if (!text.empty()) fail("something follows it");
  return value;
}

JsonValue JsonValue::take_value(std::string_view& text) const {
  skip_blanks(text);
  const JsonValue value(text.substr(0, size_of_value(text, *ends_)), ends_);
  if (!value) fail("a value is missing");
  text.remove_prefix(value.bytes().size());
  return value;
}

std::string JsonValue::text() const {
  const auto plain = plain_text();
  return plain ? std::string(*plain) : parse_leaf(bytes_).get<std::string>();
}

std::optional<std::string_view> JsonValue::plain_text() const {
  if (!is_text()) fail("a value is no text");
  const std::string_view inside(bytes_.data() + 1, bytes_.size() - 2);
  for (const char byte : inside) {
    if (byte < ' ' || byte > '~' || byte == '\\') return std::nullopt;
  }
  return inside;
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

void JsonValue::take(char byte, std::string_view& text) {
  skip_blanks(text);
  if (text.empty() || text[0] != byte) fail(std::string("a '") + byte + "' is missing");
  text.remove_prefix(1);
}

bool JsonValue::is_followed(char before, char close, std::string_view& text) {
  const auto at_end = [&] {
    skip_blanks(text);
    return text.size() == 1 && text[0] == close;
  };
  if (before == ',' && at_end()) return false;
  take(before, text);
  return before == ',' || !at_end();
}

}  // namespace lenet

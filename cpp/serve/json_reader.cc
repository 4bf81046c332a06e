#include "json_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <type_traits>

namespace lenet::serve {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::ptrdiff_t take_digits(const char*& at, const char* end, std::uint64_t& value) {
  const char* const first = at;
  for (; at != end && is_digit(*at); ++at) value = value * 10 + static_cast<unsigned>(*at - '0');
  return at - first;
}

/// Takes what most numbers are, which std::from_chars takes twice as long for: up to 19 digits
/// without an exponent, by a division in float64. The digits and the quotient are rounded, by two
/// units in the last place at most.
/// \returns false, having taken nothing, for others, and where that could change the float32
bool take_plain(const char*& at, const char* end, float& value) {
  constexpr double kPowers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,
                                1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19};
  const char* next = at;
  const bool negative = next != end && *next == '-';
  const char* const whole = next += negative ? 1 : 0;
  std::uint64_t digits = 0;
  std::ptrdiff_t count = take_digits(next, end, digits);
  const bool has_zero = count > 0 && *whole == '0';
  const bool has_point = next != end && *next == '.';
  const std::ptrdiff_t decimals = has_point ? take_digits(++next, end, digits) : 0;
  if (count == 0 || (has_zero && count > 1) || (has_point && decimals == 0)) return false;
  count += decimals - (has_zero ? 1 : 0);
  if (count > 19 || (next != end && (*next == 'e' || *next == 'E'))) return false;
  const double near = static_cast<double>(digits) / kPowers[decimals];
  std::uint64_t bits = 0;
  std::memcpy(&bits, &near, sizeof(bits));
  constexpr std::uint64_t kMiddle = std::uint64_t{1} << 28;  // between two float32
  if ((bits & (2 * kMiddle - 1)) - (kMiddle - 4) <= 8) return false;
  value = static_cast<float>(negative ? -near : near);
  at = next;
  return true;
}

nlohmann::json parse_text(std::string_view quoted) try {
  return nlohmann::json::parse(quoted);
} catch (const nlohmann::json::exception&) {
  throw InvalidJson("a text is not valid UTF-8, or has an invalid escape or a control character");
}

}  // namespace

void JsonReader::fail(const std::string& problem) const {
  throw InvalidJson("not valid JSON at byte " + std::to_string(at_ - begin_) + ": " + problem);
}

bool JsonReader::word(std::string_view word) {
  skip_blanks();
  const bool is =
      std::string_view(at_, static_cast<std::size_t>(end_ - at_)).substr(0, word.size()) == word;
  at_ += is ? word.size() : 0;
  return is;
}

std::string_view JsonReader::view_text(std::string& decoded) {
  if (peek() != '"') fail("expected a text");
  const char* const first = at_++;
  bool plain = true;
  for (; at_ != end_ && *at_ != '"'; ++at_) {
    plain = plain && *at_ >= ' ' && *at_ <= '~' && *at_ != '\\';
    if (*at_ == '\\' && ++at_ == end_) break;
  }
  if (at_ == end_) fail("a text does not end");
  ++at_;
  const std::string_view bytes(first, static_cast<std::size_t>(at_ - first));
  if (plain) return bytes.substr(1, bytes.size() - 2);
  return decoded = parse_text(bytes).get<std::string>();
}

bool JsonReader::boolean() {
  if (word("true")) return true;
  if (!word("false")) fail("expected true or false");
  return false;
}

template <typename Number>
bool JsonReader::take_number(Number& value) {
  skip_blanks();
  const char* const first = at_ + (at_ != end_ && *at_ == '-' ? 1 : 0);
  const auto [end, error] = std::from_chars(at_, end_, value);
  // std::from_chars also takes "01", "1.", ".5", "inf" and "nan", and of "1e" the digit.
  const char* const point = std::find(at_, end, '.');
  const bool is_number = end > first && is_digit(*first) &&
                         (*first != '0' || first + 1 == end_ || !is_digit(first[1])) &&
                         (point == end || (point + 1 != end && is_digit(point[1]))) &&
                         (end == end_ || (*end != '.' && *end != 'e' && *end != 'E'));
  if (!is_number) {
    fail(std::is_integral_v<Number> ? "expected an integer of 64 bits" : "expected a number");
  }
  at_ = end;
  return error == std::errc();
}

std::int64_t JsonReader::integer() {
  std::int64_t value = 0;
  if (!take_number(value)) fail("expected an integer of 64 bits");
  return value;
}

float JsonReader::number() {
  skip_blanks();
  const char* const first = at_;
  float value = 0;
  if (take_plain(at_, end_, value) || take_number(value)) return value;
  // std::from_chars does not say whether it is too large or too small.
  value = std::strtof(std::string(first, at_).c_str(), nullptr);
  if (std::isinf(value)) fail("a number is too large for float32");
  return value;
}

void JsonReader::data(JsonData& data, std::size_t most, std::size_t level) {
  if (level == data.shape.size()) {
    if (!data.numbers.empty() || !data.texts.empty()) fail("lists of different depth");
    data.shape.push_back(-1);  // not known before the first list of this level ends
  }
  std::int64_t count = 0;
  array([&] {
    ++count;
    const char next = peek();
    if (next == '[') return this->data(data, most, level + 1);
    if (level + 1 != data.shape.size()) fail("lists of different depth");
    if (data.numbers.size() + data.texts.size() >= most) {
      fail("more than " + std::to_string(most) + " values");
    }
    const bool is_text = next == '"';
    if (is_text ? !data.numbers.empty() : !data.texts.empty()) fail("numbers among texts");
    if (is_text) {
      data.texts.push_back(text());
    } else {
      data.numbers.push_back(number());
    }
  });
  if (data.shape[level] >= 0 && data.shape[level] != count) fail("lists of different length");
  data.shape[level] = count;
}

JsonData JsonReader::data(std::size_t most, std::size_t expected) {
  JsonData data;
  // A number takes two bytes at least, with its comma.
  data.numbers.reserve(std::min({most, expected, static_cast<std::size_t>(end_ - at_) / 2}));
  this->data(data, most, 0);
  return data;
}

void JsonReader::skip() {
  const char next = peek();
  // A member without a name is one more that nobody reads.
  if (next == '{') return object({""}, [&](std::size_t) { skip(); });
  if (next == '[') return array([&] { skip(); });
  if (next == '"') return static_cast<void>(text());
  if (word("true") || word("false") || word("null")) return;
  if (next != '-' && !is_digit(next)) fail("expected a value");
  float ignored = 0;
  take_number(ignored);
}

void JsonReader::end() {
  if (peek() != '\0' || at_ != end_) fail("something follows it");
}

void append_json(std::string& to, std::string_view text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char byte) {
    return byte >= ' ' && byte <= '~' && byte != '\\' && byte != '"';
  });
  if (plain) {
    to.append(1, '"').append(text).append(1, '"');
  } else {
    to += nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  }
}

bool append_json(std::string& to, float value) {
  if (!std::isfinite(value)) return false;
  char digits[32];
  to.append(digits, std::to_chars(digits, digits + sizeof(digits), value).ptr);
  return true;
}

void append_json(std::string& to, const Shape& shape) {
  to += '[';
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) to += ',';
    to += std::to_string(shape[i]);
  }
  to += ']';
}

}  // namespace lenet::serve

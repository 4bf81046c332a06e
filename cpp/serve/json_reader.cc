#include "json_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

namespace lenet::serve {
namespace {

constexpr double kPowers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                              1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                              1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
constexpr std::int64_t kMaxPower = 22;  // larger ones are not exact in float64

/// A number as it is written: digits * 10^(exponent - decimals).
struct Decimal {
  bool negative = false;
  std::uint64_t digits = 0;  ///< modulo 2^64
  std::ptrdiff_t count = 0;  ///< of the digits, without a single zero in front
  std::ptrdiff_t decimals = 0;
  std::int64_t exponent = 0;
};

std::ptrdiff_t take_digits(const char*& at, const char* end, std::uint64_t& value) {
  const char* const first = at;
  for (; at != end && *at >= '0' && *at <= '9'; ++at) {
    value = value * 10 + static_cast<std::uint64_t>(*at - '0');
  }
  return at - first;
}

/// Takes a number of JSON's grammar. \returns whether there is one
bool take_decimal(const char*& at, const char* end, Decimal& number) {
  number.negative = at != end && *at == '-';
  at += number.negative ? 1 : 0;
  const bool has_zero = at != end && *at == '0';
  number.count = take_digits(at, end, number.digits);
  if (number.count == 0 || (has_zero && number.count > 1)) return false;
  if (at != end && *at == '.') {
    number.decimals = take_digits(++at, end, number.digits);
    if (number.decimals == 0) return false;
  }
  number.count += number.decimals - (has_zero ? 1 : 0);
  if (at == end || (*at != 'e' && *at != 'E')) return true;
  ++at;
  const bool negative = at != end && *at == '-';
  if (at != end && (*at == '-' || *at == '+')) ++at;
  const char* const first = at;
  std::uint64_t exponent = 0;
  const std::ptrdiff_t count = take_digits(at, end, exponent);
  constexpr std::int64_t kMost = std::int64_t{1} << 40;  // more digits than a text can have
  number.exponent = kMost;
  if (count < 19 || std::from_chars(first, at, exponent).ec == std::errc()) {
    number.exponent = static_cast<std::int64_t>(std::min<std::uint64_t>(exponent, kMost));
  }
  if (negative) number.exponent = -number.exponent;
  return count > 0;
}

/// What nearly all numbers take: one division in float64, of which the digits, the power and the
/// quotient are rounded, by two units in the last place at most.
/// \returns false where that could change the float32 it is rounded to
bool convert(const Decimal& number, float& value) {
  const std::int64_t power = number.exponent - number.decimals;
  if (number.count > 19 || power > kMaxPower || power < -kMaxPower) return false;
  const auto digits = static_cast<double>(number.digits);
  const double near = power < 0 ? digits / kPowers[-power] : digits * kPowers[power];
  std::uint64_t bits = 0;
  std::memcpy(&bits, &near, sizeof(bits));
  // Close to the middle between two float32, or where these have fewer digits or end.
  constexpr std::uint64_t kMiddle = std::uint64_t{1} << 28;
  const std::uint64_t dropped = bits & (2 * kMiddle - 1);
  if (dropped - (kMiddle - 4) <= 8 || near > 1e38 || (near < 1e-37 && near != 0)) return false;
  value = static_cast<float>(number.negative ? -near : near);
  return true;
}

/// Whether a number that is out of range is too large, rather than too small.
bool is_large(std::string_view text, const Decimal& number) {
  text = text.substr(0, text.find_first_of("eE"));
  const std::size_t first = text.find_first_of("123456789");
  const std::size_t point = std::min(text.find('.'), text.size());
  return number.exponent + static_cast<std::int64_t>(point) > static_cast<std::int64_t>(first);
}

nlohmann::json parse_text(std::string_view quoted) {
  try {
    return nlohmann::json::parse(quoted);
  } catch (const nlohmann::json::exception&) {
    throw InvalidJson("a text is not valid UTF-8, or has an invalid escape or a control character");
  }
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

std::int64_t JsonReader::integer() {
  skip_blanks();
  const char* const first = at_;
  Decimal number;
  const bool is_number = take_decimal(at_, end_, number);
  std::int64_t value = 0;
  const auto end = std::from_chars(first, at_, value);
  if (!is_number || end.ec != std::errc() || end.ptr != at_) fail("expected an integer of 64 bits");
  return value;
}

float JsonReader::number() {
  skip_blanks();
  const char* const first = at_;
  Decimal number;
  if (!take_decimal(at_, end_, number)) fail("expected a number");
  float value = 0;
  if (convert(number, value)) return value;
  // It leaves `value` as it is when it reports that the number is too large, or too small.
  if (std::from_chars(first, at_, value).ec != std::errc::result_out_of_range) return value;
  const std::string_view text(first, static_cast<std::size_t>(at_ - first));
  if (is_large(text, number)) fail("a number is too large for float32");
  return number.negative ? -0.0F : 0.0F;
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
  switch (peek()) {
    case '{': {
      constexpr std::string_view kNone[] = {""};
      // A member without a name is one more that nobody reads.
      return object(kNone, [&](std::size_t) { skip(); });
    }
    case '[':
      return array([&] { skip(); });
    case '"':
      return static_cast<void>(text());
    case 't':
    case 'f':
      return static_cast<void>(boolean());
    case 'n':
      if (!word("null")) fail("expected a value");
      return;
    default:
      Decimal number;
      if (!take_decimal(at_, end_, number)) fail("expected a value");
  }
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
    to += nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
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

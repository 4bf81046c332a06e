// The JSON of requests.

#include <array>
#include <charconv>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>

#include "json_reader.h"
#include "support.h"

namespace lenet::tests {
namespace {

float parse_float(const std::string& text) { return serve::JsonReader(text).number(); }

}  // namespace

TEST_CASE("numbers of JSON are the nearest float32, and those that are too large are errors") {
  std::mt19937_64 random(7);
  const auto check = [](const std::string& text) {
    CAPTURE(text);
    const float value = parse_float(text);
    const float nearest = std::strtof(text.c_str(), nullptr);
    CHECK(std::memcmp(&value, &nearest, sizeof(value)) == 0);
  };
  for (const char* text : {"0",
                           "-0",
                           "0.0",
                           "-0.0e5",
                           "1",
                           "0.1",
                           "16777217",
                           "16777217.000000001",
                           "16777218.999999999",
                           "1.00000005960464477539062500000001",
                           "3.4028235e38",
                           "3.4028235677973366e38",
                           "-1e38",
                           "1e-45",
                           "7e-46",
                           "1e-60",
                           "-1e-400",
                           "0e999",
                           "0.000000e-999",
                           "123456789012345678901234567890",
                           "9007199254740993",
                           "1000000000000000000000000000000000000000e-39",
                           "0.00000000000000000000000000000001e33"}) {
    check(text);
  }
  for (int i = 0; i < 100'000; ++i) {
    const auto bits = static_cast<std::uint32_t>(random());
    float value = 0;
    std::memcpy(&value, &bits, sizeof(value));
    if (!std::isfinite(value)) continue;
    std::string text;
    REQUIRE(serve::append_json(text, value));
    CHECK(std::memcmp(&value, std::array{parse_float(text)}.data(), sizeof(value)) == 0);
    // Between two float32, and just beside it: decimals of which float64 keeps too few digits.
    const double middle = (static_cast<double>(value) + std::nextafterf(value, 2 * value)) / 2;
    char digits[64];
    check({digits,
           std::to_chars(digits, digits + 64, middle, std::chars_format::scientific, 20).ptr});
    check({digits,
           std::to_chars(digits, digits + 64, middle * 0.75, std::chars_format::general, 9).ptr});
  }
  for (const char* text : {"1e39", "3.5e38", "-1e999999999999999999999", "100000e35", "0.001e42"}) {
    CHECK_THROWS_WITH_AS(parse_float(text), doctest::Contains("too large"), InvalidJson);
  }
  for (const char* text : {"", "-", "+1", ".5", "1.", "01", "-01", "1e", "1e+", "nan", "inf",
                           "Infinity", "--1", "e5"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(serve::JsonReader(text).number(), InvalidJson);
  }
}

TEST_CASE("a request is strict JSON") {
  const auto skip = [](const std::string& text) {
    serve::JsonReader reader(text);
    reader.skip();
    reader.end();
  };
  for (const std::string text : {"{}", "[]", " [1, -2.5e3 ,\"\\u00e4\\\"\", null, true,false] ",
                                 "{\"a\":{\"b\":[[]]}}", "\"\xc3\xa4\""}) {
    CAPTURE(text);
    CHECK_NOTHROW(skip(text));
    CHECK(nlohmann::json::accept(text));
  }
  for (const std::string text :
       {"",       "{",         "[1,]",   "{\"a\":1,}", "{a:1}",       "[1 2]", "\"",
        "\"\\\"", "\"\\x\"",   "\"\n\"", "\"\xff\"",   "\"\\ud800\"", "nul",   "truefalse",
        "[1]]",   "{\"a\" 1}", "[\"\\",  "'a'",        "0x1",         "// a"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(skip(text), InvalidJson);
    CHECK_FALSE(nlohmann::json::accept(text));
  }
  CHECK_NOTHROW(skip(std::string(kMaxJsonDepth, '[') + std::string(kMaxJsonDepth, ']')));
  CHECK_THROWS_WITH_AS(skip(std::string(100'000, '[')), doctest::Contains("deep"), InvalidJson);
}

}  // namespace lenet::tests

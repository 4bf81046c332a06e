/// \file
/// Strict JSON of requests, read in one pass without a tree. What the project reads elsewhere
/// (io/json.h) passes over a value before it is read, which for a request's numbers takes longer
/// than the network.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "lenet/tensor.h"

namespace lenet::serve {

/// The elements of lists in one another: all numbers or all texts.
struct JsonData {
  std::vector<float> numbers;
  std::vector<std::string> texts;
  Shape shape;  ///< as the lists are nested; {n} for a flat list
};

/// Every method takes what it names from the beginning of what is left of the text.
/// \throws InvalidJson (all methods) with the place and the problem, also beyond kMaxJsonDepth.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text)
      : begin_(text.data()), at_(begin_), end_(begin_ + text.size()) {}

  /// Calls `member(i)`, which takes a value, for each member called names[i]. Others are skipped.
  /// \throws InvalidJson also when one of the names comes twice.
  template <std::size_t kCount, typename Member>
  void object(const std::string_view (&names)[kCount], const Member& member) {
    static_assert(kCount < 32, "a bit for each");
    unsigned seen = 0;
    enter('{');
    for (bool more = !take('}'); more; more = goes_on('}')) {
      std::string decoded;
      const std::string_view name = view_text(decoded);
      expect(':');
      std::size_t i = 0;
      while (i < kCount && names[i] != name) ++i;
      if (i == kCount) {
        skip();
        continue;
      }
      if ((seen >> i & 1U) != 0) fail("the member '" + std::string(name) + "' comes twice");
      seen |= 1U << i;
      member(i);
    }
    --depth_;
  }

  /// Calls `element`, which takes a value, for each element.
  template <typename Element>
  void array(const Element& element) {
    enter('[');
    for (bool more = !take(']'); more; more = goes_on(']')) element();
    --depth_;
  }

  std::string text() {
    std::string decoded;
    return std::string(view_text(decoded));
  }
  bool boolean();
  std::int64_t integer();
  /// The nearest float32. \throws InvalidJson also when it is too large for one.
  float number();
  /// \param most elements
  /// \param expected how many there will be, if the text is long enough
  JsonData data(std::size_t most, std::size_t expected);
  void skip();
  /// \throws InvalidJson unless all is taken
  void end();

  [[noreturn]] void fail(const std::string& problem) const;

 private:
  void skip_blanks() {
    while (at_ != end_ && *at_ <= ' ' &&
           (*at_ == ' ' || *at_ == '\n' || *at_ == '\t' || *at_ == '\r')) {
      ++at_;
    }
  }
  /// The next character but for blanks; 0 at the end.
  char peek() {
    skip_blanks();
    return at_ == end_ ? '\0' : *at_;
  }
  bool take(char c) {
    const bool is = peek() == c && at_ != end_;
    at_ += is ? 1 : 0;
    return is;
  }
  void expect(char c) {
    if (!take(c)) fail(std::string("expected '") + c + "'");
  }
  bool goes_on(char close) {
    if (take(',')) return true;
    if (!take(close)) fail(std::string("expected ',' or '") + close + "'");
    return false;
  }
  void enter(char open) {
    expect(open);
    if (++depth_ > kMaxJsonDepth)
      fail("nested more than " + std::to_string(kMaxJsonDepth) + " deep");
  }
  bool word(std::string_view word);
  /// \returns whether the number that comes is in the range of its type
  template <typename Number>
  bool take_number(Number& value);
  /// \param decoded holds what is returned, when it is not as it is written
  std::string_view view_text(std::string& decoded);
  void data(JsonData& data, std::size_t most, std::size_t level);

  const char* begin_;
  const char* at_;
  const char* end_;
  std::size_t depth_ = 0;
};

/// Writes a text with quotes, all but printable ASCII escaped. Bytes that are no UTF-8 become
/// U+FFFD.
void append_json(std::string& to, std::string_view text);
/// The shortest that reads as the same float32. \returns false, having written nothing, for NaN and
/// infinity, which JSON does not have.
bool append_json(std::string& to, float value);
void append_json(std::string& to, const Shape& shape);

}  // namespace lenet::serve

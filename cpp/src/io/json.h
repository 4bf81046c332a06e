/// \file
/// Strict JSON, in time and memory linear in the text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace lenet {

/// What is wrong with a text that is not JSON, or not strict JSON.
class InvalidJson : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A number or text that is longer than any reader needs, or brackets that are nested deeper: it
/// may be valid all the same.
class TooLong : public InvalidJson {
 public:
  using InvalidJson::InvalidJson;
};

/// Objects and lists in one another.
inline constexpr std::size_t kMaxJsonDepth = 32;
/// The limit for programs. Paddle nests them some 15 deep, and 6 more for each `if`.
inline constexpr std::size_t kMaxProgramDepth = 128;

/// \throws InvalidJson also beyond kMaxJsonDepth, and when an object has a member twice, of which
///   readers may take either.
nlohmann::json parse_json(std::string_view text);

/// How Python's str() would write a value that is no list or object.
std::string python_text(const nlohmann::json& value);

/// A value, by its bytes in a text, which must outlive it: no tree is made. What is read is strict
/// JSON; of what is not read only the quotes and the number of brackets are known to be in order.
/// Each level of nesting, of which there are at most as many as Ends says, is passed over once
/// more, but for lists and objects whose end is still known.
class JsonValue {
 public:
  /// Where the lists and objects end that were passed over last.
  class Ends {
   public:
    /// \param max_depth at most kMaxProgramDepth
    explicit Ends(std::size_t max_depth = kMaxJsonDepth) : max_depth_(max_depth) {}
    std::size_t max_depth() const { return max_depth_; }
    void add(const char* begin, const char* end) { place(begin) = {begin, end}; }
    /// \returns null when it is not known
    const char* find(const char* begin) {
      const auto& [found, end] = place(begin);
      return found == begin ? end : nullptr;
    }

   private:
    using Range = std::pair<const char*, const char*>;
    Range& place(const char* begin) {
      return ranges_[reinterpret_cast<std::uintptr_t>(begin) % ranges_.size()];
    }
    std::size_t max_depth_;
    std::array<Range, 2048> ranges_{};  // an operator as Paddle writes it has some 700 bytes
  };

  JsonValue() = default;  ///< none

  /// A whole text.
  /// \param ends must outlive the values
  /// \throws InvalidJson, as all that follow
  static JsonValue parse(std::string_view text, Ends& ends);

  explicit operator bool() const { return !bytes_.empty(); }
  std::string_view bytes() const { return bytes_; }
  bool is_object() const { return begins('{'); }
  bool is_array() const { return begins('['); }
  bool is_text() const { return begins('"'); }

  std::string text() const;
  /// The same, which lives as long as the text; nothing when it has escapes, or is no ASCII.
  std::optional<std::string_view> plain_text() const;
  /// Nothing when it is no integer of 64 bits.
  std::optional<std::int64_t> integer() const;
  /// Nothing when it is no number with a fraction or an exponent.
  std::optional<double> real() const;

  /// Calls `action` with each element of an array.
  template <typename Action>
  void each_item(const Action& action) const {
    std::string_view left = bytes_;
    for (char before = '['; is_followed(before, ']', left); before = ',') action(take_value(left));
  }
  /// Calls `action` with each name and value of an object; names may come again.
  template <typename Action>
  void each_member(const Action& action) const {
    std::string_view left = bytes_;
    for (char before = '{'; is_followed(before, '}', left); before = ',') {
      const JsonValue name = take_value(left);
      take(':', left);
      const auto plain = name.plain_text();
      const std::string decoded = plain ? std::string() : name.text();
      action(plain.value_or(decoded), take_value(left));
    }
  }

 private:
  JsonValue(std::string_view bytes, Ends* ends) : bytes_(bytes), ends_(ends) {}
  bool begins(char byte) const { return !bytes_.empty() && bytes_[0] == byte; }

  // These take from the beginning of a text.
  JsonValue take_value(std::string_view& text) const;
  static void take(char byte, std::string_view& text);
  /// Takes `before` and tells whether a value follows it, or that only `close` is left.
  static bool is_followed(char before, char close, std::string_view& text);

  std::string_view bytes_;
  Ends* ends_ = nullptr;
};

}  // namespace lenet

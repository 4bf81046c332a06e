/// \file
/// Strict JSON that is read where it lies: no tree is made of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "io/json.h"

namespace lenet {

/// A value, by its bytes in a text, which must outlive it. What is read is strict JSON; of what is
/// not read only the quotes and the number of brackets are known to be in order. Each level of
/// nesting, of which there are at most kMaxJsonDepth, is passed over once more.
class JsonValue {
 public:
  JsonValue() = default;  ///< none

  /// A whole text.
  /// \throws InvalidJson, as all that follow
  static JsonValue parse(std::string_view text);

  explicit operator bool() const { return !bytes_.empty(); }
  std::string_view bytes() const { return bytes_; }
  bool is_object() const { return begins('{'); }
  bool is_array() const { return begins('['); }
  bool is_text() const { return begins('"'); }

  std::string text() const;
  /// Nothing when it is no integer of 64 bits.
  std::optional<std::int64_t> integer() const;
  /// Nothing when it is no number with a fraction or an exponent.
  std::optional<double> real() const;

  /// Calls `action` with each element of an array.
  template <typename Action>
  void each_item(const Action& action) const {
    for (Cursor cursor(bytes_, '['); cursor.next();) action(cursor.value());
  }
  /// Calls `action` with each name and value of an object; names may come again.
  template <typename Action>
  void each_member(const Action& action) const {
    for (Cursor cursor(bytes_, '{'); cursor.next();) {
      const std::string name = cursor.value().text();
      cursor.expect(':');
      action(name, cursor.value());
    }
  }

 private:
  /// Goes through the bytes of an array or object.
  class Cursor {
   public:
    Cursor(std::string_view bytes, char open);
    bool next();  ///< whether another element or member follows
    JsonValue value();
    void expect(char byte);

   private:
    void skip_blanks();

    std::string_view left_;
    char open_;
    bool first_ = true;
  };

  explicit JsonValue(std::string_view bytes) : bytes_(bytes) {}
  bool begins(char byte) const { return !bytes_.empty() && bytes_[0] == byte; }

  std::string_view bytes_;
};

}  // namespace lenet

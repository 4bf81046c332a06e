/// \file
/// Reading and rewriting the protocol buffer encoding
/// (https://protobuf.dev/programming-guides/encoding) of Paddle's framework.proto and of
/// onnx.proto, without their generated code: the Paddle library has its own protobuf, which a
/// second one would clash with.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "io/byte_reader.h"
#include "lenet/error.h"

namespace lenet {

/// One field of a message.
struct Field {
  std::uint64_t number = 0;
  std::uint64_t value = 0;        ///< of a varint or fixed-width field
  std::string_view bytes = {};    ///< of a length-delimited field
  bool delimited = false;         ///< whether it is length-delimited
  int wire = 0;                   ///< wire type: 0 varint, 1 64 bits, 2 delimited, 5 32 bits
  std::string_view encoded = {};  ///< the whole field as it stands in the message
};

class FieldReader {
 public:
  /// \param path the file that the message is from, for errors; must outlive the reader
  /// \param what it should be, for errors
  FieldReader(std::string_view message, const std::string& path,
              const char* what = "a Paddle program")
      : message_(message), reader_(message), path_(path), what_(what) {}

  /// Reads the next field; false at the end of the message.
  /// \throws Error BadModel when the encoding is broken.
  bool next(Field& field) {
    if (reader_.at_end()) return false;
    const std::size_t start = message_.size() - reader_.remaining();
    const std::uint64_t key = reader_.read_varint();
    field = {key >> 3, 0, {}, (key & 7) == 2, static_cast<int>(key & 7), {}};
    switch (key & 7) {
      case 0:
        field.value = reader_.read_varint();
        break;
      case 1:
        field.value = reader_.read<std::uint64_t>();
        break;
      case 2:
        field.bytes = reader_.take(reader_.read_varint());
        break;
      case 5:
        field.value = reader_.read<std::uint32_t>();
        break;
      default:
        fail("is damaged: it is not ");
    }
    if (!reader_.ok() || field.number == 0) {
      fail("is damaged or cut short: it is not the whole of ");
    }
    field.encoded = message_.substr(start, message_.size() - reader_.remaining() - start);
    return true;
  }

 private:
  [[noreturn]] void fail(const char* problem) const {
    throw Error(ErrorCode::BadModel, "'" + path_ + "' " + problem + what_);
  }

  std::string_view message_;
  ByteReader reader_;
  const std::string& path_;
  const char* what_;
};

/// Calls `action` with each field of the message.
/// \throws Error as FieldReader, and what `action` throws.
template <typename Action>
void each_field(std::string_view message, const std::string& path, const char* what,
                Action&& action) {
  FieldReader fields(message, path, what);
  for (Field field; fields.next(field);) action(field);
}

/// The number of a field of 32 bits.
inline float float_of(std::uint64_t bits) {
  const auto low = static_cast<std::uint32_t>(bits);
  float value = 0;
  std::memcpy(&value, &low, sizeof(value));
  return value;
}

inline void append_varint(std::string& message, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) message += static_cast<char>((value & 0x7f) | 0x80);
  message += static_cast<char>(value);
}

/// The message with some of its length-delimited fields replaced.
/// \param replace given a Field, returns its new bytes, or nothing to keep it
template <typename Replace>
std::string rewrite_fields(std::string_view message, const std::string& path, Replace&& replace) {
  std::string result;
  FieldReader fields(message, path);
  for (Field field; fields.next(field);) {
    const std::optional<std::string> bytes =
        field.delimited ? replace(field) : std::optional<std::string>();
    if (!bytes) {
      result += field.encoded;
      continue;
    }
    append_varint(result, field.number << 3 | 2);
    append_varint(result, bytes->size());
    result += *bytes;
  }
  return result;
}

}  // namespace lenet

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
#include <vector>

#include "io/byte_reader.h"
#include "lenet/error.h"

namespace lenet {

inline constexpr const char* kPaddleProgram = "a Paddle program";  // for errors

/// How a field is stored.
enum class Wire { Number = 0, Fixed64 = 1, Bytes = 2, Fixed32 = 5 };

/// One field of a message.
struct Field {
  std::uint64_t number = 0;
  std::uint64_t value = 0;      ///< of a varint or fixed-width field
  std::string_view bytes = {};  ///< of a length-delimited field
  Wire wire = Wire::Number;
  std::string_view encoded = {};  ///< the whole field as it stands in the message
};

/// Takes the first field of what is left of a message.
/// \param path the file that the message is from, and `what` it should be, for errors
/// \throws Error BadModel when the encoding is broken.
inline Field take_field(std::string_view& left, const std::string& path, const char* what) {
  ByteReader reader(left);
  const std::uint64_t key = reader.read_varint();
  Field field;
  field.number = key >> 3;
  field.wire = static_cast<Wire>(key & 7);
  bool known = true;
  switch (field.wire) {
    case Wire::Number:
      field.value = reader.read_varint();
      break;
    case Wire::Fixed64:
      field.value = reader.read<std::uint64_t>();
      break;
    case Wire::Bytes:
      field.bytes = reader.take(reader.read_varint());
      break;
    case Wire::Fixed32:
      field.value = reader.read<std::uint32_t>();
      break;
    default:
      known = false;
  }
  if (!known || !reader.ok() || field.number == 0) {
    throw Error(ErrorCode::BadModel,
                "'" + path + "' is damaged or cut short: it is not the whole of " + what);
  }
  field.encoded = left.substr(0, left.size() - reader.remaining());
  left.remove_prefix(field.encoded.size());
  return field;
}

/// Calls `action` with each field of the message.
/// \throws Error as take_field, and what `action` throws.
template <typename Action>
void each_field(std::string_view message, const std::string& path, const char* what,
                Action&& action) {
  while (!message.empty()) action(take_field(message, path, what));
}

/// Adds the one integer of a field, or the many of a packed one; false when the last is cut short.
inline bool append_integers(const Field& field, std::vector<std::int64_t>& values) {
  if (field.wire != Wire::Bytes) values.push_back(static_cast<std::int64_t>(field.value));
  ByteReader packed(field.bytes);
  while (!packed.at_end() && packed.ok()) {
    values.push_back(static_cast<std::int64_t>(packed.read_varint()));
  }
  return packed.ok();
}

/// The floating-point number of a field of 32 or 64 bits.
inline double to_double(const Field& field) {
  float single = 0;
  double number = 0;
  std::memcpy(&single, &field.value, sizeof(single));  // the machine is little-endian
  std::memcpy(&number, &field.value, sizeof(number));
  return field.wire == Wire::Fixed32 ? static_cast<double>(single) : number;
}

inline void append_varint(std::string& message, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) message += static_cast<char>((value & 0x7f) | 0x80);
  message += static_cast<char>(value);
}

inline void append_field(std::string& message, std::uint64_t number, std::string_view bytes) {
  append_varint(message, number << 3 | 2);
  append_varint(message, bytes.size());
  message += bytes;
}

/// The message with some of its length-delimited fields replaced.
/// \param replace given a Field, returns its new bytes, or nothing to keep it
template <typename Replace>
std::string rewrite_fields(std::string_view message, const std::string& path, Replace&& replace) {
  std::string result;
  each_field(message, path, kPaddleProgram, [&](const Field& field) {
    const std::optional<std::string> bytes =
        field.wire == Wire::Bytes ? replace(field) : std::optional<std::string>();
    if (!bytes) {
      result += field.encoded;
    } else {
      append_field(result, field.number, *bytes);
    }
  });
  return result;
}

}  // namespace lenet

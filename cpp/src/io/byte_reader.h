/// A cursor over bytes that never reads past their end.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace lenet {

/// Every `read` and `take` either succeeds or leaves `ok()` false and returns zero or nothing.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : left_(bytes) {}

  bool ok() const { return ok_; }
  bool at_end() const { return left_.empty(); }
  std::size_t remaining() const { return left_.size(); }

  std::string_view take(std::uint64_t count) {
    if (!ok_ || count > left_.size()) {
      ok_ = false;
      return {};
    }
    const std::string_view bytes = left_.substr(0, static_cast<std::size_t>(count));
    left_.remove_prefix(static_cast<std::size_t>(count));
    return bytes;
  }

  /// An integer in the byte order of this machine (the library supports little-endian ones only).
  template <typename T>
  T read() {
    T value{};
    const std::string_view bytes = take(sizeof(T));
    if (ok_) std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
  }

  std::uint32_t read_big_endian_32() {
    const std::string_view bytes = take(4);
    std::uint32_t value = 0;
    for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
    return value;
  }

  /// A base-128 varint of the protocol buffer encoding.
  std::uint64_t read_varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const std::string_view byte = take(1);
      if (!ok_) return 0;
      const auto bits = static_cast<unsigned char>(byte[0]);
      value |= static_cast<std::uint64_t>(bits & 0x7fU) << shift;
      if ((bits & 0x80U) == 0) return value;
    }
    ok_ = false;
    return 0;
  }

 private:
  std::string_view left_;
  bool ok_ = true;
};

}  // namespace lenet

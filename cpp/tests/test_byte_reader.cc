#include "io/byte_reader.h"
#include "support.h"

namespace lenet::tests {

TEST_CASE("integers of both byte orders, then the end") {
  ByteReader reader(std::string_view("\x01\x02\x03\x04\x01\x02\x03\x04\xff", 9));
  CHECK(reader.read<std::uint32_t>() == 0x04030201U);
  CHECK(reader.read_big_endian_32() == 0x01020304U);
  CHECK(reader.remaining() == 1);
  CHECK(reader.read<std::int8_t>() == -1);
  CHECK(reader.ok());
  CHECK(reader.at_end());
  CHECK(reader.read<std::uint8_t>() == 0);
  CHECK_FALSE(reader.ok());
}

TEST_CASE("a failed read gives nothing, takes nothing, and all after it fail") {
  ByteReader reader("abc");
  CHECK(reader.read<std::uint32_t>() == 0);
  CHECK_FALSE(reader.ok());
  CHECK(reader.remaining() == 3);
  CHECK(reader.take(1).empty());
  CHECK(reader.read_big_endian_32() == 0);
  CHECK(reader.read_varint() == 0);
  CHECK_FALSE(reader.ok());
  ByteReader other("abc");  // a count that does not fit into memory is none
  CHECK(other.take(std::numeric_limits<std::uint64_t>::max()).empty());
  CHECK_FALSE(other.ok());
}

TEST_CASE("varints") {
  // The examples of the protocol buffer documentation, and the extremes.
  CHECK(ByteReader("\x01").read_varint() == 1);
  CHECK(ByteReader("\x96\x01").read_varint() == 150);
  CHECK(ByteReader("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").read_varint() ==
        std::numeric_limits<std::uint64_t>::max());
  for (const std::uint64_t value : {0ULL, 127ULL, 128ULL, 16383ULL, 16384ULL, 1ULL << 63}) {
    const std::string bytes = varint(value);
    ByteReader reader(bytes);
    CHECK(reader.read_varint() == value);
    CHECK(reader.at_end());
    CHECK(reader.ok());
    ByteReader cut(std::string_view(bytes).substr(0, bytes.size() - 1));
    CHECK(cut.read_varint() == 0);
    CHECK_FALSE(cut.ok());
  }
  ByteReader endless("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01");
  CHECK(endless.read_varint() == 0);
  CHECK_FALSE(endless.ok());
}

}  // namespace lenet::tests

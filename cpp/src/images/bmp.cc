#include "images/decoders.h"
#include "io/byte_reader.h"

namespace lenet {
namespace {

constexpr std::size_t kFileHeaderBytes = 14;
constexpr std::uint32_t kInfoHeaderBytes = 40;

/// The header that Windows 3 writes, or a longer one that begins with it.
struct Header {
  std::uint32_t pixels_at = 0;
  std::uint32_t header_bytes = 0;
  std::int32_t width = 0;
  std::int32_t height = 0;  ///< below zero: the first row is the upper one
  std::uint16_t bits = 0;   ///< of a pixel
  std::uint32_t compression = 0;
  std::uint32_t colours = 0;  ///< 0: as many as `bits` can tell
};

Header read_header(const ImageFile& file) {
  Header header;
  ByteReader reader(file.bytes);
  reader.take(10);
  header.pixels_at = reader.read<std::uint32_t>();
  header.header_bytes = reader.read<std::uint32_t>();
  header.width = reader.read<std::int32_t>();
  header.height = reader.read<std::int32_t>();
  reader.take(2);
  header.bits = reader.read<std::uint16_t>();
  header.compression = reader.read<std::uint32_t>();
  reader.take(12);
  header.colours = reader.read<std::uint32_t>();
  reader.take(4);
  if (!reader.ok()) file.refuse("is a BMP that is cut short");
  const bool known = header.bits == 1 || header.bits == 4 || header.bits == 8 ||
                     header.bits == 24 || header.bits == 32;
  if (header.header_bytes < kInfoHeaderBytes || header.compression != 0 || !known) {
    throw Error(ErrorCode::Unsupported,
                "'" + file.path + "' is a BMP of a kind (compressed, 16 bits or of OS/2) that is " +
                    "not read in C++; convert it to PNG, or classify it in Python");
  }
  return header;
}

}  // namespace

Image decode_bmp(const ImageFile& file) {
  const Header header = read_header(file);
  const std::int64_t width = header.width;
  const std::int64_t height = header.height < 0 ? -std::int64_t{header.height} : header.height;
  if (width < 1 || height < 1) file.refuse("is a damaged BMP: it has no pixels");
  file.check_size(height, width);
  const auto row_bytes = static_cast<std::size_t>((width * header.bits + 31) / 32 * 4);
  const std::string_view bytes = file.bytes;
  if (header.pixels_at > bytes.size() ||
      bytes.size() - header.pixels_at < row_bytes * static_cast<std::size_t>(height)) {
    file.refuse("is a BMP that is cut short");
  }
  // Blue, green, red and a byte of nothing, for each colour.
  const std::string_view palette =
      bytes.substr(std::min(kFileHeaderBytes + header.header_bytes, bytes.size()),
                   4 * std::size_t{header.colours != 0 ? header.colours : 1U << header.bits % 32});
  Image image{{}, height, width, 3};
  image.pixels.reserve(static_cast<std::size_t>(height * width * 3));
  for (std::int64_t y = 0; y < height; ++y) {
    const auto from_top = static_cast<std::size_t>(header.height < 0 ? y : height - 1 - y);
    const std::string_view row = bytes.substr(header.pixels_at + from_top * row_bytes, row_bytes);
    for (std::size_t x = 0; x < static_cast<std::size_t>(width); ++x) {
      std::string_view colour = row.substr(x * header.bits / 8);
      if (header.bits <= 8) {
        const unsigned shift = 8U - header.bits - static_cast<unsigned>(x * header.bits % 8);
        const unsigned index =
            static_cast<unsigned char>(colour[0]) >> shift & ((1U << header.bits) - 1);
        if (4 * index + 4 > palette.size()) {
          file.refuse("is a damaged BMP: a colour that is not in its palette");
        }
        colour = palette.substr(std::size_t{4} * index);
      }
      for (const std::size_t i : {2, 1, 0}) {
        image.pixels.push_back(static_cast<std::uint8_t>(colour[i]));
      }
    }
  }
  return image;
}

}  // namespace lenet

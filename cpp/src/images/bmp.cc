#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "images/decoders.h"
#include "io/byte_reader.h"

namespace lenet {
namespace {

constexpr std::size_t kFileHeaderBytes = 14;
constexpr std::size_t kOldHeaderBytes = 12;  // of OS/2
constexpr std::uint32_t kBitFields = 3;      // the last kind of compression that Pillow reads
constexpr std::size_t kHeaderBytes[] = {40, 52, 56, 64, 108, 124};

/// The first of blue, green and red of a pixel; null when the palette does not have its colour.
const char* colour_of(std::string_view row, std::size_t x, unsigned bits,
                      std::string_view palette) {
  const char* at = row.data() + x * bits / 8;
  if (bits > 8) return at;
  const unsigned shift = 8U - bits - static_cast<unsigned>(x * bits % 8);
  const std::size_t index = static_cast<unsigned char>(*at) >> shift & ((1U << bits) - 1);
  return 4 * index + 4 > palette.size() ? nullptr : palette.data() + 4 * index;
}

}  // namespace

Image decode_bmp(const ImageFile& file) {
  // The header that Windows 3 writes, or a longer one that begins with it.
  const std::string_view bytes = file.bytes;
  ByteReader reader(bytes);
  reader.take(10);
  const std::size_t pixels_at = reader.read<std::uint32_t>();
  const std::size_t header_bytes = reader.read<std::uint32_t>();
  const std::int64_t width = reader.read<std::int32_t>();
  const std::int64_t signed_height = reader.read<std::int32_t>();
  const std::int64_t height = std::abs(signed_height);
  reader.take(2);
  const unsigned bits = reader.read<std::uint16_t>();  // of a pixel
  const auto compression = reader.read<std::uint32_t>();
  reader.take(12);
  const std::size_t colours = reader.read<std::uint32_t>();  // 0: as many as `bits` can tell
  reader.take(4);
  if (!reader.ok()) file.refuse("is a BMP that is cut short");
  const bool is_old = header_bytes == kOldHeaderBytes;
  if (!is_old && std::find(std::begin(kHeaderBytes), std::end(kHeaderBytes), header_bytes) ==
                     std::end(kHeaderBytes)) {
    file.refuse("is a damaged BMP: its header has " + std::to_string(header_bytes) + " bytes");
  }
  const bool known = bits == 1 || bits == 4 || bits == 8 || bits == 24 || bits == 32;
  if (is_old || compression != 0 || !known) {
    const bool in_python = is_old || (compression <= kBitFields && (known || bits == 16));
    file.refuse_kind(
        std::string("a BMP of a kind (compressed, 2 or 16 bits, or of OS/2) that is not read in "
                    "C++; convert it to PNG") +
        (in_python ? ", or classify it in Python" : ""));
  }
  if (width < 1 || height < 1) file.refuse("is a damaged BMP: it has no pixels");
  file.check_size(height, width);
  const std::size_t row_bytes = (static_cast<std::size_t>(width) * bits + 31) / 32 * 4;
  if (pixels_at > bytes.size() ||
      bytes.size() - pixels_at < row_bytes * static_cast<std::size_t>(height)) {
    file.refuse("is a BMP that is cut short");
  }
  // Blue, green, red and a byte of nothing, for each colour. True colours need none of these.
  const std::size_t palette_at = kFileHeaderBytes + header_bytes;
  const std::size_t palette_bytes =
      bits > 8 ? 0 : 4 * (colours != 0 ? colours : std::size_t{1} << bits);
  if (pixels_at < palette_at + palette_bytes) {
    file.refuse("is a damaged BMP: its pixels begin within its header or palette");
  }
  const std::string_view palette = bytes.substr(palette_at, palette_bytes);
  Image image = empty_image(height, width, 3);
  for (std::int64_t y = 0; y < height; ++y) {
    const std::int64_t from_top = signed_height < 0 ? y : height - 1 - y;
    const std::string_view row =
        bytes.substr(pixels_at + static_cast<std::size_t>(from_top) * row_bytes, row_bytes);
    for (std::size_t x = 0; x < static_cast<std::size_t>(width); ++x) {
      const char* colour = colour_of(row, x, bits, palette);
      if (colour == nullptr) file.refuse("is a damaged BMP: a colour that is not in its palette");
      for (const int i : {2, 1, 0}) image.pixels.push_back(static_cast<std::uint8_t>(colour[i]));
    }
  }
  return image;
}

}  // namespace lenet

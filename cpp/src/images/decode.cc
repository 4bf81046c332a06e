#include "images/decode.h"

#include <algorithm>
#include <utility>

#include "images/container.h"
#include "images/exif.h"
#include "images/jpeg.h"
#include "images/png.h"
#include "images/stb.h"
#include "io/bad_file.h"
#include "io/byte_reader.h"
#include "io/file.h"
#include "io/netpbm.h"
#include "io/npy.h"
#include "lenet/image_pipeline.h"

namespace lenet {
namespace {

constexpr const char* kReadable = "JPEG, PNG, BMP, PGM and PPM (binary, 8 bits)";

bool begins(std::string_view bytes, std::string_view magic, std::size_t at = 0) {
  return bytes.size() >= at && bytes.substr(at, magic.size()) == magic;
}

/// The name of a kind of image that we know but do not read; null for anything else.
const char* other_kind(std::string_view bytes) {
  if (begins(bytes, "GIF8")) return "a GIF";
  if (begins(bytes, "RIFF") && begins(bytes, "WEBP", 8)) return "a WebP";
  if (begins(bytes, {"II*\0", 4}) || begins(bytes, {"MM\0*", 4})) return "a TIFF";
  if (begins(bytes, "ftyp", 4)) return "a HEIF, AVIF or film";
  if (begins(bytes, {"\0\0\0\x0cjP  ", 8})) return "a JPEG 2000";
  for (const char* magic : {"P1", "P2", "P3", "P4", "P7", "Pf", "PF"}) {
    if (begins(bytes, magic)) return "a Netpbm file other than PGM and PPM (binary)";
  }
  return nullptr;
}

Image from_netpbm(std::string_view bytes, const std::string& path) {
  const Netpbm image = parse_netpbm(bytes, path);
  return {{image.pixels.begin(), image.pixels.end()}, image.height, image.width, image.channels};
}

Image from_npy(std::string_view bytes, const std::string& path) {
  const Array array = parse_npy(bytes, path);
  Shape shape = array.shape;
  if (shape.size() == 2) shape.push_back(1);
  if (array.dtype != "|u1" || shape.size() != 3 || (shape[2] != 1 && shape[2] != 3) ||
      array.bytes.empty()) {
    bad_file(path, "has element type " + array.dtype + " and shape " + to_string(array.shape) +
                       "; an image is uint8, [H, W], [H, W, 1] or [H, W, 3]");
  }
  return {{array.bytes.begin(), array.bytes.end()}, shape[0], shape[1], shape[2]};
}

void check_size(std::int64_t height, std::int64_t width, std::int64_t max_pixels,
                const std::string& path) {
  if (height > max_pixels / width) {
    bad_file(path, "has " + std::to_string(width) + " x " + std::to_string(height) +
                       " pixels, over the limit of " + std::to_string(max_pixels) +
                       ": scale it down");
  }
}

/// Whether the fourth channel of a BMP is meant: it has a mask for it. Otherwise it is padding.
bool bmp_has_alpha(std::string_view bytes) {
  constexpr std::size_t kFileHeaderBytes = 14;
  constexpr std::uint32_t kBitFields = 3;
  ByteReader reader(bytes);
  reader.take(kFileHeaderBytes);
  const auto header_bytes = reader.read<std::uint32_t>();
  reader.take(12);
  const auto compression = reader.read<std::uint32_t>();
  reader.take(32);
  const auto mask = reader.read<std::uint32_t>();
  return compression == kBitFields && header_bytes >= 56 && mask != 0;
}

/// (value * alpha + background * (255 - alpha)) / 255, rounded to the nearest.
std::uint8_t over(unsigned background, unsigned value, unsigned alpha) {
  const unsigned sum = value * alpha + background * (255U - alpha) + 128U;
  return static_cast<std::uint8_t>((sum + (sum >> 8)) >> 8);
}

/// The first of `channels` channels, the last of which is alpha, over a background.
std::vector<std::uint8_t> composed(const std::vector<std::uint8_t>& values, int channels,
                                   unsigned background) {
  std::vector<std::uint8_t> result;
  result.reserve(values.size() / static_cast<std::size_t>(channels) *
                 static_cast<std::size_t>(channels - 1));
  for (auto pixel = values.cbegin(); pixel != values.cend(); pixel += channels) {
    const unsigned alpha = pixel[channels - 1];
    for (int i = 0; i < channels - 1; ++i) result.push_back(over(background, pixel[i], alpha));
  }
  return result;
}

/// Whether something is drawn, and more than half is transparent.
bool is_mostly_transparent(const std::vector<std::uint8_t>& values, int channels) {
  std::uint64_t alphas = 0;
  for (auto pixel = values.cbegin(); pixel != values.cend(); pixel += channels) {
    alphas += pixel[channels - 1];
  }
  const std::uint64_t pixels = values.size() / static_cast<std::size_t>(channels);
  return alphas > 0 && 2 * alphas < 255 * pixels;
}

Image opaque(stb::Pixels decoded, bool has_alpha) {
  const int colours = decoded.channels <= 2 ? 1 : 3;
  Image image{{}, decoded.height, decoded.width, colours};
  if (decoded.channels == colours) {
    image.pixels = std::move(decoded.values);
    return image;
  }
  if (!has_alpha) {
    const auto step = static_cast<std::size_t>(decoded.channels);
    for (std::size_t i = step - 1; i < decoded.values.size(); i += step) decoded.values[i] = 255;
  }
  constexpr unsigned kAlmostWhite = 240;  // as in python/lenet_cpp/data/images/reading.py
  image.pixels = composed(decoded.values, decoded.channels, 255);
  // What is drawn in almost white, such as a digit on a transparent canvas, would be lost.
  if (*std::min_element(image.pixels.begin(), image.pixels.end()) >= kAlmostWhite &&
      is_mostly_transparent(decoded.values, decoded.channels)) {
    image.pixels = composed(decoded.values, decoded.channels, 0);
  }
  return image;
}

[[noreturn]] void refuse_kind(std::string_view bytes, const std::string& path) {
  const char* kind = other_kind(bytes);
  if (kind == nullptr) {
    bad_file(path, std::string("is not an image that can be read, which is ") + kReadable);
  }
  throw Error(ErrorCode::Unsupported, "'" + path + "' is " + kind + ", which is not read in C++; " +
                                          "convert it to PNG, or classify it in Python. Read are " +
                                          kReadable);
}

Image from_photo(std::string_view bytes, const std::string& path, std::int64_t max_pixels) {
  const bool jpeg = is_jpeg(bytes);
  const bool png = is_png(bytes);
  const bool bmp = begins(bytes, "BM");
  if (!jpeg && !png && !bmp) refuse_kind(bytes, path);
  // Says so, whatever else is wrong with the file.
  if (!stb::available()) stb::read_header(bytes, path);
  Jpeg stream;
  if (jpeg) stream = read_jpeg(bytes, path);
  const Container container = png ? read_png(bytes, path) : stream.container;
  const std::string_view decodable = jpeg ? std::string_view(stream.stream) : bytes;
  // Before stb too, which has a limit of its own and less to say about it.
  if (container.width > 0) check_size(container.height, container.width, max_pixels, path);
  const stb::Header header = stb::read_header(decodable, path);
  check_size(header.height, header.width, max_pixels, path);
  return upright(opaque(stb::decode(decodable, path), !bmp || bmp_has_alpha(bytes)),
                 container.orientation);
}

}  // namespace

Image decode_bytes(std::string_view bytes, const std::string& path, std::int64_t max_pixels) try {
  if (bytes.empty()) bad_file(path, "is empty (0 bytes): save or copy it anew");
  const bool netpbm = begins(bytes, "P5") || begins(bytes, "P6");
  if (!netpbm && !is_npy(bytes)) return from_photo(bytes, path, max_pixels);
  Image image = netpbm ? from_netpbm(bytes, path) : from_npy(bytes, path);
  check_size(image.height, image.width, max_pixels, path);
  return image;
} catch (const std::bad_alloc&) {
  throw Error(ErrorCode::BackendFailure, "not enough memory to decode '" + path + "'");
}

Image decode_image(const std::string& path) {
  return decode_bytes(read_file(path), path, kMaxImagePixels);
}

bool can_decode_photos() noexcept { return stb::available(); }

}  // namespace lenet

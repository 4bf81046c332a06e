#include <new>

#include "images/decoders.h"
#include "io/array_file.h"
#include "io/file.h"

namespace lenet {
namespace {

constexpr bool kHasJpeg = LENET_HAS_JPEG;
constexpr bool kHasPng = LENET_HAS_PNG;
constexpr const char* kReadable = "JPEG, PNG, BMP, PGM and PPM (binary, 8 bits)";
constexpr const char* kInstall = ", which this build does not decode; install ";

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

Image from_array(const Array& array, const ImageFile& file) {
  Shape shape = array.shape;
  if (shape.size() == 2) shape.push_back(1);
  if (array.dtype != "|u1" || shape.size() != 3 || (shape[2] != 1 && shape[2] != 3) ||
      array.bytes.empty()) {
    file.refuse("has element type " + array.dtype + " and shape " + to_string(array.shape) +
                "; an image is uint8, [H, W], [H, W, 1] or [H, W, 3]");
  }
  file.check_size(shape[0], shape[1]);
  return {{array.bytes.begin(), array.bytes.end()}, shape[0], shape[1], shape[2]};
}

Image decode(const ImageFile& file) {
  if (file.bytes.empty()) file.refuse("is empty (0 bytes): save or copy it anew");
  if (begins(file.bytes, "P5") || begins(file.bytes, "P6")) {
    return from_array(parse_netpbm(file.bytes, file.path), file);
  }
  if (is_npy(file.bytes)) return from_array(parse_npy(file.bytes, file.path), file);
  if (begins(file.bytes, "BM")) return decode_bmp(file);
  if (begins(file.bytes, "\xff\xd8\xff")) {
    if constexpr (kHasJpeg) return decode_jpeg(file);
    file.refuse_kind(std::string("a JPEG") + kInstall + "libjpeg-dev and build again");
  }
  if (begins(file.bytes, "\x89PNG\r\n\x1a\n")) {
    if constexpr (kHasPng) return decode_png(file);
    file.refuse_kind(std::string("a PNG") + kInstall + "libpng-dev and build again");
  }
  const char* kind = other_kind(file.bytes);
  if (kind == nullptr) {
    file.refuse(std::string("is not an image that can be read, which is ") + kReadable);
  }
  file.refuse_kind(std::string(kind) + ", which is not read in C++; convert it to PNG, or " +
                   "classify it in Python. Read are " + kReadable);
}

}  // namespace

void ImageFile::check_size(std::int64_t height, std::int64_t width) const {
  if (height > max_pixels / width) {
    refuse("has " + size_text(height, width) + " pixels, over the limit of " +
           std::to_string(max_pixels) + ": scale it down");
  }
}

Image decode_bytes(std::string_view bytes, const std::string& path, std::int64_t max_pixels) try {
  return decode({bytes, path, max_pixels});
} catch (const std::bad_alloc&) {
  throw Error(ErrorCode::BackendFailure, "not enough memory to decode '" + path + "'");
}

Image decode_image(const std::string& path) {
  return decode_bytes(read_file(path), path, kMaxImagePixels);
}

bool can_decode_jpeg() noexcept { return kHasJpeg; }
bool can_decode_png() noexcept { return kHasPng; }

}  // namespace lenet

#include <algorithm>
#include <memory>
#include <new>
#include <optional>

#include "images/decoders.h"
#include "io/file.h"

namespace lenet {
namespace {

constexpr bool kHasJpeg = LENET_HAS_JPEG;
constexpr bool kHasPng = LENET_HAS_PNG;
constexpr bool kHasWebp = LENET_HAS_WEBP;
constexpr const char* kReadable = "JPEG, PNG, WebP, BMP, PGM and PPM (binary, 8 bits)";
constexpr const char* kInstall =
    ", which this build does not decode: convert it, or, on Linux, apt-get install ";
constexpr const char* kBuild = " && ./run.sh, or build again with -DLENET_IMAGE_LIBRARIES=ON";

bool begins(std::string_view bytes, std::string_view magic, std::size_t at = 0) {
  return bytes.size() >= at && bytes.substr(at, magic.size()) == magic;
}

/// A kind of image that we know but do not read.
struct OtherKind {
  const char* name;
  const char* remedy;  ///< besides to convert it
};

constexpr const char* kInPython = ", or classify it in Python";

/// Returns the kind of a file that begins with the box "ftyp", which names its kinds: HEIC, AVIF,
/// or something else, such as a film.
std::optional<OtherKind> kind_of_box(std::string_view bytes) {
  constexpr std::size_t kFirst = 8;  // of the brands; behind it comes a version
  constexpr std::size_t kOthers = 16;
  constexpr std::size_t kMost = 64;  // bytes that are looked at, as in Python
  std::size_t end = 0;
  for (std::size_t i = 0; i < 4; ++i) end = end << 8U | static_cast<unsigned char>(bytes[i]);
  end = std::min({end, bytes.size(), kMost});
  const auto has = [&](std::string_view brands) {
    if (brands.find(bytes.substr(kFirst, 4)) != std::string_view::npos) return true;
    for (std::size_t at = kOthers; at + 4 <= end; at += 4) {
      if (brands.find(bytes.substr(at, 4)) != std::string_view::npos) return true;
    }
    return false;
  };
  if (has("avif avis")) {
    return OtherKind{"an AVIF", ", or classify it in Python with Pillow 11.3 or later"};
  }
  if (has("heic heix heim heis hevc hevx mif1 msf1")) {
    return OtherKind{"a HEIC",
                     ", or classify it in Python with the package pillow-heif (pip install "
                     "pillow-heif)"};
  }
  return std::nullopt;
}

/// Nothing for what is none that we know. Python reads those that it is named for.
std::optional<OtherKind> other_kind(std::string_view bytes) {
  if (begins(bytes, "GIF8")) return OtherKind{"a GIF", kInPython};
  if (begins(bytes, {"II*\0", 4}) || begins(bytes, {"MM\0*", 4})) {
    return OtherKind{"a TIFF", kInPython};
  }
  if (bytes.size() >= 12 && begins(bytes, "ftyp", 4)) return kind_of_box(bytes);
  if (begins(bytes, {"\0\0\0\x0cjP  ", 8})) return OtherKind{"a JPEG 2000", ""};
  for (const char* magic : {"P1", "P2", "P3", "P4"}) {
    if (begins(bytes, magic)) {
      return OtherKind{"a Netpbm file other than PGM and PPM (binary)", kInPython};
    }
  }
  for (const char* magic : {"P7", "Pf", "PF"}) {
    if (begins(bytes, magic)) {
      return OtherKind{"a Netpbm file other than PGM and PPM (binary)", ""};
    }
  }
  return std::nullopt;
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

using Opened = std::unique_ptr<EncodedImage>;
using Open = Opened (*)(const ImageFile& file);

template <Image (*decode)(const ImageFile&)>
Opened open_decoded(const ImageFile& file) {
  return std::make_unique<DecodedImage>(decode(file));
}

Image decode_netpbm(const ImageFile& file) {
  return from_array(parse_netpbm(file.bytes, file.path), file);
}

Image decode_npy(const ImageFile& file) {
  return from_array(parse_npy(file.bytes, file.path), file);
}

/// Refuses a photo of a kind that this build leaves out.
Opened refuse_photo(const ImageFile& file, const char* kind, const char* package) {
  file.refuse_kind(std::string(kind) + kInstall + package + kBuild);
}

/// What opens a kind of file, told by its first bytes; null where C++ does not read it.
Open opener_of(std::string_view bytes) {
  if (begins(bytes, "P5") || begins(bytes, "P6")) return open_decoded<decode_netpbm>;
  if (is_npy(bytes)) return open_decoded<decode_npy>;
  if (begins(bytes, "BM")) return open_decoded<decode_bmp>;
  if (begins(bytes, "\xff\xd8\xff")) {
    if constexpr (kHasJpeg) return open_jpeg;
    return [](const ImageFile& file) { return refuse_photo(file, "a JPEG", "libjpeg-dev"); };
  }
  if (begins(bytes, "\x89PNG\r\n\x1a\n")) {
    if constexpr (kHasPng) return open_png;
    return [](const ImageFile& file) { return refuse_photo(file, "a PNG", "libpng-dev"); };
  }
  if (begins(bytes, "RIFF") && begins(bytes, "WEBP", 8)) {
    if constexpr (kHasWebp) return open_decoded<decode_webp>;
    return [](const ImageFile& file) { return refuse_photo(file, "a WebP", "libwebp-dev"); };
  }
  return nullptr;
}

}  // namespace

void ImageFile::check_size(std::int64_t height, std::int64_t width) const {
  if (height > max_pixels / width) {
    refuse("has " + size_text(height, width) + " pixels, over the limit of " +
           std::to_string(max_pixels) + ": scale it down");
  }
}

int exif_orientation(std::string_view tiff) {
  constexpr std::string_view kHeader("Exif\0\0", 6);
  constexpr std::uint32_t kOrientationTag = 0x0112;
  constexpr std::uint32_t kShort = 3;
  constexpr std::uint32_t kLong = 4;
  constexpr std::size_t kEntryBytes = 12;
  // It belongs to a JPEG, and some programs write it elsewhere too, or twice.
  while (begins(tiff, kHeader)) tiff.remove_prefix(kHeader.size());
  const std::string_view order = tiff.substr(0, 2);
  const auto number = [&](std::size_t at, std::size_t size) {  // 0 beyond the end
    std::uint32_t value = 0;
    if (at > tiff.size() || size > tiff.size() - at) return value;
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t next = order == "II" ? at + size - 1 - i : at + i;
      value = value << 8 | static_cast<unsigned char>(tiff[next]);
    }
    return value;
  };
  if ((order != "II" && order != "MM") || number(2, 2) != 42) return 1;
  const std::size_t directory = number(4, 4);
  const std::size_t entries = number(directory, 2);
  const std::size_t begin = directory + 2;
  // The number of entries is the file's word: those that the data do not have whole are not there.
  const std::size_t end = std::min(begin + entries * kEntryBytes, tiff.size());
  for (std::size_t entry = begin; entry + kEntryBytes <= end; entry += kEntryBytes) {
    if (number(entry, 2) != kOrientationTag) continue;
    // Of several values, and of several entries, the first counts, as in Pillow.
    const std::uint32_t type = number(entry + 2, 2);
    const std::size_t size = type == kShort ? 2 : type == kLong ? 4 : 0;
    const std::size_t all = size * number(entry + 4, 4);
    const std::size_t at = all <= 4 ? entry + 8 : number(entry + 8, 4);
    const bool is_whole = all > 0 && at <= tiff.size() && all <= tiff.size() - at;
    const std::uint32_t value = is_whole ? number(at, size) : 0;
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 0;
}

std::unique_ptr<EncodedImage> open_image(const ImageFile& file) try {
  if (file.depth < 10 || file.depth > 16 || file.depth % 2 != 0) {
    throw Error(ErrorCode::BadInput,
                "depth is " + std::to_string(file.depth) + "; expected 10, 12, 14 or 16");
  }
  if (file.bytes.empty()) file.refuse("is empty (0 bytes): save or copy it anew");
  const Open open = opener_of(file.bytes);
  if (open != nullptr) return open(file);
  const std::optional<OtherKind> kind = other_kind(file.bytes);
  if (!kind) {
    file.refuse(std::string("is not an image that can be read, which is ") + kReadable);
  }
  file.refuse_kind(std::string(kind->name) + ", which is not read in C++; convert it to PNG" +
                   kind->remedy + ". Read are " + kReadable);
} catch (const std::bad_alloc&) {
  throw Error(ErrorCode::BackendFailure, "not enough memory to decode '" + file.path + "'");
}

bool is_image_file(std::string_view bytes) {
  return opener_of(bytes) != nullptr || other_kind(bytes);
}

bool is_decoded_in_cpp(std::string_view begin) {
  return begin.empty() || opener_of(begin) != nullptr;
}

std::unique_ptr<EncodedImage> open_known(const ImageFile& file) {
  try {
    return open_image(file);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Unsupported) throw;
    return nullptr;
  }
}

std::int64_t decode_work(std::string_view bytes) noexcept try {
  const Open open = opener_of(bytes);
  if constexpr (kHasJpeg) {
    if (open == open_jpeg) return jpeg_work(bytes);
  }
  if constexpr (kHasPng) {
    if (open == open_png) return png_work(bytes);
  }
  if constexpr (kHasWebp) {
    if (open == open_decoded<decode_webp>) return webp_work(bytes);
  }
  return static_cast<std::int64_t>(bytes.size());  // of the other kinds no file is compressed
} catch (const std::exception&) {
  return 0;
}

bool names_file(const Error& error, const std::string& path) {
  return begins(error.what(), "'" + path + "' ");
}

Image decode_bytes(std::string_view bytes, const std::string& path, std::int64_t max_pixels,
                   int depth, bool* is_dark) try {
  return open_image({bytes, path, max_pixels, depth, is_dark})->whole();
} catch (const std::bad_alloc&) {
  throw Error(ErrorCode::BackendFailure, "not enough memory to decode '" + path + "'");
}

Image decode_image(const std::string& path) { return decode_image(path, 16); }

Image decode_image(const std::string& path, int depth) {
  return decode_bytes(read_file(path), path, kMaxImagePixels, depth);
}

Image decode_image_from_memory(const void* bytes, std::size_t size, int depth) {
  if (bytes == nullptr)
    throw Error(ErrorCode::BadInput, "the image file has no bytes (bytes is null)");
  return decode_bytes({static_cast<const char*>(bytes), size}, "the image", kMaxImagePixels, depth);
}

bool can_decode_jpeg() noexcept { return kHasJpeg; }
bool can_decode_png() noexcept { return kHasPng; }
bool can_decode_webp() noexcept { return kHasWebp; }

}  // namespace lenet

#include "images/stb.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "io/bad_file.h"
#include "lenet/error.h"

namespace {

// How much stb may allocate at once. A compressed stream of some kilobytes can unpack to gigabytes
// whatever size its header tells.
thread_local std::size_t allocation_limit = 0;

void* limited_malloc(std::size_t size) {
  // Zeros: a damaged JPEG may use tables that it does not define.
  return size > allocation_limit ? nullptr : std::calloc(size, 1);
}

void* limited_realloc(void* memory, std::size_t size) {
  return size > allocation_limit ? nullptr : std::realloc(memory, size);
}

}  // namespace

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_JPEG
#define STBI_ONLY_PNG
#define STBI_ONLY_BMP
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_ASSERT(condition) ((void)0)
#define STBI_MALLOC(size) limited_malloc(size)
#define STBI_REALLOC(memory, size) limited_realloc(memory, size)
#define STBI_FREE(memory) std::free(memory)
#include <stb_image.h>

#define STB_IMAGE_RESIZE_IMPLEMENTATION
#define STB_IMAGE_RESIZE_STATIC
// Its assertions are on sums of rounded weights, and fail for sizes that come out right.
#define STBIR_ASSERT(condition) ((void)0)
#include <stb_image_resize.h>

namespace lenet::stb {
namespace {

constexpr std::size_t kMebibyte = std::size_t{1} << 20;

/// Bytes for stb, which takes what lies beyond their end for zeros; we remember that it did.
struct Source {
  std::string_view left;
  bool overrun = false;

  static int read(void* user, char* data, int size) {
    auto& source = *static_cast<Source*>(user);
    const std::size_t count = std::min(static_cast<std::size_t>(size), source.left.size());
    source.overrun = source.overrun || (count == 0 && size > 0);
    std::memcpy(data, source.left.data(), count);
    source.left.remove_prefix(count);
    return static_cast<int>(count);
  }

  static void skip(void* user, int size) {
    auto& source = *static_cast<Source*>(user);
    const auto count = static_cast<std::size_t>(std::max(size, 0));
    source.overrun = source.overrun || count > source.left.size();
    source.left.remove_prefix(std::min(count, source.left.size()));
  }

  static int at_end(void* user) { return static_cast<Source*>(user)->left.empty(); }

  static constexpr stbi_io_callbacks kCallbacks = {read, skip, at_end};
};

[[noreturn]] void refuse(const std::string& path, const Source& source) {
  const char* reason = stbi_failure_reason();
  bad_file(path,
           std::string("is a damaged image: ") + (source.overrun      ? "it is cut short"
                                                  : reason != nullptr ? reason
                                                                      : "it cannot be decoded"));
}

}  // namespace

bool available() noexcept { return true; }

Header read_header(std::string_view bytes, const std::string& path) {
  allocation_limit = kMebibyte;
  int width = 0;
  int height = 0;
  int channels = 0;
  Source source{bytes};
  const int known =
      stbi_info_from_callbacks(&Source::kCallbacks, &source, &width, &height, &channels);
  if (known == 0 || width < 1 || height < 1) refuse(path, source);
  return {height, width};
}

Pixels decode(std::string_view bytes, const std::string& path) {
  const Header header = read_header(bytes, path);
  const auto height = static_cast<std::size_t>(header.height);
  const auto width = static_cast<std::size_t>(header.width);
  // The largest pieces of a valid image: four channels of two bytes, and as much again for growing;
  // coefficients of two bytes, in whole blocks; the compressed data, as they grow.
  constexpr std::size_t kBytesAPixel = 18;
  constexpr std::size_t kBlock = 64;
  allocation_limit = std::max({width * height * kBytesAPixel,
                               (width + kBlock) * (height + kBlock) * 2, bytes.size() * 2}) +
                     kMebibyte;
  Source source{bytes};
  int decoded_width = 0;
  int decoded_height = 0;
  int channels = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> decoded(
      stbi_load_from_callbacks(&Source::kCallbacks, &source, &decoded_width, &decoded_height,
                               &channels, 0),
      std::free);
  const bool as_told = decoded_width == header.width && decoded_height == header.height;
  if (decoded == nullptr || source.overrun || !as_told) refuse(path, source);
  Pixels pixels;
  pixels.height = header.height;
  pixels.width = header.width;
  pixels.channels = channels;
  pixels.values.assign(decoded.get(),
                       decoded.get() + header.width * header.height * std::int64_t{channels});
  return pixels;
}

void resample(const float* input, int height, int width, float* output, int to_height, int to_width,
              int channels, Filter filter) {
  const int done = stbir_resize_float_generic(
      input, width, height, 0, output, to_width, to_height, 0, channels, STBIR_ALPHA_CHANNEL_NONE,
      0, STBIR_EDGE_ZERO,
      filter == Filter::Triangle ? STBIR_FILTER_TRIANGLE : STBIR_FILTER_CATMULLROM,
      STBIR_COLORSPACE_LINEAR, nullptr);
  if (done == 0) throw Error(ErrorCode::BackendFailure, "not enough memory to resize an image");
}

}  // namespace lenet::stb

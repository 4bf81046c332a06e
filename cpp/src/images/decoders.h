/// \file
/// Decoding of image files. The decoders of photos are each in a file of its own. jpeg.cc is built
/// where libjpeg is, png.cc where libpng is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "io/array_file.h"
#include "lenet/image_pipeline.h"

namespace lenet {

struct ImageFile {
  std::string_view bytes;
  const std::string& path;  ///< for messages
  std::int64_t max_pixels;

  /// \throws Error BadInput over the limit of pixels. Sizes are at least 1.
  void check_size(std::int64_t height, std::int64_t width) const;

  [[noreturn]] void refuse(const std::string& problem) const { bad_file(path, problem); }
};

/// As `decode_image`, from a file's bytes and with another limit.
/// \param path for messages
Image decode_bytes(std::string_view bytes, const std::string& path, std::int64_t max_pixels);

/// Upright and opaque, 1 or 3 channels.
/// \param file begins as its kind does
/// \throws Error BadInput: damaged, cut short, over the limit of pixels or of scans; Unsupported:
/// of
///   a kind that is not read.
Image decode_jpeg(const ImageFile& file);
Image decode_png(const ImageFile& file);
Image decode_bmp(const ImageFile& file);

}  // namespace lenet

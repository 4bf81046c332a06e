#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "crc32.h"
#include "images/decoders.h"
#include "io/byte_reader.h"
#include "lenet/image_pipeline.h"
#include "support.h"
#include "targets.h"

namespace lenet::fuzz {
namespace {

constexpr std::int64_t kMaxPixels = 128 * 128;

/// A PNG whose checksums fit: a mutation would otherwise lead no further than to them.
std::string with_checksums(std::string_view bytes) {
  std::string png(bytes);
  if (bytes.substr(0, 4) != "\x89PNG") return png;
  ByteReader reader(bytes);
  reader.take(8);
  while (reader.ok() && !reader.at_end()) {
    const std::uint32_t length = reader.read_big_endian_32();
    const std::size_t begin = bytes.size() - reader.remaining();
    const std::string_view chunk = reader.take(4 + std::uint64_t{length});
    const std::size_t end = begin + chunk.size();
    reader.take(4);
    if (!reader.ok()) break;
    const std::uint32_t sum = tests::crc32(chunk);
    for (unsigned i = 0; i < 4; ++i) png[end + i] = static_cast<char>(sum >> (24 - 8 * i));
  }
  return png;
}

/// Resizes that take rows as they are decoded, by each library: of the whole picture and of a small
/// part of it.
const std::vector<ImagePipeline>& pipelines() {
  static const std::vector<ImagePipeline> all = [] {
    std::vector<ImagePipeline> made;
    for (const Library library : {Library::Pillow, Library::OpenCv}) {
      for (const std::int64_t short_side : {9, 40}) {
        Preparation preparation;
        Resize resize{short_side};
        resize.library = library;
        preparation.image_steps = {resize, CenterCrop{7, 8}};
        preparation.normalize = {1, {0, 0, 0}, {1, 1, 1}};
        made.emplace_back(preparation);
      }
    }
    return made;
  }();
  return all;
}

/// Checks a third of some rows, which are decoded without the others where they can be.
/// \param image what the file holds, upright
void check_rows(const ImageFile& file, const Image& image) {
  const auto encoded = open_image(file);
  if (encoded->turn) return;
  const ColumnRange columns{image.width * 2 / 5, image.width / 3 + 1};
  encoded->need(columns);
  const std::int64_t at = columns.first * image.channels;
  for (std::int64_t y = image.height / 9; y < image.height; y += 1 + 5 * y % 37) {
    const std::uint8_t* const row = encoded->row(y) + at;
    require(std::equal(row, row + columns.count * image.channels,
                       image.pixels.data() + y * image.width * image.channels + at),
            "the same pixels, whether all are decoded or those that are needed");
  }
  encoded->finish();
}

/// Runs a reader. \returns the message of its error; empty when there is none.
std::string problem_of(const std::function<void()>& read) {
  std::string problem;
  accepts({ErrorCode::BadInput, ErrorCode::Unsupported}, [&] {
    try {
      read();
    } catch (const Error& error) {
      problem = error.what();
      throw;
    }
  });
  return problem;
}

void require_sound(const Image& image) {
  require(image.channels == 1 || image.channels == 3, "an image is grey or RGB");
  require(image.height >= 1 && image.width >= 1, "an image has pixels");
  require(image.height * image.width <= kMaxPixels, "no more pixels than allowed");
  const Shape shape = {image.height, image.width, image.channels};
  require(image.pixels.size() == element_count(shape), "as many values as the shape says");
}

}  // namespace

void photo(std::string_view bytes) {
  const std::string file = with_checksums(bytes);
  for (const int depth : {16, 12}) {
    Image image;
    bool is_dark = false;
    const std::string problem = problem_of([&] {
      image = decode_bytes(file, "image", kMaxPixels, depth, &is_dark);
      require_sound(image);
    });
    if (problem.empty()) check_rows({file, "image", kMaxPixels, depth}, image);
    for (const ImagePipeline& pipeline : pipelines()) {
      Image prepared;
      bool seems_dark = false;
      const std::string same = problem_of([&] {
        prepared = pipeline.prepare(*open_image({file, "image", kMaxPixels, depth, &seems_dark}));
      });
      require(same == problem, "the same error, whether all is decoded at once or row by row");
      if (!problem.empty()) continue;
      require(prepared.pixels == pipeline.prepare(image).pixels,
              "the same pixels, whether they are resized before or after all are decoded");
      require(seems_dark == is_dark, "as dark, whether all is decoded at once or row by row");
    }
  }
}

}  // namespace lenet::fuzz

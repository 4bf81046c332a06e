#include <numeric>
#include <tuple>

#include "crc32.h"
#include "images/decoders.h"
#include "images/steps.h"
#include "lenet/image_pipeline.h"
#include "lenet/interruption.h"
#include "support.h"

namespace lenet::tests {
namespace {

using namespace std::string_literals;
using Bytes = std::vector<std::uint8_t>;

const std::string kPhotos = LENET_TEST_PHOTOS;

const std::string kSix = "\x00\x01\x80\xff\x33\x66"s;

Image numbered(std::int64_t height, std::int64_t width, std::int64_t channels = 1) {
  Image image{Bytes(static_cast<std::size_t>(height * width * channels)), height, width, channels};
  std::iota(image.pixels.begin(), image.pixels.end(), std::uint8_t{0});
  return image;
}

Shape size_of(const Image& image) { return {image.height, image.width, image.channels}; }

const FileReader<Image> kDecode{[](const std::string& path) { return decode_image(path); }};
const FileReader<ImagePipeline> kLoad{
    [](const std::string& path) { return ImagePipeline::load(path); }, ErrorCode::BadModel,
    "preprocess.json"};

std::string big_endian(std::uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string chunk(const std::string& type, const std::string& content) {
  return big_endian(static_cast<std::uint32_t>(content.size())) + type + content +
         big_endian(crc32(type + content));
}

/// A stored block of zlib: what goes in comes out.
std::string stored(const std::string& bytes) {
  const auto size = static_cast<std::uint16_t>(bytes.size());
  std::uint32_t low = 1;
  std::uint32_t high = 0;
  for (const char byte : bytes) high += low += static_cast<unsigned char>(byte);
  return "\x78\x01\x01" + bytes_of(size) + bytes_of(static_cast<std::uint16_t>(~size)) + bytes +
         big_endian(high % 65521 << 16 | low % 65521);  // RFC 1950, of few bytes
}

/// A PNG of these rows, each of which begins with its filter, 0.
std::string png(std::uint32_t height, std::uint32_t width, char depth, char colour,
                const std::string& rows, const std::string& more = "") {
  const std::string header =
      big_endian(width) + big_endian(height) + depth + colour + std::string(3, '\0');
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", header) + more + chunk("IDAT", stored(rows)) +
         chunk("IEND", "");
}

/// The rows of a PNG, each behind its filter, 0.
std::string rows_of(std::size_t height, std::size_t row_bytes, unsigned below = 256) {
  std::string rows;
  for (std::size_t i = 0; i < height * row_bytes; ++i) {
    if (i % row_bytes == 0) rows += '\0';
    rows += static_cast<char>((i * i + i / 7) % below);
  }
  return rows;
}

/// What a pipeline makes of a file: the pixels, or the error; and whether it is dark.
using Made = std::tuple<Bytes, std::string, bool>;

Made made_of(const std::string& file, const ImagePipeline& pipeline, int depth, bool by_rows) {
  bool is_dark = false;
  try {
    const auto image = open_image({file, "a.png", kMaxImagePixels, depth, &is_dark});
    const Image made = by_rows ? pipeline.prepare(*image) : pipeline.prepare(image->whole());
    return {made.pixels, "", is_dark};
  } catch (const Error& error) {
    return {Bytes(), error.what(), is_dark};
  }
}

/// Checks that a resize and a crop make the same of a file, whether its rows are decoded one by one
/// or all before. \returns the error; empty when there is none
std::string check_both_ways(const std::string& file, int depth = 16) {
  Preparation preparation;
  preparation.normalize = {1, {0, 0, 0}, {1, 1, 1}};
  std::string error;
  for (const Library library : {Library::Pillow, Library::OpenCv}) {
    for (const std::int64_t side : {5, 12}) {
      Resize resize{side};
      resize.library = library;
      preparation.image_steps = {resize, CenterCrop{3, 4}};
      const ImagePipeline pipeline(preparation);
      const Made whole = made_of(file, pipeline, depth, false);
      CHECK(made_of(file, pipeline, depth, true) == whole);
      error = std::get<1>(whole);
    }
  }
  return error;
}

/// EXIF data with an orientation, in either byte order.
std::string exif(char orientation, bool little_endian) {
  const std::string little = "II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"s;
  const std::string big = "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"s;
  const std::string end(8, '\0');
  return little_endian ? little + orientation + end : big + orientation + end;
}

std::string preprocess(const std::string& steps, const std::string& mode = "L") {
  return R"({"format_version": 1, "mode": ")" + mode + R"(", "steps": [)" + steps + "]}";
}

const std::string kNormalize = R"({"type": "Normalize", "scale": 1, "mean": [0], "std": [1]})";
const std::string kToChw = R"({"type": "ToCHW"})";
const std::string kLast = kNormalize + ", " + kToChw;
const std::string kLast3 =
    R"({"type": "Normalize", "scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1]}, )" + kToChw;

}  // namespace

TEST_CASE("what needs no library: PGM, PPM, .npy") {
  const auto check = [](const Image& image, const Shape& size) {
    CHECK(size_of(image) == size);
    CHECK(std::string(image.pixels.begin(), image.pixels.end()) == kSix);
  };
  check(kDecode("P5\n3 2\n255\n" + kSix), {2, 3, 1});
  check(kDecode("P6 # a comment\n1 2 255\n" + kSix), {2, 1, 3});
  check(kDecode(npy("|u1", "2, 3", kSix)), {2, 3, 1});
  check(kDecode(npy("|u1", "6, 1, 1", kSix)), {6, 1, 1});
  check(kDecode(npy("|u1", "1, 2, 3", kSix)), {1, 2, 3});
  for (const char* shape : {"6,", "1, 1, 2, 3", "1, 3, 2", "6, 1, 0", "0, 3"}) {
    const bool none = std::string(shape).find('0') != std::string::npos;
    kDecode.refuses(npy("|u1", shape, none ? "" : kSix), "an image is uint8");
  }
  kDecode.refuses(npy("<f4", "1, 1", bytes_of(0.0F)), "an image is uint8");
  kDecode.refuses("P6\n1 2\n65535\n" + kSix, "65535");
  kDecode.refuses("P6\n1 3\n255\n" + kSix, "damaged");
  kDecode.refuses("P6\nx", "bad PPM header");
}

TEST_CASE("what is no image, or one of another kind") {
  kDecode.refuses("", "empty");
  for (const std::string text : {"hello", "P", "P8 1 1 255 x", "\x89PNX", "B", "\xff\xd8"}) {
    kDecode.refuses(text, "not an image");
  }
  for (const std::string& text :
       {"GIF89a"s, "II*\0"s, "MM\0*"s, "P1 1 1 1"s, "P3 1 1 255 1 2 3"s, "P4 1 1 x"s}) {
    kDecode.refuses(text, "convert it to PNG, or classify it in Python. Read are",
                    ErrorCode::Unsupported);
  }
  const auto box = [](const std::string& brands) { return "\0\0\0\x1c"s + "ftyp" + brands; };
  for (const std::string& brands : {"heic\0\0\0\0mif1heic"s, "mif1\0\0\0\0mif1heic"s, "heix"s}) {
    kDecode.refuses(box(brands), "pip install pillow-heif", ErrorCode::Unsupported);
  }
  for (const std::string& brands : {"avif\0\0\0\0avif"s, "mif1\0\0\0\0mif1avif"s}) {
    kDecode.refuses(box(brands), "in Python with Pillow 11.3 or later", ErrorCode::Unsupported);
  }
  for (const std::string& brands : {"isom\0\0\2\0isomiso2"s, "qt  "s, ""s, "h"s}) {
    kDecode.refuses(box(brands), "not an image that can be read");
  }
  for (const std::string& text : {"P7\n"s, "Pf\n"s, "PF\n"s, "\0\0\0\x0cjP  "s}) {
    kDecode.refuses(text, "convert it to PNG. Read are", ErrorCode::Unsupported);
  }
  CHECK_ERROR(FileNotFound, "No such file", decode_image("/nowhere/at/all"));
  CHECK_ERROR(FileNotFound, "folder", decode_image("/"));
}

TEST_CASE("a build without a library says which one it takes") {
  if (!can_decode_png()) {
    kDecode.refuses(png(1, 1, 8, 0, std::string(2, '\0')), "libpng-dev", ErrorCode::Unsupported);
  }
  if (!can_decode_jpeg()) {
    kDecode.refuses("\xff\xd8\xff\xe0", "libjpeg-dev", ErrorCode::Unsupported);
  }
  if (!can_decode_webp()) {
    kDecode.refuses("RIFF\0\0\0\0WEBP"s, "libwebp-dev", ErrorCode::Unsupported);
  }
}

TEST_CASE("PNG: depths, alpha over white, transparent colour" *
          doctest::skip(!can_decode_png())) {  // test_image_files.py has more
  const auto pixels = [&](const std::string& file) { return kDecode(file).pixels; };
  // 16 bits: the high byte.
  CHECK(pixels(png(1, 2, 16, 0, "\0\x12\xff\xfe\x00"s)) == Bytes{0x12, 0xfe});
  // Of 12 bits the upper 8, and none above; the alpha of 16 bits, over white.
  const std::string twelve = png(1, 2, 16, 0, "\0\x0f\xed\x00\x10"s);
  bool is_dark = false;
  const auto of = [&](int depth) {
    return decode_bytes(twelve, "a.png", kMaxImagePixels, depth, &is_dark).pixels;
  };
  CHECK(of(12) == Bytes{0xfe, 1});
  CHECK(of(14) == Bytes{0x3f, 0});
  CHECK_FALSE(is_dark);
  CHECK(of(16) == Bytes{0x0f, 0});
  CHECK(is_dark);
  CHECK_ERROR(BadInput, "a sample of 4077, which needs more than the 10 bits", of(10));
  CHECK_ERROR(BadInput, "depth is 11", of(11));
  const std::string half = png(1, 1, 16, 4, "\0\x0f\xff\x80\x00"s);
  CHECK(decode_bytes(half, "", kMaxImagePixels, 12).pixels == Bytes{255});
  CHECK(decode_bytes(png(1, 1, 16, 4, "\0\x00\x00\x80\x00"s), "", kMaxImagePixels, 12).pixels ==
        Bytes{127});
  // 100 at alpha 51 (a fifth): 100 / 5 + 255 * 4 / 5.
  CHECK(pixels(png(1, 1, 8, 4, "\0\x64\x33"s)) == Bytes{224});
  CHECK(pixels(png(1, 2, 8, 6, "\0\x64\0\xff\xff\x01\x02\x03\0"s)) ==
        Bytes{100, 0, 255, 255, 255, 255});
  // Three white pixels, of which alpha is 0, 51 and 0: over black.
  CHECK(pixels(png(1, 3, 8, 4, "\0\xff\0\xff\x33\xff\0"s)) == Bytes{0, 51, 0});
  const std::string transparent = chunk("tRNS", "\0\x07"s);
  CHECK(pixels(png(1, 2, 8, 0, "\0\x07\x08"s, transparent)) == Bytes{255, 8});
  const std::string palette = chunk("PLTE", "\x01\x02\x03\x04\x05\x06");
  CHECK(pixels(png(1, 2, 8, 3, "\0\x01\0"s, palette)) == Bytes{4, 5, 6, 1, 2, 3});
  CHECK(pixels(png(1, 2, 1, 3, "\0\x80"s, palette + chunk("tRNS", "\0"s))) ==
        Bytes{4, 5, 6, 255, 255, 255});
  kDecode.refuses(png(1, 1, 8, 3, "\0\x02"s, palette), "not in its palette");
}

TEST_CASE("PNG: damaged, cut short, or a bomb" * doctest::skip(!can_decode_png())) {
  const std::string whole = png(2, 3, 8, 0, "\0\1\2\3\0\4\5\6"s);
  CHECK(kDecode(whole).pixels == Bytes{1, 2, 3, 4, 5, 6});
  kDecode.refuses_beginnings(whole);
  for (std::size_t at = 8; at < whole.size(); ++at) {
    CAPTURE(at);
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
    CHECK_ERROR(BadInput, "", kDecode(flipped));
  }
  kDecode.refuses(png(20000, 20000, 8, 2, "\0"), "20000 x 20000 pixels, over the limit");
  kDecode.refuses(png(0, 1, 8, 0, ""), "damaged");
  kDecode.refuses(png(2, 3, 8, 0, "\0\1\2\3\0\4\5"s), "damaged");
}

TEST_CASE("PNG: resized row by row as all at once" * doctest::skip(!can_decode_png())) {
  const auto same = [](const std::string& file) { CHECK(check_both_ways(file).empty()); };
  const std::string palette = chunk("PLTE", "\x01\x02\x03\x04\x05\x06\x07\x08\x09");
  for (const std::uint32_t height : {1U, 2U, 15U, 40U}) {
    for (const std::uint32_t width : {1U, 7U, 64U}) {
      CAPTURE(height);
      CAPTURE(width);
      same(png(height, width, 8, 0, rows_of(height, width)));
      same(png(height, width, 8, 2, rows_of(height, 3 * width)));
      same(png(height, width, 2, 0, rows_of(height, (width + 3) / 4)));
      same(png(height, width, 8, 3, rows_of(height, width, 3), palette));
      same(png(height, width, 1, 3, rows_of(height, (width + 7) / 8), palette));
      same(png(height, width, 16, 0, rows_of(height, 2 * width)));
      same(png(height, width, 16, 2, rows_of(height, 6 * width, 16)));  // dark
    }
  }
  const std::string turned = chunk("eXIf", exif('\x06', true));
  same(png(9, 7, 8, 2, rows_of(9, 21), turned));
  const std::string transparent = chunk("tRNS", "\0\x07"s);
  same(png(9, 7, 8, 0, rows_of(9, 7), transparent));
  same(png(9, 7, 8, 3, rows_of(9, 7, 3), palette + chunk("tRNS", "\x80")));
  same(png(9, 7, 8, 6, rows_of(9, 28)));
}

TEST_CASE("PNG: damage is found below the rows that are needed" *
          doctest::skip(!can_decode_png())) {
  const std::string palette = chunk("PLTE", "\x01\x02\x03\x04\x05\x06");
  const std::string rows = rows_of(40, 6, 2);
  const auto refuses = [](const std::string& file, const std::string& problem) {
    CAPTURE(problem);
    open_image({file, "a.png", kMaxImagePixels, 12});  // which reads no row
    CHECK(check_both_ways(file, 12).find(problem) != std::string::npos);
  };
  const auto last_row = [&](const std::string& row) { return rows.substr(0, 39 * 7) + row; };
  CHECK(check_both_ways(png(40, 6, 8, 0, rows), 12).empty());
  const std::string unknown_filter = last_row("\x09"s + std::string(6, '\0'));
  refuses(png(40, 6, 8, 0, unknown_filter), "adaptive filter");
  refuses(png(40, 6, 8, 0, last_row("\0\0\0"s)), "Not enough image data");
  refuses(png(40, 6, 8, 3, last_row("\0\0\1\0\0\0\2"s), palette), "not in its palette");
  refuses(png(40, 3, 16, 0, last_row("\0\0\0\0\0\x10\1"s)), "a sample of 4097, which needs more");
  const std::string whole = png(40, 6, 8, 0, rows);
  refuses(whole.substr(0, whole.size() - 12), "cut short");
  refuses(replaced(whole, chunk("IEND", ""), chunk("tRNS", "\0\1"s) + chunk("IEND", "")), "tRNS");
  // Damage is named before a colour that is not in the palette, which is in an earlier row.
  refuses(png(40, 6, 8, 3, replaced(unknown_filter, "\1", "\7"), palette), "adaptive filter");
}

TEST_CASE("WebP: alpha over white, damaged, cut short" * doctest::skip(!can_decode_webp())) {
  // Of libwebp's encoder, lossless: (100, 0, 255) at alpha 51, and (1, 2, 3).
  const std::string whole =
      "RIFF(\0\0\0WEBPVP8L\x1b\0\0\0/\x01\0\0\x10\x0fp\x01\xff\x1d#\x93\xb6i;\xff\x8ew\x9c"
      "\xe6?\xd8\x0f\x19\xd1\xff\0\0"s;
  CHECK(size_of(kDecode(whole)) == Shape{1, 2, 3});
  CHECK(kDecode(whole).pixels == Bytes{224, 204, 255, 1, 2, 3});
  kDecode.refuses_beginnings(whole);
  kDecode.refuses(replaced(whole, "VP8L", "VP8 "), "damaged WebP");
  // 16,384 x 16,384, the most of a lossless one.
  kDecode.refuses(replaced(whole, "/\x01\0\0\x10"s, "/\xff\xff\xff\x1f"s), "over the limit");
}

TEST_CASE("BMP: from the bottom up, 32 bits without alpha, cut short") {
  const auto bmp = [](std::uint16_t bits, const std::string& rows) {
    const auto number = [](std::uint32_t value) { return bytes_of(value); };
    return "BM" + number(0) + number(0) + number(54) + number(40) + number(1) + number(2) +
           bytes_of<std::uint16_t>(1) + bytes_of(bits) + std::string(24, '\0') + rows;
  };
  const std::string whole = bmp(24, "\x01\x02\x03\0\x04\x05\x06\0"s);
  const Bytes expected = {6, 5, 4, 3, 2, 1};
  CHECK(kDecode(whole).pixels == expected);
  CHECK(kDecode(bmp(32, "\x01\x02\x03\x07\x04\x05\x06\0"s)).pixels == expected);
  kDecode.refuses_beginnings(whole);
}

TEST_CASE("JPEG: turned, damaged, cut short" * doctest::skip(!can_decode_jpeg())) {
  const auto segment = [](char marker, const std::string& content) {
    return std::string{'\xff', marker, '\0', static_cast<char>(content.size() + 2)} + content;
  };
  const std::string start = "\xff\xd8";
  const std::string quantization = segment('\xdb', '\0' + std::string(64, '\x01'));
  const std::string frame = segment('\xc0', "\x08\0\x08\0\x10\x01\x01\x11\0"s);  // 8 x 16 grey
  // Each table has one code, of one bit: no difference, and the end of a block.
  const std::string one_code = "\x01"s + std::string(16, '\0');
  const std::string tables = segment('\xc4', '\0' + one_code) + segment('\xc4', '\x10' + one_code);
  const std::string scan = segment('\xda', "\x01\x01\0\0\x3f\0"s);
  const std::string data = "\x0f\xff\xd9";
  const std::string all = quantization + frame + tables + scan + data;
  const Image image = kDecode(start + all);
  CHECK(size_of(image) == Shape{8, 16, 1});
  CHECK(image.pixels == Bytes(8 * 16, 128));
  const std::string turned = segment('\xe1', "Exif\0\0"s + exif('\x06', true));
  CHECK(size_of(kDecode(start + segment('\xfe', "a comment") + turned + all + "more")) ==
        Shape{16, 8, 1});
  kDecode.refuses_beginnings(start + all);
  const auto refuses = [&](const std::string& rest, const std::string& text) {
    kDecode.refuses(start + rest, text);
  };
  refuses(quantization + frame + tables + scan + "\xff\xd9", "premature end of data");
  refuses(quantization + frame + frame + tables + scan + data, "damaged JPEG");
  refuses(quantization + frame + scan + data, "damaged JPEG");  // no tables
  refuses(segment('\xc4', '\0' + std::string(16, '\xff')) + all, "damaged JPEG");
  refuses(replaced(all, frame, segment('\xc0', "\x08\0\x08\0\x10\x02\x01\x11\0\x02\x11\0"s)),
          "of 2 components");
  for (std::size_t at = 2; at < all.size(); ++at) {  // no worse than a typed error
    CAPTURE(at);
    std::string flipped = start + all;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x11);
    try {
      kDecode(flipped);
    } catch (const Error& error) {
      CHECK(error.code() != ErrorCode::BackendFailure);
    }
  }
}

TEST_CASE("EXIF: where the first row and column are") {
  // TIFF 6.0: 1 is upright; the others as they come out of the camera, to become 1 2 3 / 4 5 6.
  const std::vector<std::pair<Image, int>> cases = {
      {{{1, 2, 3, 4, 5, 6}, 2, 3, 1}, 1}, {{{3, 2, 1, 6, 5, 4}, 2, 3, 1}, 2},
      {{{6, 5, 4, 3, 2, 1}, 2, 3, 1}, 3}, {{{4, 5, 6, 1, 2, 3}, 2, 3, 1}, 4},
      {{{1, 4, 2, 5, 3, 6}, 3, 2, 1}, 5}, {{{3, 6, 2, 5, 1, 4}, 3, 2, 1}, 6},
      {{{6, 3, 5, 2, 4, 1}, 3, 2, 1}, 7}, {{{4, 1, 5, 2, 6, 3}, 3, 2, 1}, 8}};
  for (const auto& [image, tag] : cases) {
    const auto orientation = tag;  // Clang captures no structured binding
    CAPTURE(orientation);
    for (const bool little_endian : {false, true}) {
      CHECK(exif_orientation(exif(static_cast<char>(orientation), little_endian)) == orientation);
    }
    const Image result = upright(image, Turn(orientation));
    CHECK(size_of(result) == Shape{2, 3, 1});
    CHECK(result.pixels == Bytes{1, 2, 3, 4, 5, 6});
  }
  CHECK(upright(numbered(1, 2, 3), Turn(8)).pixels == Bytes{3, 4, 5, 0, 1, 2});
  // What says nothing leaves an image as it is.
  const std::string whole = exif(6, true);
  for (std::size_t size = 0; size < 20; ++size) CHECK(exif_orientation(whole.substr(0, size)) <= 1);
  CHECK(exif_orientation(exif(0, true)) == 1);
  CHECK(exif_orientation(exif(9, false)) == 1);
  CHECK(exif_orientation("XX" + whole.substr(2)) == 1);
  std::string far = whole;
  far[7] = '\xff';  // the directory is beyond the end
  CHECK(exif_orientation(far) == 0);
  std::string other = whole;
  other[10] = '\x01';  // not the tag of the orientation
  CHECK(exif_orientation(other) == 0);
  std::string text = whole;
  text[12] = '\x02';  // the type of a text
  CHECK(exif_orientation(text) == 1);
  // A directory ends where its data end, however many entries it claims.
  std::string endless = whole;
  endless[8] = endless[9] = '\xff';
  CHECK(exif_orientation(endless) == 6);
  endless[10] = '\x01';
  CHECK(exif_orientation(endless) == 0);
}

TEST_CASE("EXIF: of many chunks the last is read alone" * doctest::skip(!can_decode_png())) {
  // Each claims 65,535 entries: together they would be 13 billion steps.
  std::string claims = exif(6, false);
  claims[8] = claims[9] = '\xff';
  claims[11] = '\x01';  // of another tag
  std::string chunks;
  for (int i = 0; i < 200000; ++i) chunks += chunk("eXIf", claims);
  const std::string rows = "\0\x01\x02"s;
  const auto sizes = [&](const std::string& more) {
    return size_of(kDecode(png(1, 2, 8, 0, rows, more)));
  };
  CHECK(sizes(chunks) == Shape{1, 2, 1});
  CHECK(sizes(chunks + chunk("eXIf", exif(6, false))) == Shape{2, 1, 1});
  CHECK(sizes(chunk("eXIf", exif(6, false)) + chunks) == Shape{1, 2, 1});
}

TEST_CASE("CenterCrop: the middle, half a pixel to even") {
  const auto top_of = [](std::int64_t height, std::int64_t crop) {
    return static_cast<int>(run_step(CenterCrop{crop, 1}, numbered(height, 1)).pixels[0]);
  };
  CHECK(top_of(10, 4) == 3);
  CHECK(top_of(5, 4) == 0);   // 0.5
  CHECK(top_of(7, 4) == 2);   // 1.5
  CHECK(top_of(9, 4) == 2);   // 2.5
  CHECK(top_of(11, 4) == 4);  // 3.5
  CHECK(run_step(CenterCrop{1, 2}, numbered(3, 4, 3)).pixels == Bytes{15, 16, 17, 18, 19, 20});
  CHECK_ERROR(BadInput, "cannot crop 2 x 5 pixels from 4 x 4",
              run_step(CenterCrop{5, 2}, numbered(4, 4)));
}

TEST_CASE("Resize: the size and the values") {
  const auto resized = [](std::int64_t short_side, std::int64_t height, std::int64_t width) {
    const Resize step{short_side, 0, 0, Interpolation::Nearest};
    return size_of(run_step(step, numbered(height, width)));
  };
  CHECK(resized(256, 375, 500) == Shape{256, 341, 1});  // 341.3
  CHECK(resized(256, 500, 375) == Shape{341, 256, 1});
  CHECK(resized(2, 3, 8) == Shape{2, 5, 1});  // 5.3
  CHECK(resized(7, 3, 3) == Shape{7, 7, 1});
  const Image wide = numbered(1, 200);
  for (const auto interpolation : {Interpolation::Nearest, Interpolation::Bilinear}) {
    CHECK_ERROR(BadInput, "200000000 x 1000000 is over the limit",
                run_step(Resize{1'000'000, 0, 0, interpolation}, wide));
  }
  CHECK(resize(numbered(1, 6), {1, 3, Interpolation::Nearest}).pixels == Bytes{1, 3, 5});
  CHECK(resize(numbered(2, 2), {4, 2, Interpolation::Nearest}).pixels ==
        Bytes{0, 1, 0, 1, 2, 3, 2, 3});
  CHECK(resize(numbered(3, 3), {3, 3, Interpolation::Bicubic}).pixels == numbered(3, 3).pixels);
  // PaddleClas: the long side of 341.3, 5.5 and 6.5 to even, and half a row less.
  for (const auto& [width, long_side] : {std::pair{500, 341}, {11, 6}, {13, 6}}) {
    const std::int64_t height = width == 500 ? 375 : 4;
    const Resize step{height == 4 ? 2 : 256, 0, 0, Interpolation::Nearest, Library::OpenCv,
                      Rounding::HalfEven};
    CHECK(size_of(run_step(step, numbered(height, width)))[1] == long_side);
  }
  CHECK(run_step(CenterCrop{1, 1, Rounding::Down}, numbered(4, 1)).pixels == Bytes{1});
}

TEST_CASE("Resize: as OpenCV does it") {  // by hand; test_image_steps.py compares with cv2 itself
  const auto resized = [](const Bytes& row, std::int64_t to, Interpolation interpolation) {
    const auto width = static_cast<std::int64_t>(row.size());
    return resize(Image{row, 1, width, 1}, {1, to, interpolation, Library::OpenCv}).pixels;
  };
  // Two neighbours of the middle of each third, however many pixels lie between.
  CHECK(resized({0, 90, 0, 0, 60, 0, 0, 30, 0}, 3, Interpolation::Bilinear) == Bytes{90, 60, 30});
  CHECK(resized({0, 90, 0, 0, 60, 0, 0, 30, 0}, 3, Interpolation::Area) == Bytes{30, 20, 10});
  CHECK(resized({0, 100}, 4, Interpolation::Bilinear) == Bytes{0, 25, 75, 100});
  CHECK(resized({0, 100}, 4, Interpolation::Area) == Bytes{0, 0, 100, 100});
  CHECK(resized({0, 1, 2, 3, 4}, 2, Interpolation::Nearest) == Bytes{0, 2});
  CHECK(resized({10, 20, 30, 40, 50}, 2, Interpolation::Area) == Bytes{18, 42});  // 2.5 pixels each
  const Image square{{0, 1, 2, 4}, 2, 2, 1};
  CHECK(resize(square, {1, 1, Interpolation::Bilinear, Library::OpenCv}).pixels == Bytes{2});
}

TEST_CASE("Resize: the filters") {
  const Image row = numbered(1, 150);  // test_image_files.py has the values
  for (const auto filter : {Interpolation::Bilinear, Interpolation::Bicubic}) {
    for (const std::int64_t to : {1, 7, 40, 149, 151, 400}) {
      const Bytes across = resize(row, {1, to, filter}).pixels;
      CHECK(across.size() == static_cast<std::size_t>(to));
      CHECK(across == resize(Image{row.pixels, 150, 1, 1}, {to, 1, filter}).pixels);
      CHECK(std::is_sorted(across.begin(), across.end()));
    }
  }
  // Colour, and white to its very corner.
  const Image white{Bytes(200 * 150 * 3, 255), 200, 150, 3};
  CHECK(resize(white, {66, 67, Interpolation::Bicubic}).pixels == Bytes(66 * 67 * 3, 255));
}

TEST_CASE("Resize: a region is the same pixels as those of the whole") {
  using Sizes = std::array<std::int64_t, 4>;
  for (const Library library : {Library::Pillow, Library::OpenCv}) {
    for (const Interpolation interpolation :
         {Interpolation::Nearest, Interpolation::Bilinear, Interpolation::Bicubic,
          library == Library::Pillow ? Interpolation::Lanczos : Interpolation::Area}) {
      // Smaller, half, larger, rows before columns, and one axis that stays.
      for (const auto& [height, width, new_height, new_width] :
           {Sizes{50, 70, 21, 30}, Sizes{40, 60, 20, 30}, Sizes{20, 30, 41, 67},
            Sizes{90, 40, 20, 38}, Sizes{30, 64, 30, 20}, Sizes{64, 30, 20, 30},
            Sizes{30, 30, 30, 30}}) {
        CAPTURE(static_cast<int>(library));
        CAPTURE(static_cast<int>(interpolation));
        CAPTURE(new_height);
        CAPTURE(new_width);
        const Image image = numbered(height, width, 3);
        const Scaling scaling{new_height, new_width, interpolation, library};
        const Region region{3, 5, new_height - 7, new_width - 9};
        const Image whole = resize(image, scaling);
        ImageRows old_rows(image);
        ImageRows new_rows(whole);
        CHECK(resize(old_rows, scaling, region).pixels == copy_of(new_rows, region).pixels);
      }
    }
  }
}

TEST_CASE("a crop behind a resize has the pixels of the two apart") {
  const Image image = numbered(50, 70, 3);
  const Resize resized{23, 0, 0, Interpolation::Bicubic};
  const Image whole = run_step(resized, image);
  for (const ImageStep& crop :
       {ImageStep(CenterCrop{20, 20}), ImageStep(CenterCrop{28, 20, Rounding::Down, {1, 2, 3}}),
        ImageStep(CropShare{0.5, 0.7})}) {
    Preparation preparation;
    preparation.image_steps = {resized, crop};
    preparation.normalize = {1, {0, 0, 0}, {1, 1, 1}};
    const Image both = ImagePipeline(preparation).prepare(image);
    CHECK(both.pixels == run_step(crop, whole).pixels);
  }
}

TEST_CASE("the steps for an image have a limit, which is known before they begin") {
  const auto pipeline = [](int large, const std::string& last = "") {
    std::string steps;
    for (int i = 0; i < large; ++i) {
      steps += R"({"type": "Resize", "size": [9459, 9459], "interpolation": "nearest"}, )";
    }
    return ImagePipeline::parse(preprocess(steps + last + kLast));
  };
  const std::string small = R"({"type": "Resize", "size": [2, 2], "interpolation": "nearest"}, )";
  CHECK(size_of(pipeline(2, small).prepare(numbered(2, 2))) == Shape{2, 2, 1});
  // 4 to 89,472,681, which is read and written again, and so on.
  CHECK_ERROR(BadInput,
              "the first 3 steps of the preprocessing read and write 447363409 pixels for an image "
              "of 2 x 2, over the limit of 357913940",
              pipeline(3, small).prepare(numbered(2, 2)));
  CHECK_ERROR(BadInput, "the first 3 steps", pipeline(1000).prepare(numbered(2, 2)));
  const Image large = filled_image(9459, 9459, 1);
  CHECK(size_of(pipeline(1, small).prepare(large)) == Shape{2, 2, 1});
  CHECK_ERROR(BadInput, "the first 3 steps", pipeline(2, small).prepare(large));
}

TEST_CASE("only images go in") {
  const ImagePipeline pipeline = kLoad(preprocess(kLast));
  CHECK(pipeline(numbered(2, 3)).shape == Shape{1, 2, 3});
  for (const Image& image :
       {Image{}, Image{{1, 2}, 1, 1, 2}, Image{{1, 2}, 1, 3, 1}, Image{{1, 2}, -1, -2, 1},
        Image{{}, std::int64_t{1} << 40, std::int64_t{1} << 40, 1}, Image{{1, 2, 3, 4}, 1, 1, 4}}) {
    CHECK_ERROR(BadInput, "not an image", pipeline(image));
  }
  const std::uint8_t byte = 0;
  const std::int64_t huge = std::int64_t{1} << 40;
  for (const ImageView& image :
       {ImageView{nullptr, 1, 1, 1, PixelFormat::Grey}, ImageView{&byte, 0, 1, 1},
        ImageView{&byte, 1, 1, 2}, ImageView{&byte, huge, huge, 0, PixelFormat::Grey},
        ImageView{&byte, 1, 1, 0, static_cast<PixelFormat>(9)}}) {
    CHECK_ERROR(BadInput, "not an image", pipeline(image));
  }
}

TEST_CASE("an image in memory is prepared as the file of it, whatever its rows and its order") {
  const Image image = numbered(5, 7, 3);
  // Each format, in rows of 40 bytes of which the rest are of no image.
  const auto pixels = [&](PixelFormat format) {
    Bytes bytes(5 * 40, 99);
    const ImageView view{bytes.data(), 5, 7, 40, format};
    const bool reversed = format == PixelFormat::Bgr || format == PixelFormat::Bgra;
    for (std::size_t i = 0; i < 35; ++i) {
      std::uint8_t* pixel = &bytes[i / 7 * 40 + i % 7 * static_cast<std::size_t>(view.channels())];
      for (std::size_t k = 0; k < 3; ++k) pixel[reversed ? 2 - k : k] = image.pixels[3 * i + k];
      if (view.channels() == 4) pixel[3] = 255;
    }
    return bytes;
  };
  const std::string resize_step = R"({"type": "Resize", "size": [3, 4], "interpolation": ")";
  for (const char* step :
       {"", R"({"type": "CenterCrop", "size": [2, 4]}, )", R"(nearest"}, )", R"(bilinear"}, )",
        R"(bicubic"}, )", R"(nearest", "library": "opencv"}, )",
        R"(bilinear", "library": "opencv"}, )", R"(bicubic", "library": "opencv"}, )",
        R"(area", "library": "opencv"}, )"}) {
    const bool resizes = *step != '\0' && *step != '{';
    const std::string steps = (resizes ? resize_step : "") + step;
    for (const ImagePipeline& pipeline :
         {kLoad(preprocess(steps + kLast3, "RGB")), kLoad(preprocess(steps + kLast3, "BGR")),
          kLoad(preprocess(steps + kLast, "L"))}) {
      const Tensor expected = pipeline(image);
      for (const PixelFormat format :
           {PixelFormat::Rgb, PixelFormat::Bgr, PixelFormat::Rgba, PixelFormat::Bgra}) {
        const Bytes bytes = pixels(format);
        CHECK(pipeline(ImageView{bytes.data(), 5, 7, 40, format}).data == expected.data);
      }
    }
  }
  const ImagePipeline grey = kLoad(preprocess(kLast3, "RGB"));
  const Bytes two = {1, 99, 2};
  CHECK(grey.prepare(ImageView{two.data(), 2, 1, 2, PixelFormat::Grey}).pixels ==
        Bytes{1, 1, 1, 2, 2, 2});
  // Half of black over white, as of a PNG.
  const Bytes clear = {0, 0, 0, 128, 10, 20, 30, 255};
  CHECK(grey.prepare(ImageView{clear.data(), 1, 2, 0, PixelFormat::Bgra}).pixels ==
        Bytes{127, 127, 127, 30, 20, 10});
}

TEST_CASE("an image file in memory is the file") {
  const std::string file = "P6\n1 2\n255\n" + kSix;
  CHECK(decode_image_from_memory(file.data(), file.size()).pixels == kDecode(file).pixels);
  CHECK_ERROR(BadInput, "'the image' is empty", decode_image_from_memory("", 0));
  CHECK_ERROR(BadInput, "bytes is null", decode_image_from_memory(nullptr, 3));
}

TEST_CASE("preprocess.json: what is accepted") {
  const std::string steps =
      R"({"type": "Resize", "size": [4, 5], "interpolation": "nearest"},
         {"type": "CenterCrop", "size": [2, 3]}, )";
  CHECK(kLoad(preprocess(steps + kLast3, "RGB"))(numbered(9, 9, 3)).shape == Shape{3, 2, 3});
  const std::string digit = R"({"type": "Digit", "size": 28, "box": 20}, )";
  CHECK(kLoad(preprocess(digit + kLast))(numbered(28, 28)).shape == Shape{1, 28, 28});
  CHECK(kLoad(preprocess(kLast3, "BGR"))({{255, 0, 7, 10, 20, 30}, 1, 2, 3}).data ==
        std::vector<float>{7, 30, 0, 20, 255, 10});
  CHECK(kLoad(preprocess(kLast3, "RGB"))({{7}, 1, 1, 1}).data == std::vector<float>{7, 7, 7});
  // ITU-R 601-2 luma.
  CHECK(kLoad(preprocess(kLast))({{255, 0, 0, 10, 20, 30}, 1, 2, 3}).data ==
        std::vector<float>{76, 18});
}

TEST_CASE("without ToCHW the channels stay last") {
  const std::string normalize =
      R"({"type": "Normalize", "scale": 2, "mean": [1, 2, 3], "std": [1, 1, 1]})";
  const Image image{{10, 20, 30, 40, 50, 60}, 1, 2, 3};
  const auto last = ImagePipeline::parse(preprocess(normalize, "BGR"));
  CHECK(last.channels_last());
  const Tensor tensor = last(image);
  CHECK(tensor.shape == Shape{1, 2, 3});
  CHECK(tensor.data == std::vector<float>{59, 38, 17, 119, 98, 77});
  const std::string pad = R"(, {"type": "Pad", "size": [2, 3]})";
  const Tensor padded = ImagePipeline::parse(preprocess(normalize + pad, "BGR"))(image);
  CHECK(padded.shape == Shape{2, 3, 3});
  std::vector<float> expected = tensor.data;
  expected.resize(18);
  CHECK(padded.data == expected);
  const auto first = ImagePipeline::parse(preprocess(normalize + ", " + kToChw, "BGR"));
  CHECK(!first.channels_last());
  CHECK(first(image).data == std::vector<float>{59, 119, 38, 98, 17, 77});
}

TEST_CASE("where the channels of a model come") {
  const auto first = ImagePipeline::parse(preprocess(kLast3, "RGB"));
  const std::string normalize = kLast3.substr(0, kLast3.size() - kToChw.size() - 2);
  const auto last = ImagePipeline::parse(preprocess(normalize, "RGB"));
  for (const Shape& shape : {Shape{-1, 3, 8, 8}, Shape{-1, 3, -1, -1}}) {
    first.require_layout(shape);
    CHECK_ERROR(BadInput, "whose channels come first", last.require_layout(shape, "p.json"));
  }
  for (const Shape& shape : {Shape{-1, 8, 8, 3}, Shape{-1, -1, -1, 3}}) {
    last.require_layout(shape);
    CHECK_ERROR(BadInput, "'p.json' gives images [N, 3, height, width], the model takes",
                first.require_layout(shape, "p.json"));
  }
  // These do not tell, or have another fault, which the run names.
  for (const Shape& shape :
       {Shape{}, Shape{-1, 4}, Shape{-1, -1, -1, -1}, Shape{-1, 1, 8, 8}, Shape{-1, 3, 3, 3}}) {
    first.require_layout(shape);
    last.require_layout(shape);
  }
}

TEST_CASE("preprocess.json: what is refused, and where it is wrong") {
  kLoad.refuses("", "parse error");
  for (const char* depth : {"8", "11", "18", "12.0", "\"12\""}) {
    kLoad.refuses(R"({"format_version": 1, "mode": "L", "depth": )" + std::string(depth) +
                      R"(, "steps": []})",
                  "depth: expected");
  }
  kLoad.refuses("[]", "the document: expected an object");
  CHECK_ERROR(BadModel, "not a valid description of preprocessing: steps missing",
              ImagePipeline::parse(R"({"format_version": 1, "mode": "L"})"));
  kLoad.refuses("{}", "format_version missing");
  kLoad.refuses(R"({"format_version": 2, "mode": "L", "steps": []})", "format_version: expected 1");
  kLoad.refuses(R"({"format_version": true, "mode": "L", "steps": []})", "format_version");
  kLoad.refuses(R"({"format_version": 1, "mode": "CMYK", "steps": []})", "mode: expected one of L");
  kLoad.refuses(R"({"format_version": 1, "mode": "L", "steps": {}})", "steps: expected a list");
  kLoad.refuses(R"({"format_version": 1, "mode": "L", "steps": [], "more": 1})", "unknown more");
  for (const std::string begin :
       {"", "\xEF\xBB\xBF"}) {  // the second is what Windows may put there
    kLoad.refuses(begin + R"({"format_version": 1, "mode": "L", "mode": "L", "steps": []})",
                  "second time");
  }
  kLoad.refuses(preprocess(kLast) + "x", "parse error");
  kLoad.refuses(preprocess(""), "expected Normalize, and behind it ToCHW");
  kLoad.refuses(preprocess(kToChw), "steps[0]");
  kLoad.refuses(preprocess(kLast + ", " + kToChw), "steps[2]");
  kLoad.refuses(preprocess(kNormalize + ", " + kLast), "steps[1]");
  kLoad.refuses(preprocess(kLast3), "3 channels, the mode has 1");
  const std::string digit = R"({"type": "Digit", "size": 28, "box": 20}, )";
  kLoad.refuses(preprocess(digit + kLast3, "RGB"), "steps[0]: Digit takes mode L");
  for (const auto& [step, problem] : std::vector<std::pair<std::string, std::string>>{
           {"1", "steps[0]: expected an object, found 1"},
           {R"({"type": "Flip"})", "steps[0].type: expected one of Resize"},
           {R"({"size": [1, 1]})", "steps[0]: type missing"},
           {R"({"type": "CenterCrop"})", "steps[0]: expected either size or share"},
           {R"({"type": "CenterCrop", "size": [1, 1], "pad": 0})", "steps[0]: unknown pad"},
           {R"({"type": "CenterCrop", "size": [1]})", "steps[0].size"},
           {R"({"type": "CenterCrop", "size": [0, 1]})", "steps[0].size[0]"},
           {R"({"type": "CenterCrop", "size": [1.0, 1]})", "steps[0].size[0]"},
           {R"({"type": "CenterCrop", "size": [1, 99999999999999999999]})", "steps[0].size[1]"},
           {R"({"type": "CenterCrop", "size": [20000, 20000]})", "over the limit"},
           {R"({"type": "Resize", "interpolation": "nearest"})", "either short_side or size"},
           {R"({"type": "Resize", "short_side": 1, "size": [1, 1], "interpolation": "nearest"})",
            "either short_side or size"},
           {R"({"type": "Resize", "short_side": 1})", "interpolation missing"},
           {R"({"type": "Resize", "short_side": 1, "interpolation": "sinc"})",
            "expected one of nearest, bilinear, bicubic"},
           {R"({"type": "Resize", "short_side": -1, "interpolation": "nearest"})", "short_side"},
           {R"({"type": "Resize", "short_side": 1, "interpolation": "area"})",
            "expected area with library opencv only"},
           {R"({"type": "Resize", "short_side": 1, "interpolation": "area", "library": "cv2"})",
            "steps[0].library: expected one of pillow, opencv"},
           {R"({"type": "CenterCrop", "size": [1, 1], "rounding": "up"})",
            "steps[0].rounding: expected one of down, half_even"},
           {R"({"type": "Digit", "size": 28, "box": 28})", "less than size"},
           {R"({"type": "Digit", "size": 1025, "box": 20})", "from 1 to 1024"}}) {
    kLoad.refuses(preprocess(step + ", " + kLast), problem);
  }
  const auto normalize = [](const std::string& scale, const std::string& mean,
                            const std::string& std) {
    return preprocess(R"({"type": "Normalize", "scale": )" + scale + R"(, "mean": )" + mean +
                      R"(, "std": )" + std + "}, " + kToChw);
  };
  kLoad.refuses(normalize("0", "[0]", "[1]"), "scale");
  kLoad.refuses(normalize("1e-60", "[0]", "[1]"), "scale");
  kLoad.refuses(normalize("1e39", "[0]", "[1]"), "float32");
  kLoad.refuses(normalize("NaN", "[0]", "[1]"), "parse error");
  kLoad.refuses(normalize("1", "[0]", "[0]"), "std");
  kLoad.refuses(normalize("1", "[0]", "[-1]"), "std");
  kLoad.refuses(normalize("1", "[]", "[]"), "std");
  kLoad.refuses(normalize("1", "[0, 0]", "[1]"), "std");
  kLoad.refuses(normalize("1", "0", "[1]"), "mean: expected a list");
  kLoad.refuses(normalize("1", "[\"\xc3\xa4\"]", "[1]"), "mean[0]: expected a number");
  CHECK_ERROR(FileNotFound, "nowhere", ImagePipeline::load("/nowhere"));
}

TEST_CASE("preprocess.json is compared with SHA256SUMS beside it") {
  const TemporaryFolder folder;
  const std::string path = write_file(folder / "preprocess.json", preprocess(kLast));
  write_file(folder / "SHA256SUMS", std::string(64, '0') + "  other.json\n");
  CHECK(ImagePipeline::load(path).channels() == 1);
  write_file(folder / "SHA256SUMS", std::string(64, '0') + "  preprocess.json\n");
  CHECK_ERROR(BadModel, "SHA-256", ImagePipeline::load(path));
  CHECK(ImagePipeline::load(path, false).channels() == 1);
}

TEST_CASE("decoding and resizing end where an Interruption says so") {
  struct Enough {};
  const auto ends = [](int most, const auto& work) {
    int asked = 0;
    const Interruption watch([&] {
      if (++asked > most) throw Enough();
    });
    CHECK_THROWS_AS(work(), Enough);
  };
  const TemporaryFolder folder;
  if (can_decode_png()) {  // 1 pixel wide: what counts is the number of rows
    const std::string file = png(1 << 14, 1, 8, 0, std::string(1 << 15, '\0'));
    ends(2, [&] { decode_image_from_memory(file.data(), file.size()); });
    const ImagePipeline halved = kLoad(
        preprocess(R"({"type": "Resize", "size": [9, 1], "interpolation": "nearest"}, )" + kLast));
    ends(2, [&] { halved.prepare(*open_image({file, "a.png", kMaxImagePixels})); });
  }
  if (can_decode_jpeg()) ends(8, [&] { decode_image(kPhotos + "/2-pen.jpg"); });
  const Image image = numbered(1 << 10, 1 << 10);
  for (const Library library : {Library::Pillow, Library::OpenCv}) {
    for (const Interpolation interpolation : {Interpolation::Bilinear, Interpolation::Bicubic}) {
      ends(1, [&] { resize(image, {1 << 9, 700, interpolation, library}); });
      ends(1, [&] { resize(image, {2000, 1 << 11, interpolation, library}); });
    }
  }
  for (const std::int64_t size : {512, 700, 1500}) {
    ends(1, [&] { resize(image, {size, size, Interpolation::Area, Library::OpenCv}); });
  }
  const ImagePipeline pipeline =
      kLoad(preprocess(R"({"type": "CenterCrop", "size": [2, 2]}, )" + kLast));
  ends(0, [&] { pipeline(numbered(4, 4)); });  // before each step
}

TEST_CASE("one pipeline in many threads") {
  const TemporaryFolder folder;
  const std::string path = write_file(folder / "a.ppm", "P6\n1 2\n255\n" + kSix);
  const std::string photo = write_file(folder / "a.png", png(2, 3, 8, 0, "\0\1\2\3\0\4\5\6"s));
  const std::string broken = write_file(folder / "b.png", png(2, 3, 8, 0, "x"));
  const ImagePipeline pipeline = kLoad(
      preprocess(R"({"type": "Resize", "short_side": 7, "interpolation": "nearest"}, )" + kLast));
  const Tensor expected = pipeline(decode_image(path));
  const auto work = [&](std::size_t) {
    for (int i = 0; i < 20; ++i) {
      const ImagePipeline copy = pipeline;
      CHECK(copy(decode_image(path)).data == expected.data);
      CHECK(resize(numbered(4, 4), {2, 3, Interpolation::Bicubic}).width == 3);
      if (!can_decode_png()) continue;
      CHECK(decode_image(photo).pixels == Bytes{1, 2, 3, 4, 5, 6});
      CHECK_ERROR(BadInput, "b.png", decode_image(broken));
    }
  };
  in_threads(4, work);
}

}  // namespace lenet::tests

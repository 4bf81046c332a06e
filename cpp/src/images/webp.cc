#include <webp/decode.h>
#include <webp/demux.h>

#include <algorithm>
#include <memory>
#include <new>
#include <utility>

#include "images/decoders.h"
#include "lenet/interruption.h"

namespace lenet {
namespace {

using IncrementalDecoder = std::unique_ptr<WebPIDecoder, decltype(&WebPIDelete)>;
using Demuxer = std::unique_ptr<WebPDemuxer, decltype(&WebPDemuxDelete)>;

std::string_view view_of(const WebPData& data) {
  return {reinterpret_cast<const char*>(data.bytes), data.size};
}

/// The first chunk of a kind; empty when there is none.
std::string_view chunk_of(const WebPDemuxer* demuxer, const char* kind) {
  WebPChunkIterator chunk;
  if (WebPDemuxGetChunk(demuxer, kind, 1, &chunk) == 0) return {};
  const std::string_view content = view_of(chunk.chunk);
  return content;
}

/// As Pillow has it: what EXIF data say, or else what XMP says.
int orientation_of(const WebPDemuxer* demuxer) {
  constexpr std::string_view kName = "tiff:Orientation";
  const std::string_view exif = chunk_of(demuxer, "EXIF");
  const int orientation = exif.empty() ? 0 : exif_orientation(exif);
  if (orientation != 0) return orientation;
  const std::string_view xmp = chunk_of(demuxer, "XMP ");
  for (std::size_t at = 0; (at = xmp.find(kName, at)) != std::string_view::npos;) {
    at += kName.size();
    const std::string_view rest = xmp.substr(at, 3);
    const std::size_t digit = rest.substr(0, 2) == "=\"" ? 2 : rest.substr(0, 1) == ">" ? 1 : 3;
    if (digit < rest.size() && rest[digit] >= '0' && rest[digit] <= '9') return rest[digit] - '0';
  }
  return 1;
}

void check(const ImageFile& file, int status) {
  if (status == VP8_STATUS_OK) return;
  if (status == VP8_STATUS_OUT_OF_MEMORY) throw std::bad_alloc();
  file.refuse("is a damaged WebP, or one that is cut short");
}

/// As WebPDecode, but it can be interrupted between pieces of the data.
int decode_in_pieces(const WebPData& data, WebPDecoderConfig& config) {
  constexpr std::size_t kPiece = std::size_t{1} << 14;
  const IncrementalDecoder decoder(WebPIDecode(nullptr, 0, &config), WebPIDelete);
  if (decoder == nullptr) return VP8_STATUS_OUT_OF_MEMORY;
  int status = VP8_STATUS_SUSPENDED;
  for (std::size_t end = 0; status == VP8_STATUS_SUSPENDED && end < data.size;) {
    check_interruption();
    end = std::min(end + kPiece, data.size);
    status = WebPIUpdate(decoder.get(), data.bytes, end);
  }
  return status;
}

}  // namespace

Image decode_webp(const ImageFile& file) {
  const WebPData data = {reinterpret_cast<const std::uint8_t*>(file.bytes.data()),
                         file.bytes.size()};
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) check(file, VP8_STATUS_INVALID_PARAM);
  check(file, WebPGetFeatures(data.bytes, data.size, &config.input));
  const Demuxer demuxer(WebPDemux(&data), WebPDemuxDelete);
  WebPIterator frame;
  if (demuxer == nullptr || WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0) {
    check(file, VP8_STATUS_NOT_ENOUGH_DATA);
  }
  const std::int64_t height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT);
  const std::int64_t width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH);
  file.check_size(height, width);
  const bool has_alpha = config.input.has_alpha != 0;
  Image image{{}, height, width, has_alpha ? 4 : 3};
  const auto row_values = static_cast<std::size_t>(image.width * image.channels);
  image.pixels.resize(static_cast<std::size_t>(image.height) * row_values);
  // The first frame of an animation may be smaller than the picture: the rest stays 0.
  const std::size_t begin = static_cast<std::size_t>(frame.y_offset) * row_values +
                            static_cast<std::size_t>(frame.x_offset * image.channels);
  // libwebp takes no buffer that is smaller than the frame, so that decoding row by row would save
  // no memory.
  config.output.colorspace = has_alpha ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = {image.pixels.data() + begin, static_cast<int>(row_values),
                          image.pixels.size() - begin};
  check(file, decode_in_pieces(frame.fragment, config));
  return upright(opaque(std::move(image)), Turn(orientation_of(demuxer.get())));
}

std::int64_t webp_work(std::string_view bytes) {
  int width = 0;
  int height = 0;
  const auto* const data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  if (WebPGetInfo(data, bytes.size(), &width, &height) == 0) return 0;
  return std::int64_t{width} * std::int64_t{height};
}

}  // namespace lenet

#include "engines/native/runtime/rows.h"

#include <algorithm>

namespace lenet::native {
namespace {

/// [channels][width] becomes [width][channels].
template <class Number>
void interleave(const char* planes, std::int64_t channels, std::int64_t width, char* to) {
  const auto* from = reinterpret_cast<const Number*>(planes);
  auto* numbers = reinterpret_cast<Number*>(to);
  if (channels == 3) {  // of colours: a third of the time
    for (std::int64_t x = 0; x < width; ++x, ++from, numbers += 3) {
      const Number green = from[width];
      const Number blue = from[2 * width];
      numbers[0] = from[0];
      numbers[1] = green;
      numbers[2] = blue;
    }
    return;
  }
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t x = 0; x < width; ++x) numbers[x * channels + c] = from[c * width + x];
  }
}

/// Rounds rows of one channel to integers.
/// \param image the first row; moved on
void write_integers(const int8::Kernels& kernels, const Placement& tensor, const float*& image,
                    std::int64_t channel, std::int64_t begin, std::int64_t end, char* first,
                    char* scratch) {
  const auto [channels, height, width] = tensor.shape.image();
  const std::int64_t row_bytes = tensor.row * tensor.element_bytes;
  const std::int64_t plane_bytes = width * tensor.element_bytes;
  const auto [least, most] = bounds_of(tensor.quant);
  char* to = first + begin * row_bytes;
  for (std::int64_t row = begin; row < end; ++row, to += row_bytes, image += width) {
    // The rows of the channels are kept until all of them are there.
    char* const planes = channels > 1 ? scratch : to;
    kernels.quantize(image, width, tensor.quant.scale, least, most, shift_of(tensor.quant),
                     planes + channel * plane_bytes);
    if (channel + 1 < channels || planes == to) continue;
    if (tensor.element_bytes == 1) {
      interleave<std::int8_t>(planes, channels, width, to);
    } else {
      interleave<std::int16_t>(planes, channels, width, to);
    }
  }
}

}  // namespace

void write_rows(const ProgramKernels& kernels, const Placement& tensor, const float** images,
                std::int64_t images_of_unit, std::int64_t channel, std::int64_t begin,
                std::int64_t end, char* first, char* scratch) {
  if (tensor.quant) {
    return write_integers(*kernels.integers, tensor, images[0], channel, begin, end, first,
                          scratch);
  }
  const std::int64_t width = tensor.shape.width();
  auto* to = reinterpret_cast<float*>(first);
  to += tensor.channel_offset(channel) + begin * tensor.row;
  for (std::int64_t row = begin; row < end; ++row, to += tensor.row) {
    if (tensor.layout == Layout::Images) {
      kernels.floats.interleave(images, width, to, tensor.column);
    } else if (tensor.column == 1) {
      std::copy_n(images[0], width, to);
    } else {
      for (std::int64_t x = 0; x < width; ++x) to[x * tensor.column] = images[0][x];
    }
    for (std::int64_t i = 0; i < images_of_unit; ++i) images[i] += width;
  }
}

const float* read_row(const ProgramKernels& kernels, const Placement& tensor, const char* first,
                      std::int64_t row, float* scratch) {
  const char* from = first + row * tensor.row * tensor.element_bytes;
  if (!tensor.quant) return reinterpret_cast<const float*>(from);
  kernels.integers->dequantize(from, tensor.shape.width() * tensor.shape.channels(),
                               tensor.quant.scale, shift_of(tensor.quant), scratch);
  return scratch;
}

}  // namespace lenet::native

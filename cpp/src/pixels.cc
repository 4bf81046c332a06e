#include "pixels.h"

#include <algorithm>
#include <cstddef>

namespace lenet {
namespace {

constexpr std::array<float, 256> shares_of_255() {
  std::array<float, 256> values{};
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) / 255.0F;
  return values;
}

/// What Paddle's ToTensor makes of pixels.
constexpr std::array<float, 256> kShares = shares_of_255();

}  // namespace

void read_row(const TensorView& input, std::int64_t image, std::int64_t channel, std::int64_t row,
              float* to) {
  const Shape& shape = input.shape;
  if (input.table == nullptr) {
    const std::int64_t width = shape[3];
    const std::uint8_t* from =
        input.pixels + ((image * shape[1] + channel) * shape[2] + row) * width;
    for (std::int64_t x = 0; x < width; ++x) to[x] = kShares[from[x]];
    return;
  }
  const auto& values = input.table->channels[static_cast<std::size_t>(channel)];
  const std::int64_t width = shape[2];
  const std::int64_t channels = shape[3];
  const std::uint8_t* from = input.pixels + (image * shape[1] + row) * width * channels +
                             (input.table->reversed ? channels - 1 - channel : channel);
  for (std::int64_t x = 0; x < width; ++x) to[x] = values[from[x * channels]];
}

void read_values(const TensorView& input, Tensor& to) {
  const std::size_t count = element_count(input.shape);
  to.shape = input.shape;
  if (input.pixels == nullptr) return to.data.assign(input.data, input.data + count);
  to.data.resize(count);
  if (input.table == nullptr) {
    std::transform(input.pixels, input.pixels + count, to.data.begin(),
                   [](std::uint8_t pixel) { return kShares[pixel]; });
    return;
  }
  std::rotate(to.shape.begin() + 1, to.shape.end() - 1, to.shape.end());
  float* values = to.data.data();
  for (std::int64_t image = 0; image < to.shape[0]; ++image) {
    for (std::int64_t channel = 0; channel < to.shape[1]; ++channel) {
      for (std::int64_t row = 0; row < to.shape[2]; ++row, values += to.shape[3]) {
        read_row(input, image, channel, row, values);
      }
    }
  }
}

}  // namespace lenet

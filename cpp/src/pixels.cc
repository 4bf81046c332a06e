#include "pixels.h"

#include <algorithm>
#include <cstddef>

#include "lenet/error.h"

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

void require_shape(const TensorView& input, const TensorSpec& spec) {
  const Shape& given = input.shape;
  const bool by_table = input.table != nullptr;
  const std::size_t rank = spec.shape.size();
  // Of the dimension of the model that is the i-th here: channels are the last one of such pixels.
  const auto expected = [&](std::size_t i) {
    return spec.shape[!by_table || i == 0 ? i : i + 1 == rank ? 1 : i + 1];
  };
  bool fits = given.size() == rank &&
              (!by_table ||
               (rank == 4 && given[3] == static_cast<std::int64_t>(input.table->channels.size())));
  for (std::size_t i = 0; fits && i < rank; ++i) {
    fits = given[i] >= 0 && (i == 0 || expected(i) < 0 || given[i] == expected(i));
  }
  // A fixed number of images a run is met by several runs.
  const std::int64_t fixed = spec.shape.empty() ? -1 : spec.shape[0];
  if (fits && (fixed <= 0 || given[0] % fixed == 0)) return;
  throw Error(
      ErrorCode::BadInput,
      "input '" + spec.name + "' has shape " + to_string(given) + "; the model expects " +
          to_string(spec.shape) +
          (fixed > 1 && fits ? ", or a multiple of " + std::to_string(fixed) + " images" : "") +
          (by_table
               ? ", and its pixels come as [N, height, width, channels], with the " +
                     std::to_string(input.table->channels.size()) + " channels of the preprocessing"
               : ""));
}

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

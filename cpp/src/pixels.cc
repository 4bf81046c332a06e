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
  bool fits = given.size() == rank &&
              (!by_table ||
               (rank == 4 && given[3] == static_cast<std::int64_t>(input.table->channels.size())));
  if (fits) {
    if (by_table) require_layout(*input.table, spec.shape, "the preprocessing");
    const bool turns = by_table && !input.table->channels_last;
    // The dimension of the pixels that the model has in the i-th place.
    const auto found = [&](std::size_t i) {
      if (!turns || i == 0) return given[i];
      return i == 1 ? given[3] : given[i - 1];
    };
    for (std::size_t i = 0; fits && i < rank; ++i) {
      const bool open = spec.shape[i] < 0;
      if (i == 0) {
        fits = given[0] >= 0;
      } else {
        fits = open ? found(i) > 0 : found(i) == spec.shape[i];
      }
    }
  }
  // A fixed number of images a run is met by several runs.
  const std::int64_t fixed = spec.shape.empty() ? -1 : spec.shape[0];
  if (fits && (fixed <= 0 || given[0] % fixed == 0)) return;
  if (fits) {
    Shape shape;
    take_values_shape(input, shape);
    const std::string count = std::to_string(fixed);
    throw Error(ErrorCode::BadInput, "input '" + spec.name + "' has shape " + to_string(shape) +
                                         "; the model expects " + to_string(spec.shape) +
                                         ", or a multiple of " + count + " images: give it " +
                                         count + " at once, or export it with an open batch");
  }
  throw Error(ErrorCode::BadInput,
              "input '" + spec.name + "' has shape " + to_string(given) + "; the model expects " +
                  to_string(spec.shape) +
                  (by_table ? ", and its pixels come as [N, height, width, channels], with the " +
                                  std::to_string(input.table->channels.size()) +
                                  " channels of the preprocessing"
                            : ""));
}

void require_layout(const PixelTable& table, const Shape& input, const std::string& source) {
  const auto channels = static_cast<std::int64_t>(table.channels.size());
  if (input.size() != 4) return;
  const std::size_t own = table.channels_last ? 3 : 1;
  const std::size_t other = table.channels_last ? 1 : 3;
  if (input[own] == channels || input[other] != channels) return;
  const std::string count = std::to_string(channels);
  const std::string gives = table.channels_last ? "[N, height, width, " + count + "]"
                                                : "[N, " + count + ", height, width]";
  const char* const remedy =
      table.channels_last
          ? R"(, whose channels come first: end the steps of the description with {"type": "ToCHW"})"
          : ", whose channels come last: leave the step ToCHW out of the description";
  throw Error(ErrorCode::BadInput,
              source + " gives images " + gives + ", the model takes " + to_string(input) + remedy);
}

void take_values_shape(const TensorView& input, Shape& to) {
  to = input.shape;
  const bool turns = input.table != nullptr && !input.table->channels_last;
  if (turns) std::rotate(to.begin() + 1, to.end() - 1, to.end());
}

void read_row(const TensorView& input, std::int64_t image, std::int64_t plane, std::int64_t row,
              float* to) {
  const Shape& shape = input.shape;
  const PixelTable* const table = input.table;
  if (table == nullptr) {
    const std::int64_t width = shape[3];
    const std::uint8_t* from = input.pixels + ((image * shape[1] + plane) * shape[2] + row) * width;
    for (std::int64_t x = 0; x < width; ++x) to[x] = kShares[from[x]];
    return;
  }
  const std::int64_t width = shape[2];
  const std::int64_t channels = shape[3];
  const auto place_of = [&](std::int64_t channel) {
    return table->reversed ? channels - 1 - channel : channel;
  };
  if (table->channels_last) {
    const std::uint8_t* pixel =
        input.pixels + ((image * shape[1] + plane) * width + row) * channels;
    for (std::int64_t c = 0; c < channels; ++c) {
      to[c] = table->channels[static_cast<std::size_t>(c)][pixel[place_of(c)]];
    }
    return;
  }
  const auto& values = table->channels[static_cast<std::size_t>(plane)];
  const std::uint8_t* from =
      input.pixels + (image * shape[1] + row) * width * channels + place_of(plane);
  for (std::int64_t x = 0; x < width; ++x) to[x] = values[from[x * channels]];
}

void read_values(const TensorView& input, Tensor& to) {
  const std::size_t count = element_count(input.shape);
  take_values_shape(input, to.shape);
  if (input.pixels == nullptr) return to.data.assign(input.data, input.data + count);
  to.data.resize(count);
  if (input.table == nullptr) {
    std::transform(input.pixels, input.pixels + count, to.data.begin(),
                   [](std::uint8_t pixel) { return kShares[pixel]; });
    return;
  }
  float* values = to.data.data();
  for (std::int64_t image = 0; image < to.shape[0]; ++image) {
    for (std::int64_t plane = 0; plane < to.shape[1]; ++plane) {
      for (std::int64_t row = 0; row < to.shape[2]; ++row, values += to.shape[3]) {
        read_row(input, image, plane, row, values);
      }
    }
  }
}

}  // namespace lenet

#include "engines/native/int8/float_layers.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace lenet::native::int8 {
namespace {

/// Calls `visit` with each value's place in the window's first channel.
template <class Visit>
void each_pixel(const Windows& rows, const Windows& columns, const TensorShape& from, std::size_t y,
                std::size_t x, const Visit& visit) {
  for (std::int64_t i = rows.begins[y]; i < rows.ends[y]; ++i) {
    for (std::int64_t j = columns.begins[x]; j < columns.ends[x]; ++j) {
      visit((i * from.width + j) * from.channels);
    }
  }
}

}  // namespace

std::vector<float> outputs_last(const Layer& layer) {
  const auto groups = static_cast<std::size_t>(layer.groups);
  const std::size_t outputs = layer.bias.size() / groups;
  const auto pixels = static_cast<std::size_t>(layer.window.kernel[0] * layer.window.kernel[1]);
  const std::size_t inputs = layer.weights.size() / layer.bias.size() / pixels;
  std::vector<float> found(layer.weights.size());
  std::size_t from = 0;
  for (std::size_t g = 0; g < groups; ++g) {
    for (std::size_t o = 0; o < outputs; ++o) {
      for (std::size_t c = 0; c < inputs; ++c) {
        for (std::size_t p = 0; p < pixels; ++p) {
          found[((g * pixels + p) * inputs + c) * outputs + o] = layer.weights[from++];
        }
      }
    }
  }
  return found;
}

void convolve(const Layer& layer, const std::vector<float>& weights, const TensorShape& from,
              const TensorShape& to, const float* input, float* output) {
  const Window& window = layer.window;
  const std::int64_t inputs = from.channels / layer.groups;
  const std::int64_t outputs = to.channels / layer.groups;
  for (std::int64_t y = 0; y < to.height; ++y) {
    for (std::int64_t x = 0; x < to.width; ++x, output += to.channels) {
      std::copy(layer.bias.begin(), layer.bias.end(), output);
      const float* weight = weights.data();
      for (std::int64_t g = 0; g < layer.groups; ++g) {
        float* sums = output + g * outputs;
        for (std::int64_t i = 0; i < window.kernel[0]; ++i) {
          for (std::int64_t j = 0; j < window.kernel[1]; ++j, weight += inputs * outputs) {
            const std::int64_t row =
                y * window.strides[0] - window.padding[0] + i * window.dilations[0];
            const std::int64_t column =
                x * window.strides[1] - window.padding[2] + j * window.dilations[1];
            if (row < 0 || column < 0 || row >= from.height || column >= from.width) continue;
            const float* values = input + (row * from.width + column) * from.channels + g * inputs;
            for (std::int64_t c = 0; c < inputs; ++c) {
              for (std::int64_t o = 0; o < outputs; ++o) {
                sums[o] += values[c] * weight[c * outputs + o];
              }
            }
          }
        }
      }
    }
  }
}

void average(const Windows& rows, const Windows& columns, const TensorShape& from,
             const float* input, float* output) {
  for (std::size_t y = 0; y < rows.begins.size(); ++y) {
    for (std::size_t x = 0; x < columns.begins.size(); ++x, output += from.channels) {
      std::fill_n(output, from.channels, 0.0F);
      each_pixel(rows, columns, from, y, x, [&](std::int64_t at) {
        for (std::int64_t c = 0; c < from.channels; ++c) output[c] += input[at + c];
      });
      const float size = rows.sizes[y] * columns.sizes[x];
      for (std::int64_t c = 0; c < from.channels; ++c) output[c] /= size;
    }
  }
}

void largest(const Windows& rows, const Windows& columns, const TensorShape& from,
             const float* input, float* output) {
  for (std::size_t y = 0; y < rows.begins.size(); ++y) {
    for (std::size_t x = 0; x < columns.begins.size(); ++x, output += from.channels) {
      std::fill_n(output, from.channels, -std::numeric_limits<float>::infinity());
      each_pixel(rows, columns, from, y, x, [&](std::int64_t at) {
        for (std::int64_t c = 0; c < from.channels; ++c) {
          output[c] = std::max(output[c], input[at + c]);
        }
      });
    }
  }
}

}  // namespace lenet::native::int8

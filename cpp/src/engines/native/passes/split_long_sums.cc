#include <algorithm>
#include <array>
#include <utility>

#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

constexpr std::int64_t kLanes = 16;          // of the longest vectors
constexpr std::int64_t kLongestPart = 1024;  // products

std::int64_t window_of(const Layer& layer) {
  const auto [height, width] = layer.convolution().window.kernel;
  return height * width;
}

/// Returns the products of each sum.
std::int64_t taps_of(const Layer& layer) {
  return static_cast<std::int64_t>(layer.stored.count / layer.bias.size());
}

std::int64_t channels_of(const Layer& layer) { return taps_of(layer) / window_of(layer); }

/// Returns the most products that a sum may have.
std::int64_t longest_sum(const Layer& layer) {
  constexpr std::int64_t kLongestWhole = 5000;
  // Winograd's method computes most of these, and adds its products up by panels of channels.
  const Window& window = layer.convolution().window;
  constexpr std::array<std::int64_t, 2> kOne = {1, 1};
  const bool by_panels = window.kernel == std::array<std::int64_t, 2>{3, 3} &&
                         window.strides == kOne && window.dilations == kOne;
  // The parts would have vectors that are not whole, which are slow.
  const bool cuts_vectors = channels_of(layer) <= kLanes;
  return by_panels || cuts_vectors ? kLongestWhole : kLongestPart;
}

bool is_short(const Layer& layer) {
  constexpr unsigned kFields = kActivation | kWeights | kWeightScales | kBias;
  return layer.kind != LayerKind::Convolution || !has_only(layer, kFields) ||
         layer.stored.data == nullptr || layer.convolution().groups > 1 ||
         channels_of(layer) <= 1 || taps_of(layer) <= longest_sum(layer);
}

/// Returns how many channels each part has, but the last one.
std::int64_t channels_of_part(const Layer& layer) {
  const std::int64_t channels = channels_of(layer);
  const std::int64_t parts = (taps_of(layer) + kLongestPart - 1) / kLongestPart;
  const std::int64_t step = (channels + parts - 1) / parts;
  // Parts of whole vectors are fast. Where 16 channels exceed the limit, accuracy comes first.
  const bool whole_vectors = channels > kLanes && kLanes * window_of(layer) <= kLongestPart;
  return whole_vectors ? (step + kLanes - 1) / kLanes * kLanes : step;
}

}  // namespace

void split_long_sums(Network& network) {
  if (std::all_of(network.layers.begin(), network.layers.end(), is_short)) return;
  for (Layer& whole : std::exchange(network.layers, {})) {
    if (is_short(whole)) {
      network.layers.push_back(std::move(whole));
      continue;
    }
    const std::int64_t window = window_of(whole);
    const std::int64_t channels = channels_of(whole);
    const auto outputs = static_cast<std::int64_t>(whole.bias.size());
    const std::int64_t step = channels_of_part(whole);
    const TensorShape shape = network.tensors[whole.output].shape;
    std::size_t sum = 0;
    for (std::int64_t first = 0; first < channels; first += step) {
      const std::int64_t last = std::min(first + step, channels);
      Layer part = whole;
      part.name += ", channels " + std::to_string(first) + " to " + std::to_string(last - 1);
      part.output = network.add_tensor(shape);
      part.activation = {};
      part.convolution().first_channel = first;
      if (first > 0) part.bias.assign(part.bias.size(), 0);
      part.stored.data +=
          static_cast<std::size_t>(first * window) * part.stored.tap * sizeof(float);
      part.stored.count = static_cast<std::size_t>(outputs * (last - first) * window);
      const std::size_t given = part.output;
      network.layers.push_back(std::move(part));
      if (first == 0) {
        sum = given;
        continue;
      }
      const std::size_t both = last == channels ? whole.output : network.add_tensor(shape);
      Layer& add = network.add_layer(LayerKind::Add, whole.name + ", sum", {sum, given}, both);
      if (last == channels) add.activation = whole.activation;
      sum = both;
    }
  }
}

}  // namespace lenet::native

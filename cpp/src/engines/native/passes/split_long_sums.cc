#include <algorithm>
#include <utility>

#include "engines/native/passes/passes.h"

namespace lenet::native {

void split_long_sums(Network& network) {
  // Those of the ResNets, of 4,608, stay whole: 1e-6 of the largest output is rounded away there.
  constexpr std::size_t kLongest = 5000;
  constexpr std::int64_t kPart = 1024;
  constexpr std::int64_t kLanes = 16;  // of the longest vectors
  const auto is_short = [](const Layer& layer) {
    return layer.kind != LayerKind::Convolution || layer.stored.data == nullptr ||
           layer.convolution().groups > 1 || layer.stored.count <= kLongest * layer.bias.size();
  };
  if (std::all_of(network.layers.begin(), network.layers.end(), is_short)) return;
  for (Layer& whole : std::exchange(network.layers, {})) {
    if (is_short(whole)) {
      network.layers.push_back(std::move(whole));
      continue;
    }
    const auto [height, width] = whole.convolution().window.kernel;
    const std::int64_t window = height * width;
    const auto outputs = static_cast<std::int64_t>(whole.bias.size());
    const std::int64_t taps = static_cast<std::int64_t>(whole.stored.count) / outputs;
    const std::int64_t channels = taps / window;
    if (channels <= 1) {
      network.layers.push_back(std::move(whole));
      continue;
    }
    std::int64_t step = std::max<std::int64_t>(kPart / window, 1);
    // Whole vectors of channels, which lie side by side.
    if (step > kLanes) step = (step + kLanes / 2) / kLanes * kLanes;
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

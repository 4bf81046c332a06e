#include <algorithm>
#include <array>
#include <optional>

#include "engines/native/passes/passes.h"
#include "model/boxes.h"

namespace lenet::native {
namespace {

/// Zeros around an image: top, bottom, left, right, as Window::padding has them.
using Padding = std::array<std::int64_t, 4>;

/// Whether two boxes move the same values to the same places.
bool are_same(const Box& a, const Box& b) {
  const auto same_loop = [](const Box::Loop& x, const Box::Loop& y) {
    return x.count == y.count && x.from == y.from && x.to == y.to;
  };
  return a.from == b.from && a.to == b.to &&
         std::equal(a.loops.begin(), a.loops.end(), b.loops.begin(), b.loops.end(), same_loop);
}

/// Returns the zeros that a layer puts around each channel of its input, where it does nothing
/// else.
std::optional<Padding> padding_of(const Network& network, const Layer& layer) {
  if (layer.kind != LayerKind::Copy || layer.inputs.size() != 1) return std::nullopt;
  const auto& [boxes, fill] = layer.get<CopyParams>();
  if (boxes.size() != 1 || fill != 0) return std::nullopt;
  const auto [channels, height, width] = network.tensors[layer.inputs[0]].shape.image();
  const auto [to_channels, to_height, to_width] = network.tensors[layer.output].shape.image();
  if (channels != to_channels || height > to_height || width > to_width) return std::nullopt;
  const std::int64_t top = boxes[0].to / to_width;
  const std::int64_t left = boxes[0].to % to_width;
  const Padding padding = {top, to_height - height - top, left, to_width - width - left};
  if (std::any_of(padding.begin(), padding.end(), [](std::int64_t zeros) { return zeros < 0; })) {
    return std::nullopt;
  }
  Box image = box_of({channels, height, width}, {height * width, width, 1},
                     {to_height * to_width, to_width, 1});
  image.to = boxes[0].to;
  return are_same(boxes[0], image) ? std::optional(padding) : std::nullopt;
}

/// Whether a layer gives no value below 0.
bool gives_no_negative(const Layer& layer) {
  return layer.activation.kind != ActivationKind::None && is_bound(layer.activation);
}

/// Returns the window in which a layer reads zeros around its input as it reads its own padding;
/// or null. \param giver gives what the zeros are around; null: the network's input
Window* window_over_zeros(Layer& reader, const Layer* giver) {
  if (reader.kind == LayerKind::Convolution) return &reader.convolution().window;
  // What a pool pads with is below all values: a zero is not, but for values that are not negative.
  const bool same = is_max_pool(reader) && !reader.get<PoolParams>().adaptive && giver != nullptr &&
                    gives_no_negative(*giver);
  return same ? &reader.get<PoolParams>().window : nullptr;
}

/// Returns a window's padding with more zeros outside; nothing where a window might lie in them
/// alone.
std::optional<Padding> sum_of(const Window& window, const Padding& zeros) {
  Padding sum = window.padding;
  for (std::size_t side = 0; side < sum.size(); ++side) {
    const std::size_t direction = side / 2;
    sum[side] += zeros[side];
    if (sum[side] > (window.kernel[direction] - 1) * window.dilations[direction]) {
      return std::nullopt;
    }
  }
  return sum;
}

}  // namespace

void join_padding(Network& network) {
  const Links links(network);
  std::vector<std::optional<Padding>> zeros(network.tensors.size());  // by what a layer gives
  std::vector<std::size_t> joined(network.tensors.size());            // how many readers can
  const auto window_of = [&](Layer& reader) -> Window* {
    if (reader.inputs.empty() || !zeros[reader.inputs[0]]) return nullptr;
    const std::size_t image = network.layers[links.producers[reader.inputs[0]]].inputs[0];
    const std::size_t producer = links.producers[image];
    return window_over_zeros(reader, producer == kNone ? nullptr : &network.layers[producer]);
  };
  for (const Layer& layer : network.layers) zeros[layer.output] = padding_of(network, layer);
  for (Layer& layer : network.layers) {
    const Window* const window = window_of(layer);
    if (window != nullptr && sum_of(*window, *zeros[layer.inputs[0]])) ++joined[layer.inputs[0]];
  }
  const auto is_joined = [&](std::size_t tensor) {
    return zeros[tensor] && joined[tensor] == links.uses[tensor];
  };
  for (Layer& layer : network.layers) {
    Window* const window = window_of(layer);
    if (window == nullptr || !is_joined(layer.inputs[0])) continue;
    window->padding = *sum_of(*window, *zeros[layer.inputs[0]]);
  }
  drop_copies(network, [&](const Layer& layer) { return is_joined(layer.output); });
}

}  // namespace lenet::native

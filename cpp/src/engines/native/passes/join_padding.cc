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
  if (layer.kind != LayerKind::Copy || !has_only(layer, 0) || layer.inputs.size() != 1) {
    return std::nullopt;
  }
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

/// Returns the window of a convolution or of a max-pool; null for other layers.
Window* window_of(Layer& layer) {
  if (layer.kind == LayerKind::Convolution) return &layer.convolution().window;
  const bool pools = is_max_pool(layer) && !layer.get<PoolParams>().adaptive;
  return pools ? &layer.get<PoolParams>().window : nullptr;
}

/// Whether a layer gives no value below 0.
bool gives_no_negative(const Layer& layer) {
  return layer.activation.kind != ActivationKind::None && is_bound(layer.activation);
}

/// Returns a window's padding with more zeros outside; nothing where the first window, or the last
/// one that ends in the padding, would lie in zeros alone.
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

/// Whether each window of a pool has some pixel of the image. A window may begin behind the image
/// where their number is rounded up, and one with dilations may step over it.
bool reach_image(const Window& window, const Padding& padding, const TensorShape& image,
                 const TensorShape& given) {
  const auto reach = [&](std::size_t direction, std::int64_t size, std::int64_t count) {
    const std::int64_t last = (count - 1) * window.strides[direction] - padding[2 * direction];
    return window.dilations[direction] == 1 && last < size;
  };
  return reach(0, image.height(), given.height()) && reach(1, image.width(), given.width());
}

/// Returns the padding of a layer that reads an image without the zeros around it; nothing where it
/// would give something else.
/// \param image the tensor inside the zeros
/// \param giver of the image; null: it is the network's input
std::optional<Padding> padding_without(const Network& network, Layer& reader, std::size_t image,
                                       const Layer* giver, const Padding& zeros) {
  const Window* const window = window_of(reader);
  if (window == nullptr) return std::nullopt;
  const std::optional<Padding> sum = sum_of(*window, zeros);
  if (!sum || reader.kind == LayerKind::Convolution) return sum;
  // A pool pads with less than any value. A zero does the same only where no value is negative, and
  // each window has a pixel of the image.
  const bool is_same = giver != nullptr && gives_no_negative(*giver) &&
                       reach_image(*window, *sum, network.tensors[image].shape,
                                   network.tensors[reader.output].shape);
  return is_same ? sum : std::nullopt;
}

}  // namespace

void join_padding(Network& network) {
  const Links links(network);
  std::vector<std::optional<Padding>> zeros(network.tensors.size());  // around each tensor
  for (const Layer& layer : network.layers) zeros[layer.output] = padding_of(network, layer);
  std::vector<std::optional<Padding>> paddings;              // that the window of each layer gets
  std::vector<std::size_t> without(network.tensors.size());  // readers that need no such zeros
  for (Layer& reader : network.layers) {
    std::optional<Padding>& padding = paddings.emplace_back();
    if (reader.inputs.empty() || !zeros[reader.inputs[0]]) continue;
    const std::size_t padded = reader.inputs[0];
    const std::size_t image = network.layers[links.producers[padded]].inputs[0];
    const std::size_t producer = links.producers[image];
    const Layer* const giver = producer == kNone ? nullptr : &network.layers[producer];
    padding = padding_without(network, reader, image, giver, *zeros[padded]);
    if (padding) ++without[padded];
  }
  const auto is_dropped = [&](std::size_t tensor) {
    return zeros[tensor] && without[tensor] == links.uses[tensor];
  };
  for (std::size_t i = 0; i < paddings.size(); ++i) {
    Layer& reader = network.layers[i];
    if (paddings[i] && is_dropped(reader.inputs[0])) window_of(reader)->padding = *paddings[i];
  }
  drop_copies(network, [&](const Layer& layer) { return is_dropped(layer.output); });
}

}  // namespace lenet::native

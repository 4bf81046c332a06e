#include <algorithm>
#include <utility>

#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

/// Whether each value depends on those in its place alone, whatever its channel.
bool is_elementwise(const Network& network, const Layer& layer) {
  const auto fits = [&](std::size_t input) {
    return network.tensors[input].shape == network.tensors[layer.output].shape;
  };
  return layer.kind == LayerKind::Activate ||
         ((is_combination(layer.kind) || layer.kind == LayerKind::ChannelScale) &&
          is_alike(layer) && std::all_of(layer.inputs.begin(), layer.inputs.end(), fits));
}

/// Whether a pool may take pixels one after the other, each with all its channels: the kernel
/// computes whole vectors, which are at most so many numbers.
bool pools_pixels(const Network& network, const Layer& layer) {
  constexpr std::int64_t kLongestVector = 16;
  return layer.kind == LayerKind::Pool &&
         network.tensors[layer.output].shape.channels() % kLongestVector == 0;
}

/// What a layer that moves whole channels copies, in the order of the program.
std::vector<Box> boxes_of(const Network& network, const Layer& layer) {
  const std::vector<ChannelSource> sources = sources_of(network, layer);
  const std::int64_t pixels = network.tensors[layer.output].shape.pixels();
  std::vector<Box> boxes;
  for (std::size_t first = 0; first < sources.size();) {
    const auto follows = [&](std::size_t at) {
      return sources[at].input == sources[first].input &&
             sources[at].channel == sources[first].channel + static_cast<std::int64_t>(at - first);
    };
    std::size_t end = first + 1;
    while (end < sources.size() && follows(end)) ++end;
    Box& box = boxes.emplace_back();
    box.input = sources[first].input;
    box.from = sources[first].channel * pixels;
    box.to = static_cast<std::int64_t>(first) * pixels;
    box.add({static_cast<std::int64_t>(end - first) * pixels, 1, 1});
    first = end;
  }
  return boxes;
}

class Separator {
 public:
  explicit Separator(Network& network)
      : network_(network),
        padded_(network.tensors.size()),
        in_order_(network.tensors.size(), kNone),
        in_vectors_(network.tensors.size(), kNone),
        in_channels_last_(network.tensors.size(), kNone) {}

  /// \returns whether any layer needs the order of the program
  bool separate() {
    const Links links(network_);
    const std::size_t input = network_.input;
    bool convolves_input = false;
    is_written_.resize(network_.layers.size());
    for (std::size_t i = 0; i < network_.layers.size(); ++i) {
      const Layer& layer = network_.layers[i];
      is_written_[i] = is_written_softmax(network_, links, layer);
      if (layer.kind != LayerKind::Convolution) continue;
      const std::size_t from = layer.inputs[0];
      padded_[from] = padded_[from] || layer.convolution().window.pads();
      convolves_input = convolves_input || from == input;
    }
    const bool is_vector = network_.tensors[input].shape.pixels() == 1 && !padded_[input];
    if (network_.tensors[input].quant) {
      give(input, Layout::ChannelsLast);
    } else if (!convolves_input || is_vector) {
      give(input, Layout::Order);
    }
    auto layers = std::exchange(network_.layers, {});
    for (std::size_t i = 0; i < layers.size(); ++i) {
      add(std::move(layers[i]), is_written_[i]);
    }
    for (std::size_t& output : network_.outputs) output = as_it_is(output);
    return needs_order_;
  }

 private:
  /// Adds a layer with what it takes, and converts that before.
  void add(Layer layer, bool is_written) {
    const bool integers = takes_integers(network_, layer);
    if (integers || layer.kind == LayerKind::Quantize) {
      if (!integers) layer.inputs[0] = as_it_is(layer.inputs[0]);  // a rounding takes any layout
      give(layer.output, Layout::ChannelsLast);
      network_.layers.push_back(std::move(layer));
      return;
    }
    const auto is_only_in_order = [&](std::size_t input) {
      return in_vectors_[input] == kNone && in_order_[input] != kNone;
    };
    const bool moves = (layer.kind == LayerKind::Concat || layer.kind == LayerKind::Channels) &&
                       has_only(layer, 0);
    if (moves && std::all_of(layer.inputs.begin(), layer.inputs.end(), is_only_in_order)) {
      std::vector<Box> boxes = boxes_of(network_, layer);
      layer.set_kind(LayerKind::Copy);
      layer.get<CopyParams>().boxes = std::move(boxes);
    }
    // A view is the tensor that it shows, whose shape may be another.
    const auto stays_in_order = [&](std::size_t input) {
      NetworkTensor given = network_.tensors[layer.output].shape;
      given.layout = Layout::Order;
      return is_only_in_order(input) && lie_alike(network_.tensors[in_order_[input]], given);
    };
    // What is in both layouts is computed in vectors.
    const bool may_stay = is_elementwise(network_, layer) && !is_both(layer.output) &&
                          std::all_of(layer.inputs.begin(), layer.inputs.end(), stays_in_order);
    const auto has_channels_last = [&](std::size_t input) {
      return network_.tensors[input].layout == Layout::ChannelsLast;
    };
    const bool by_channels_last =
        (is_elementwise(network_, layer) || pools_pixels(network_, layer)) &&
        std::all_of(layer.inputs.begin(), layer.inputs.end(), has_channels_last);
    const Layout layout = needs_order(layer) || may_stay ? Layout::Order
                          : by_channels_last             ? Layout::ChannelsLast
                                                         : Layout::Vectors;
    needs_order_ = needs_order_ || (needs_order(layer) && !is_written);
    if (layer.kind == LayerKind::View) {
      require_only(layer, 0);
      in_order_[layer.output] = find(layer.inputs[0], Layout::Order, layer);
      return;
    }
    for (std::size_t& input : layer.inputs) {
      // The image lies as convolutions read it, in neither layout.
      const bool of_image = layer.kind == LayerKind::Convolution && in_order_[input] == kNone &&
                            in_vectors_[input] == kNone && !has_channels_last(input);
      if (is_written) input = as_it_is(input);
      if (!is_written && !of_image) input = find(input, layout, layer);
    }
    if (!is_written) give(layer.output, layout);
    network_.layers.push_back(std::move(layer));
  }

  /// Whether both layouts are the same for a tensor: a vector without a border.
  bool is_both(std::size_t tensor) const {
    return network_.tensors[tensor].shape.pixels() == 1 && !padded_[tensor];
  }

  /// Notes how a tensor lies that an operator gives.
  void give(std::size_t tensor, Layout layout) {
    if (layout == Layout::ChannelsLast) {
      network_.tensors[tensor].layout = layout;
      if (!network_.tensors[tensor].quant) in_channels_last_[tensor] = tensor;
      return;
    }
    const bool both = is_both(tensor);
    network_.tensors[tensor].layout = both ? Layout::Vectors : layout;
    if (layout == Layout::Order || both) in_order_[tensor] = tensor;
    if (layout == Layout::Vectors || both) in_vectors_[tensor] = tensor;
  }

  /// The tensor in one layout.
  std::size_t find(std::size_t tensor, Layout layout, const Layer& reader) {
    std::size_t& found = layout == Layout::Order     ? in_order_[tensor]
                         : layout == Layout::Vectors ? in_vectors_[tensor]
                                                     : in_channels_last_[tensor];
    if (found != kNone) return found;
    const std::size_t from = as_it_is(tensor);
    // Without its `quant`: a Convert of integers gives the numbers that they stand for.
    found = network_.add_tensor(network_.tensors[tensor].shape);
    network_.tensors[found].layout = layout;
    network_.add_layer(LayerKind::Convert, "layout for " + reader.name, {from}, found);
    return found;
  }
  std::size_t as_it_is(std::size_t tensor) const {
    return in_vectors_[tensor] != kNone         ? in_vectors_[tensor]
           : in_order_[tensor] != kNone         ? in_order_[tensor]
           : in_channels_last_[tensor] != kNone ? in_channels_last_[tensor]
                                                : tensor;
  }

  Network& network_;
  bool needs_order_ = false;
  std::vector<bool> is_written_;  ///< by layer: a softmax that is no step
  std::vector<bool> padded_;      ///< by tensor: it has a border
  // For each tensor, the one with its values in float32 in each layout; kNone until there is one.
  std::vector<std::size_t> in_order_;
  std::vector<std::size_t> in_vectors_;
  std::vector<std::size_t> in_channels_last_;
};

}  // namespace

bool separate_layouts(Network& network) { return Separator(network).separate(); }

bool arrange_layers(Network& network, std::int64_t lanes) {
  const bool in_order = separate_layouts(network);
  join_copies(network);
  leave_out_rows(network);
  join_attention(network);
  join_converts(network, lanes);
  return in_order;
}

}  // namespace lenet::native

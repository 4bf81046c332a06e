#include <algorithm>
#include <map>
#include <utility>

#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

bool moves_channels(const Layer& layer) {
  return (layer.kind == LayerKind::Concat || layer.kind == LayerKind::Channels) &&
         has_only(layer, 0);
}

/// For memory linear in the tensors, of which each channel has a source.
constexpr std::int64_t kMaxChannels = 1 << 16;

/// Whether a layer gives all channels of its only input in their order.
bool keeps_channels(const Network& network, const Layer& layer) {
  return layer.kind == LayerKind::Channels && has_only(layer, 0) && layer.inputs.size() == 1 &&
         layer.get<ChannelsParams>().sources ==
             all_channels({network.tensors[layer.inputs[0]].shape.channels()});
}

/// Has a concat that begins with all inputs of an earlier one take the result of that one. PyTorch
/// exports DenseNet in this form.
void nest_concats(Network& network) {
  std::map<std::vector<std::size_t>, std::size_t> concats;  // what they give, by their inputs
  for (Layer& layer : network.layers) {
    if (layer.kind != LayerKind::Concat) continue;
    std::vector<std::size_t> inputs = layer.inputs;
    const std::size_t last = layer.inputs.back();
    layer.inputs.pop_back();
    const auto begin = concats.find(layer.inputs);
    layer.inputs = begin == concats.end() ? inputs : std::vector{begin->second, last};
    concats.emplace(std::move(inputs), layer.output);
  }
}

}  // namespace

void join_channels(Network& network) {
  const Links links(network);
  // For each tensor, whether it is an output or a layer reads it that does not move channels.
  std::vector<bool> kept(network.tensors.size());
  for (const std::size_t output : network.outputs) kept[output] = true;
  for (const Layer& layer : network.layers) {
    if (moves_channels(layer)) continue;
    for (const std::size_t input : layer.inputs) kept[input] = true;
  }
  LayerMemory memory(network.file_bytes);
  for (Layer& layer : network.layers) {
    if (!moves_channels(layer)) continue;
    const auto giver = [&](std::size_t tensor) -> const Layer* {
      const std::size_t producer = links.producers[tensor];
      const std::int64_t channels = network.tensors[layer.output].shape.channels();
      if (producer == kNone || kept[tensor] || channels > kMaxChannels ||
          network.tensors[tensor].shape.channels() > kMaxChannels) {
        return nullptr;
      }
      const Layer& found = network.layers[producer];
      const bool any_order = layer.kind == LayerKind::Channels || found.kind == LayerKind::Channels;
      return moves_channels(found) && any_order ? &found : nullptr;
    };
    if (std::none_of(layer.inputs.begin(), layer.inputs.end(), giver)) continue;
    std::vector<std::vector<ChannelSource>> given;  // of each input that such a layer gives
    for (const std::size_t input : layer.inputs) {
      const Layer* found = giver(input);
      given.push_back(found == nullptr ? std::vector<ChannelSource>()
                                       : sources_of(network, *found));
    }
    std::vector<ChannelSource> sources = sources_of(network, layer);
    std::map<std::size_t, std::size_t> places;  // of tensors, among the new inputs
    std::vector<std::size_t> inputs;
    for (ChannelSource& source : sources) {
      std::size_t tensor = layer.inputs[source.input];
      if (const Layer* found = giver(tensor); found != nullptr) {
        const ChannelSource before = given[source.input][static_cast<std::size_t>(source.channel)];
        tensor = found->inputs[before.input];
        source.channel = before.channel;
      }
      const auto [place, is_new] = places.emplace(tensor, inputs.size());
      if (is_new) inputs.push_back(tensor);
      source.input = place->second;
    }
    layer.set_kind(LayerKind::Channels);
    layer.get<ChannelsParams>().sources = std::move(sources);
    layer.inputs = std::move(inputs);
    memory.add(bytes_of(layer));
  }
  drop_copies(network, [&](const Layer& layer) { return keeps_channels(network, layer); });
  nest_concats(network);
}

}  // namespace lenet::native

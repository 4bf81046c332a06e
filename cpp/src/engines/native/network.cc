#include "engines/native/network.h"

#include <algorithm>
#include <functional>

#include "lenet/error.h"

namespace lenet::native {

WeightView Layer::view_weights() const {
  WeightView view = stored;
  if (stored.data != nullptr && !weight_scales.empty()) view.scales = weight_scales.data();
  if (stored.data != nullptr || weights.empty()) return view;
  const std::size_t outputs =
      kind == LayerKind::MatMul ? static_cast<std::size_t>(product().columns) : bias.size();
  return {reinterpret_cast<const char*>(weights.data()), weights.size(), weights.size() / outputs};
}

Product AttentionParams::scores() const {
  Product product;
  for (const Loop& loop : matrices) {
    product.matrices.push_back({loop.count, loop.query, loop.key, 0});
  }
  product.rows = rows;
  product.sums = depth;
  product.columns = keys;
  product.first = query;
  product.second = key;
  return product;
}

Product AttentionParams::results() const {
  Product product;
  for (const Loop& loop : matrices) {
    product.matrices.push_back({loop.count, 0, loop.value, loop.output});
  }
  product.rows = rows;
  product.sums = keys;
  product.columns = width;
  product.second = value;
  product.output = output;
  return product;
}

Links::Links(const Network& network)
    : producers(network.tensors.size(), kNone),
      readers(network.tensors.size(), kNone),
      uses(network.tensors.size()) {
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    producers[network.layers[i].output] = i;
    for (const std::size_t input : network.layers[i].inputs) {
      readers[input] = i;
      ++uses[input];
    }
  }
  for (const std::size_t output : network.outputs) ++uses[output];
}

void LayerMemory::add(double bytes) {
  bytes_ += bytes;
  if (bytes_ > most_) {
    throw Error(ErrorCode::Unsupported,
                "the layers would need far more memory than the files of the model have bytes: too "
                "many operators share large constants");
  }
}

void require_tensor_memory(double bytes) {
  constexpr double kMax = double{1U << 31};
  if (bytes > kMax) {
    throw Error(ErrorCode::Unsupported,
                "it would need more than 2 GiB for the tensors of one image, with their padding");
  }
}

double bytes_of(const Layer& layer) {
  const std::size_t scales = layer.integers.empty() ? 0 : layer.weight_scales.size();
  const std::size_t floats = layer.view_weights().count + layer.bias.size() + scales;
  const std::size_t of_params =
      std::visit([](const auto& params) { return params.bytes(); }, layer.params);
  return static_cast<double>(floats * sizeof(float) + layer.integers.size() + of_params);
}

namespace {

/// Whether each window has a value of the image: if one has none, the first or the last has none.
/// \param window without dilations
/// \param image its height and width \param counts of windows
bool has_windows_inside(const Window& window, const std::array<std::int64_t, 2>& image,
                        const std::array<std::int64_t, 2>& counts) {
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t padding = window.padding[2 * i];
    const std::int64_t last = (counts[i] - 1) * window.strides[i] - padding;
    if (padding >= window.kernel[i] || last >= image[i]) return false;
  }
  return true;
}

}  // namespace

bool pools_integers(const Network& network, const Layer& layer) {
  // 32 bits hold the sum of so many bytes.
  constexpr std::int64_t kMaxPixels = 1 << 22;
  if (layer.kind != LayerKind::Pool) return false;
  const auto& [window, kind, adaptive] = layer.get<PoolParams>();
  const TensorShape& from = network.tensors[layer.inputs[0]].shape;
  const TensorShape& to = network.tensors[layer.output].shape;
  if (!adaptive &&
      (window.dilations != Window().dilations ||
       !has_windows_inside(window, {from.height(), from.width()}, {to.height(), to.width()}))) {
    return false;
  }
  return kind == PoolKind::Max || from.pixels() <= kMaxPixels;
}

bool takes_integers(const Network& network, const Layer& layer) {
  if (layer.kind == LayerKind::Concat || layer.kind == LayerKind::Channels) {
    return static_cast<bool>(network.tensors[layer.output].quant);
  }
  return is_integer_convolution(layer) ||
         (pools_integers(network, layer) && network.tensors[layer.inputs[0]].quant);
}

std::vector<ChannelSource> sources_of(const Network& network, const Layer& layer) {
  if (layer.kind == LayerKind::Channels) return layer.get<ChannelsParams>().sources;
  std::vector<std::int64_t> channels;
  for (const std::size_t input : layer.inputs) {
    channels.push_back(network.tensors[input].shape.channels());
  }
  return all_channels(channels);
}

bool lie_alike(const NetworkTensor& a, const NetworkTensor& b) {
  return a.layout == b.layout && (a.shape == b.shape || (a.layout == Layout::Order &&
                                                         a.shape.values() == b.shape.values()));
}

bool is_alike(const Layer& layer) {
  const auto* const params = std::get_if<ScaleParams>(&layer.params);
  if (params == nullptr) return true;
  const auto alike = [](const std::vector<float>& numbers) {
    return std::adjacent_find(numbers.begin(), numbers.end(), std::not_equal_to<>()) ==
           numbers.end();
  };
  return alike(params->scale) && alike(params->bias);
}

bool is_max_pool_2x2(const Network& network, const Layer& layer) {
  if (!is_max_pool(layer)) return false;
  const auto& [window, _, adaptive] = layer.get<PoolParams>();
  const TensorShape& from = network.tensors[layer.inputs[0]].shape;
  const TensorShape& to = network.tensors[layer.output].shape;
  return !adaptive && window.dilations == Window().dilations &&
         window.kernel == std::array<std::int64_t, 2>{2, 2} && window.strides == window.kernel &&
         !window.pads() && to.height() == from.height() / 2 && to.width() == from.width() / 2;
}

std::vector<OutputSource> output_sources(const Network& network) {
  const Links links(network);
  std::vector<OutputSource> sources;
  for (const std::size_t output : network.outputs) {
    const std::size_t producer = links.producers[output];
    if (producer != kNone && is_written_softmax(network, links, network.layers[producer])) {
      const Layer& softmax = network.layers[producer];
      sources.push_back({softmax.inputs[0], true, softmax.get<SoftmaxParams>().logarithm});
    } else {
      sources.push_back({output});
    }
  }
  return sources;
}

std::int32_t tap_offset(std::int64_t offset, const Layer& layer) {
  if (offset > std::numeric_limits<std::int32_t>::max()) {
    throw Error(ErrorCode::Unsupported,
                "there is no kernel for tensors as large as " + layer.name + " takes");
  }
  return static_cast<std::int32_t>(offset);
}

double multiply_adds(const Network& network, const Layer& layer) {
  if (layer.kind == LayerKind::MatMul) return layer.product().multiply_adds();
  if (layer.kind == LayerKind::Attention) {
    const auto& attention = layer.get<AttentionParams>();
    return attention.scores().multiply_adds() + attention.results().multiply_adds();
  }
  if (layer.kind != LayerKind::Convolution) return 0;
  const std::int64_t windows_of_pixel = layer.convolution().pool ? 4 : 1;
  const std::int64_t windows = network.tensors[layer.output].shape.pixels() * windows_of_pixel;
  return static_cast<double>(layer.view_weights().count + layer.integers.size()) *
         static_cast<double>(windows);
}

}  // namespace lenet::native

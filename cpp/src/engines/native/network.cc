#include "engines/native/network.h"

#include <algorithm>
#include <functional>

#include "engines/native/contradiction.h"
#include "lenet/error.h"

namespace lenet::native {

namespace {

// Each takes the parameters apart by all of their members: whoever adds one has to say whether it
// is a field that passes must know of.
unsigned fields_of(const ConvolutionParams& params) {
  const auto& [window, groups, first_channel, roundings, pool, sum] = params;
  return !roundings.empty() || pool || sum != kNone ? kStages : 0U;
}
unsigned fields_of(const Product& product) {
  const auto& [matrices, rows, sums, columns, first, second, output, quant] = product;
  return quant ? kRounding : 0U;
}
template <class Params>
unsigned fields_of(const Params& /*params*/) {
  return 0;
}

const char* name_of(LayerField field) {
  switch (field) {
    case kActivation:
      return "a function of its results";
    case kWeights:
      return "weights";
    case kWeightScales:
      return "scales of weights";
    case kBias:
      return "a bias";
    case kIntegers:
      return "weights that are integers";
    case kRests:
      return "the rests of integers";
    case kStages:
      return "stages behind its sums";
    case kRounding:
      return "a rounding of its operand";
  }
  return "?";
}

}  // namespace

unsigned fields_of(const Layer& layer) {
  // By all members: whoever adds one has to say here what it is. `kind`, `name`, `inputs` and
  // `output` are no fields, as each pass has to look at them anyway.
  const auto& [kind, name, inputs, output, activation, params, weights, stored, bias, integers,
               rests, weight_scales] = layer;
  unsigned fields = std::visit([](const auto& of_kind) { return fields_of(of_kind); }, params);
  if (activation.kind != ActivationKind::None) fields |= kActivation;
  if (!weights.empty() || stored.data != nullptr) fields |= kWeights;
  if (!bias.empty()) fields |= kBias;
  if (!integers.empty()) fields |= kIntegers;
  if (!rests.empty()) fields |= kRests;
  if (!weight_scales.empty()) fields |= kWeightScales;
  return fields;
}

void require_only(const Layer& layer, unsigned fields) {
  const unsigned others = fields_of(layer) & ~fields;
  if (others == 0) return;
  const unsigned first = others & (~others + 1);
  contradict("the layer " + layer.name + " (" + to_string(layer.kind) + ") has " +
             name_of(static_cast<LayerField>(first)) + ", which nothing would compute");
}

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

/// Whether each window of a pool is known to have a pixel of the image.
bool reaches_image(const Network& network, const Layer& layer) {
  const auto& [window, kind, adaptive] = layer.get<PoolParams>();
  const TensorShape& from = network.tensors[layer.inputs[0]].shape;
  const TensorShape& to = network.tensors[layer.output].shape;
  return adaptive ||
         (window.dilations == Window().dilations &&
          has_windows_inside(window, {from.height(), from.width()}, {to.height(), to.width()}));
}

}  // namespace

bool pools_integers(const Network& network, const Layer& layer) {
  // 32 bits hold the sum of so many bytes.
  constexpr std::int64_t kMaxPixels = 1 << 22;
  if (layer.kind != LayerKind::Pool || !reaches_image(network, layer)) return false;
  return layer.get<PoolParams>().kind == PoolKind::Max ||
         network.tensors[layer.inputs[0]].shape.pixels() <= kMaxPixels;
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

bool keeps_zeros(const Network& network, const Layer& layer) {
  if (!facts_of(layer.kind).has(kKeepsZeros) || !keeps_zero(layer.activation)) return false;
  // The largest of a window without a pixel is the least number, and its mean is none.
  return layer.kind != LayerKind::Pool || reaches_image(network, layer);
}

bool applies(const Layer& layer, const Activation& activation) {
  switch (facts_of(layer.kind).applies) {
    case Applies::Nothing:
      return activation.kind == ActivationKind::None;
    case Applies::Relu:
      return activation.kind == ActivationKind::None || activation.kind == ActivationKind::Relu;
    case Applies::Any:
      return activation.kind != ActivationKind::Scalar;
    case Applies::Scalars:
      break;
  }
  return true;
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

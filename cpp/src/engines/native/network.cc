#include "engines/native/network.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "lenet/error.h"

namespace lenet::native {
namespace {

/// A layer that simplify() keeps, and what became part of it.
struct Kept {
  Layer* layer = nullptr;
  int scales = 0;
};

/// Whether the layer has become part of the one before it, which nothing else reads.
bool fuse_into(Kept& before, const Layer& layer) {
  if (before.layer == nullptr) return false;
  if (layer.kind == LayerKind::ChannelScale) {
    if (before.layer->kind != LayerKind::Convolution || before.layer->relu) return false;
    if (before.scales == kMaxScales) return false;
    ++before.scales;
    scale_convolution(*before.layer, layer);
    before.layer->relu = layer.relu;
  } else if (layer.kind == LayerKind::Relu) {
    const LayerKind kind = before.layer->kind;
    if (kind == LayerKind::Concat || kind == LayerKind::Softmax) return false;
    before.layer->relu = true;
  } else {
    return false;
  }
  before.layer->output = layer.output;
  return true;
}

}  // namespace

Layer::Layer() = default;
Layer::Layer(const Layer& other) = default;
Layer::Layer(Layer&& other) noexcept = default;
Layer& Layer::operator=(const Layer& other) = default;
Layer& Layer::operator=(Layer&& other) noexcept = default;
Layer::~Layer() = default;

const char* to_string(LayerKind kind) noexcept {
  switch (kind) {
    case LayerKind::Convolution:
      return "convolution";
    case LayerKind::Pool:
      return "pool";
    case LayerKind::ChannelScale:
      return "scale";
    case LayerKind::Relu:
      return "relu";
    case LayerKind::Add:
      return "add";
    case LayerKind::Concat:
      return "concat";
    case LayerKind::Softmax:
      return "softmax";
    case LayerKind::Quantize:
      return "quantize";
    case LayerKind::Identity:
      return "identity";
  }
  return "";
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
  ++uses[network.output];
}

void LayerMemory::add(double bytes) {
  bytes_ += bytes;
  if (bytes_ > most_) {
    throw Error(ErrorCode::Unsupported,
                "the native engine would need far more memory for the layers than the files of "
                "the model have bytes: too many operators share large constants; use another "
                "engine");
  }
}

void ImageMemory::add(double numbers) {
  numbers_ += numbers;
  if (numbers_ > kMax) {
    throw Error(ErrorCode::Unsupported,
                "the native engine would need more than 2 GiB for the tensors of one image, with "
                "their padding; use another engine");
  }
}

double bytes_of(const Layer& layer) {
  const std::size_t floats =
      layer.weights.size() + layer.bias.size() + layer.scale.size() + layer.weight_scales.size();
  return static_cast<double>(floats * sizeof(float) + layer.integers.size());
}

bool is_whole_image(const TensorShape& image, const Layer& layer, const TensorShape& output) {
  const auto& padding = layer.window.padding;
  return output.height == 1 && output.width == 1 && layer.window.kernel[0] == image.height &&
         layer.window.kernel[1] == image.width && layer.groups == 1 &&
         std::all_of(padding.begin(), padding.end(), [](auto pad) { return pad == 0; });
}

bool is_max_pool_2x2(const Network& network, const Layer& layer) {
  const Window& window = layer.window;
  const TensorShape& from = network.tensors[layer.inputs[0]];
  const TensorShape& to = network.tensors[layer.output];
  return layer.kind == LayerKind::Pool && layer.pool == PoolKind::Max && !layer.adaptive &&
         window.kernel == std::array<std::int64_t, 2>{2, 2} && window.strides == window.kernel &&
         window.padding == std::array<std::int64_t, 4>{0, 0, 0, 0} &&
         to.height == from.height / 2 && to.width == from.width / 2;
}

const Layer* last_softmax(const Network& network) {
  const Layer* last = nullptr;
  for (const Layer& layer : network.layers) {
    if (layer.kind != LayerKind::Softmax) continue;
    if (layer.output != network.output) {
      throw Error(ErrorCode::Unsupported,
                  "the native engine has softmax as the last layer only; use engine paddle");
    }
    last = &layer;
  }
  return last;
}

std::int32_t tap_offset(std::int64_t offset, const Layer& layer) {
  if (offset > std::numeric_limits<std::int32_t>::max()) {
    throw Error(ErrorCode::Unsupported, "the native engine has no kernel for tensors as large as " +
                                            layer.name + " takes; use engine paddle");
  }
  return static_cast<std::int32_t>(offset);
}

double multiply_adds(const Network& network, const Layer& layer) {
  if (layer.kind != LayerKind::Convolution) return 0;
  const TensorShape& shape = network.tensors[layer.output];
  return static_cast<double>(layer.weights.size() + layer.integers.size()) *
         static_cast<double>(shape.height * shape.width);
}

void scale_convolution(Layer& convolution, const Layer& scale) {
  const std::size_t channels = convolution.bias.size();
  const std::size_t taps = convolution.weights.size() / channels;
  for (std::size_t c = 0; c < channels; ++c) {
    for (std::size_t t = 0; t < taps; ++t) convolution.weights[c * taps + t] *= scale.scale[c];
    if (!convolution.weight_scales.empty()) convolution.weight_scales[c] *= scale.scale[c];
    convolution.bias[c] = convolution.bias[c] * scale.scale[c] + scale.bias[c];
  }
}

void simplify(Network& network) {
  const Links links(network);
  std::vector<Kept> kept(network.tensors.size());
  std::vector<Layer>& layers = network.layers;
  auto end = layers.begin();
  for (Layer& layer : layers) {
    const std::size_t input = layer.inputs[0];
    const std::size_t output = layer.output;
    if (links.uses[input] == 1 && fuse_into(kept[input], layer)) {
      kept[output] = kept[input];
      continue;
    }
    if (&layer != &*end) *end = std::move(layer);
    kept[output].layer = &*end++;
  }
  layers.erase(end, layers.end());
}

void split_long_sums(Network& network) {
  // Those of the ResNets, of 4,608, stay whole: 1e-6 of the largest output is rounded away there.
  constexpr std::int64_t kLongest = 5000;
  constexpr std::int64_t kPart = 1024;
  std::vector<Layer> layers;
  const auto add_tensor = [&](const Layer& like) {
    const TensorShape shape = network.tensors[like.output];
    network.tensors.push_back(shape);
    return network.tensors.size() - 1;
  };
  for (Layer& whole : network.layers) {
    const auto outputs = static_cast<std::int64_t>(whole.bias.size());
    const std::int64_t window = whole.window.kernel[0] * whole.window.kernel[1];
    const std::int64_t taps =
        outputs > 0 ? static_cast<std::int64_t>(whole.weights.size()) / outputs : 0;
    const std::int64_t channels = taps / window;
    if (whole.kind != LayerKind::Convolution || whole.groups > 1 || taps <= kLongest ||
        channels == 1) {
      layers.push_back(std::move(whole));
      continue;
    }
    const std::int64_t step = std::max<std::int64_t>(kPart / window, 1);
    std::size_t sum = 0;
    for (std::int64_t first = 0; first < channels; first += step) {
      const std::int64_t last = std::min(first + step, channels);
      Layer part;
      part.kind = LayerKind::Convolution;
      part.name =
          whole.name + ", channels " + std::to_string(first) + " to " + std::to_string(last - 1);
      part.inputs = whole.inputs;
      part.output = add_tensor(whole);
      part.window = whole.window;
      part.first_channel = first;
      part.bias = first == 0 ? whole.bias : std::vector<float>(whole.bias.size());
      for (std::int64_t o = 0; o < outputs; ++o) {
        const auto row = whole.weights.begin() + o * taps;
        part.weights.insert(part.weights.end(), row + first * window, row + last * window);
      }
      const std::size_t given = part.output;
      layers.push_back(std::move(part));
      if (first == 0) {
        sum = given;
        continue;
      }
      Layer add;
      add.kind = LayerKind::Add;
      add.name = whole.name + ", sum";
      add.inputs = {sum, given};
      sum = add.output = last == channels ? whole.output : add_tensor(whole);
      add.relu = last == channels && whole.relu;
      layers.push_back(std::move(add));
    }
  }
  network.layers = std::move(layers);
}

}  // namespace lenet::native

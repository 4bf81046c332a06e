#include "engines/native/float_program.h"

#include <algorithm>
#include <array>
#include <utility>

namespace lenet::native {
namespace {

std::size_t other_input(const Layer& sum, std::size_t input) {
  return sum.inputs[sum.inputs[0] == input ? 1 : 0];
}

/// The pool of 2 x 2 that alone reads what a layer gives, and could become part of it; kNone.
std::size_t pool_after(const Network& network, const Links& links, std::size_t layer) {
  const std::size_t given = network.layers[layer].output;
  const std::size_t reader = links.readers[given];
  const bool follows = reader != kNone && links.uses[given] == 1;
  return follows && is_none_or_relu(network.layers[layer].activation) &&
                 is_max_pool_2x2(network, network.layers[reader])
             ? reader
             : kNone;
}

/// The sum that alone reads what a convolution gives, and whose other input is there before: it
/// could become part of the convolution; or kNone.
std::size_t sum_after(const Network& network, const Links& links, std::size_t layer) {
  const std::size_t given = network.layers[layer].output;
  const std::size_t reader = links.readers[given];
  if (reader == kNone || links.uses[given] != 1 ||
      network.layers[layer].activation.kind != ActivationKind::None ||
      network.layers[reader].kind != LayerKind::Add) {
    return kNone;
  }
  const std::size_t other = other_input(network.layers[reader], given);
  const std::size_t producer = links.producers[other];
  const bool same = network.tensors[other].shape == network.tensors[given].shape;
  return same && producer != kNone && producer < layer ? reader : kNone;
}

std::unique_ptr<Op> make_op(const FloatLayer& source, MakeOp* multiply_integers) {
  if (!source.layer.integers.empty()) return multiply_integers(source);
  switch (source.layer.kind) {
    case LayerKind::Convolution:
      return source.method == ConvMethod::Winograd || source.method == ConvMethod::WinogradRows
                 ? make_winograd(source)
             : source.method == ConvMethod::Winograd3x3 ? make_winograd3x3(source)
             : source.method == ConvMethod::Grouped     ? make_grouped(source)
                                                        : make_convolution(source);
    case LayerKind::Pool:
      return make_pool(source);
    case LayerKind::Resize:
      return make_resize(source);
    case LayerKind::Concat:
    case LayerKind::Channels:
      return make_channels(source);
    case LayerKind::Copy:
    case LayerKind::Convert:
      return make_copy(source);
    case LayerKind::Softmax:
    case LayerKind::Reduce:
      return make_axis_op(source);
    case LayerKind::Along:
      return make_along(source);
    case LayerKind::MatMul:
      return make_matmul(source);
    case LayerKind::Broadcast:
      return make_broadcast(source);
    case LayerKind::Normalize:
      return make_normalize(source);
    case LayerKind::Constant:
      return make_constant(source);
    default:
      return make_elementwise(source);
  }
}

/// Whether its kernels take an image's channels one after the other. Those of groups take vectors.
bool reads_planes(const Layer& layer) {
  return layer.kind == LayerKind::Convolution && layer.groups == 1;
}

}  // namespace

FloatProgram::FloatProgram(const Network& network, const Kernels& kernels, bool interleaved,
                           std::int64_t min_shared_bytes, const Bf16Kernels* bf16,
                           MakeOp* multiply_integers)
    : Program(interleaved ? kernels.lanes : 1, min_shared_bytes),
      kernels_(kernels),
      bf16_(bf16),
      multiply_integers_(multiply_integers) {
  set_tensors(network.tensors, network.input, output_sources(network));
  const auto may_read = [this](const Layer& layer) {
    const auto& read = layer.inputs;
    return std::find(read.begin(), read.end(), input_) == read.end() || reads_planes(layer);
  };
  if (placements_[input_].layout == Layout::Vectors && placements_[input_].shape.pixels() > 1 &&
      std::all_of(network.layers.begin(), network.layers.end(), may_read)) {
    placements_[input_].layout = Layout::Planes;
  }
  lower(network, interleaved);
  if (interleaved) {
    for (Placement& tensor : placements_) tensor.layout = Layout::Images;
  }
  lay_out(network);
}

void FloatProgram::lower(const Network& network, bool interleaved) {
  const Links links(network);
  // By tensor: padded, an output, or not read by convolutions alone.
  std::vector<bool> no_planes(network.tensors.size());
  for (const OutputSource& output : outputs_) no_planes[output.tensor] = true;
  for (const Layer& layer : network.layers) {
    if (reads_planes(layer) && !layer.window.pads()) continue;
    for (const std::size_t input : layer.inputs) no_planes[input] = true;
  }
  std::vector<bool> fused(network.layers.size());
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    const Layer& layer = network.layers[i];
    if (fused[i] || is_written_softmax(network, links, layer)) continue;
    Lowered step{i};
    StepIo io{layer.inputs, layer.output};
    if (layer.kind == LayerKind::Convolution && !splits_vectors(network, layer) &&
        placements_[layer.inputs[0]].layout != Layout::Planes) {
      step.tap_lanes = kernels_.lanes;
    }
    if (layer.kind == LayerKind::Convolution && !layer.integers.empty()) {
      step.method = ConvMethod::Integers;
    } else if (layer.kind == LayerKind::Convolution) {
      const std::size_t pool = pool_after(network, links, i);
      const std::size_t given = pool == kNone ? layer.output : network.layers[pool].output;
      const bool of_planes = placements_[layer.inputs[0]].layout == Layout::Planes;
      // One image's few channels, on vectors of columns; images side by side add up the same way.
      const bool columns = fits_columns(network, layer) && !no_planes[given];
      if (columns) placements_[given].layout = Layout::Planes;
      const bool winograd_rows =
          kernels_.winograd_rows != nullptr && columns && suits_winograd_rows(network, layer);
      const bool winograd = kernels_.winograd_channels != nullptr && !columns &&
                            suits_winograd(network, layer) && of_planes;
      // Tiles are faster than what Winograd's method saves.
      const bool winograd3x3 = kernels_.winograd3x3 != nullptr && !interleaved &&
                               (bf16_ == nullptr || bf16_->conv_tiles == nullptr) && !of_planes &&
                               suits_winograd3x3(network, layer, kernels_.lanes, bf16_ != nullptr);
      step.method = winograd                         ? ConvMethod::Winograd
                    : winograd_rows                  ? ConvMethod::WinogradRows
                    : interleaved                    ? ConvMethod::Interleaved
                    : columns                        ? ConvMethod::Columns
                    : winograd3x3                    ? ConvMethod::Winograd3x3
                    : splits_vectors(network, layer) ? ConvMethod::Grouped
                                                     : ConvMethod::Channels;
      const bool pools = winograd || interleaved || columns;
      if (pool != kNone && pools) {
        step.pool = pool;
        io.output = given;
        fused[pool] = true;
      }
      if (winograd3x3 || step.method == ConvMethod::Channels) {
        step.sum = sum_after(network, links, i);
      }
      if (step.sum != kNone) {
        io.inputs.push_back(other_input(network.layers[step.sum], layer.output));
        io.output = network.layers[step.sum].output;
        fused[step.sum] = true;
      }
    }
    lowered_.push_back(step);
    ios_.push_back(std::move(io));
  }
}

bool FloatProgram::fits_columns(const Network& network, const Layer& layer) const {
  constexpr std::int64_t kFewChannels = 8;
  const TensorShape& shape = network.tensors[layer.output].shape;
  return kernels_.lanes > 1 && layer.inputs[0] == network.input && layer.groups == 1 &&
         placements_[input_].layout == Layout::Planes &&
         layer.window.strides == std::array<std::int64_t, 2>{1, 1} &&
         shape.channels <= kFewChannels && shape.width >= kernels_.lanes;
}

bool FloatProgram::splits_vectors(const Network& network, const Layer& layer) const {
  const std::int64_t inputs = network.tensors[layer.inputs[0]].shape.channels / layer.groups;
  const std::int64_t outputs = network.tensors[layer.output].shape.channels / layer.groups;
  const bool several =
      outputs > kernels_.lanes && outputs % kernels_.lanes == 0 && inputs % kernels_.lanes == 0;
  return layer.groups > 1 && !several;
}

std::size_t FloatProgram::first_batched(const Network& network) const {
  if (placements_[input_].layout == Layout::Images) return 0;
  const auto reads_weights = [&](std::size_t s) {
    double values = static_cast<double>(network.tensors[ios_[s].output].shape.values());
    for (const std::size_t input : ios_[s].inputs) {
      values += static_cast<double>(network.tensors[input].shape.values());
    }
    const Layer& layer = network.layers[lowered_[s].layer];
    const bool weighs = layer.kind == LayerKind::Convolution ||
                        (layer.kind == LayerKind::MatMul && layer.inputs.size() == 1);
    return !weighs || bytes_of(layer) > values * sizeof(float);
  };
  std::size_t first = lowered_.size();
  while (first > 0 && reads_weights(first - 1)) --first;
  return first;
}

void FloatProgram::lay_out(const Network& network) {
  for (std::size_t s = 0; s < lowered_.size(); ++s) {
    const Layer& layer = network.layers[lowered_[s].layer];
    // A softmax has taken what it needs of a value when it writes in its place.
    const bool in_place = is_combination(layer.kind) || layer.kind == LayerKind::Activate ||
                          layer.kind == LayerKind::ChannelScale || layer.kind == LayerKind::Softmax;
    // So may a convolution over what it adds, but not one that keeps sums in the output meanwhile.
    const bool adds_last = layer.kind == LayerKind::Convolution &&
                           !is_whole_image(network.tensors[layer.inputs[0]].shape, layer,
                                           network.tensors[layer.output].shape);
    ios_[s].in_place = in_place ? 0 : adds_last ? 1 : kNone;
    const bool reads_border = layer.kind == LayerKind::Convolution &&
                              lowered_[s].method != ConvMethod::Winograd3x3 &&
                              lowered_[s].method != ConvMethod::Integers;
    if (reads_border) placements_[layer.inputs[0]].pad(layer.window);
  }
  if (placements_[input_].layout != Layout::Images) join_in_place(network);
  const auto name_of = [&](std::size_t s) { return network.layers[lowered_[s].layer].name; };
  place(first_batched(network), name_of,
        [&](std::size_t tensor) { placements_[tensor].lay_out(kernels_.lanes); });
}

void FloatProgram::join_in_place(const Network& network) {
  std::vector<bool> given(placements_.size());
  for (const StepIo& io : ios_) {
    given[io.output] = placements_[io.output].layout != Layout::Planes;
  }
  for (std::size_t s = ios_.size(); s-- > 0;) {
    if (network.layers[lowered_[s].layer].kind != LayerKind::Concat) continue;
    auto& [inputs, output, _, there] = ios_[s];
    const Part whole = parts_[output];  // the joints of the joints lie in the last
    there.resize(inputs.size());
    std::int64_t first = 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const std::size_t input = inputs[i];
      const Placement& tensor = placements_[input];
      const std::int64_t channels = tensor.shape.channels;
      const bool ends = channels % kernels_.lanes == 0 || i + 1 == inputs.size();
      // Vectors without a border may be read in the order of the program.
      const bool may_widen =
          tensor.shape.pixels() > 1 || tensor.border == placements_[output].border;
      if (given[input] && parts_[input].whole == input && first % kernels_.lanes == 0 && ends &&
          may_widen) {
        parts_[input] = {whole.whole, whole.channel + first};
        there[i] = true;
      }
      first += channels;
    }
  }
  for (std::size_t t = 0; t < parts_.size(); ++t) {
    Placement& whole = placements_[parts_[t].whole];
    whole.border = std::max(whole.border, placements_[t].border);
  }
  for (std::size_t t = 0; t < parts_.size(); ++t) {
    placements_[t].border = placements_[parts_[t].whole].border;
  }
}

void FloatProgram::prepare(const Network& network, std::shared_ptr<SharedArrays> shared) {
  arena_ = WeightArena(std::move(shared));
  LayerMemory memory(network.file_bytes);
  double weights = 0;
  for (const Lowered& step : lowered_) weights += bytes_of(network.layers[step.layer]);
  arena_.reserve(static_cast<std::size_t>(std::min(weights, memory.most())));
  const auto fused = [&](std::size_t layer) {
    return layer == kNone ? nullptr : &network.layers[layer];
  };
  for (std::size_t s = 0; s < lowered_.size(); ++s) {
    const Lowered& step = lowered_[s];
    const Layer& layer = network.layers[step.layer];
    FloatLayer source{kernels_,
                      bf16_,
                      layer,
                      fused(step.pool),
                      fused(step.sum),
                      step.method,
                      step.tap_lanes,
                      network.tensors[layer.output].shape,
                      {},
                      ios_[s].there,
                      placements_[ios_[s].output],
                      memory,
                      arena_};
    for (const std::size_t input : ios_[s].inputs) source.inputs.push_back(placements_[input]);
    std::string name = layer.name;
    for (const Layer* with : {source.pool, source.sum}) {
      if (with != nullptr) name += ", " + with->name;
    }
    add_step(layer, std::move(name), multiply_adds(network, layer),
             make_op(source, multiply_integers_));
  }
}

void FloatProgram::write_rows(const float** images, std::int64_t channel, std::int64_t begin,
                              std::int64_t end, const Frame& frame, std::int64_t unit) const {
  const Placement& tensor = placements_[input_];
  const std::int64_t width = tensor.shape.width;
  float* to = frame.at<float>(tensor, unit);
  if (channel == 0 && begin == 0) tensor.clear_last_block(to);
  to += tensor.channel_offset(channel) + begin * tensor.row;
  for (std::int64_t row = begin; row < end; ++row, to += tensor.row) {
    if (tensor.layout == Layout::Images) {
      kernels_.interleave(images, width, to, tensor.column);
    } else if (tensor.column == 1) {
      std::copy_n(images[0], width, to);
    } else {
      for (std::int64_t x = 0; x < width; ++x) to[x * tensor.column] = images[0][x];
    }
    for (std::int64_t i = 0; i < images_per_unit(); ++i) images[i] += width;
  }
}

}  // namespace lenet::native

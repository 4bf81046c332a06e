#include "engines/native/float_program.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "lenet/error.h"

namespace lenet::native {
namespace {

bool is_padded(const Layer& layer) {
  const auto& padding = layer.window.padding;
  return std::any_of(padding.begin(), padding.end(), [](auto pad) { return pad != 0; });
}

/// The pool of 2 x 2 that alone reads what a layer gives, and could become part of it; kNone.
std::size_t pool_after(const Network& network, const Links& links, std::size_t layer) {
  const std::size_t given = network.layers[layer].output;
  const std::size_t reader = links.readers[given];
  const bool follows = reader != Links::kNone && links.uses[given] == 1;
  return follows && is_max_pool_2x2(network, network.layers[reader]) ? reader : Links::kNone;
}

std::unique_ptr<Op> make_op(const FloatLayer& source) {
  switch (source.layer.kind) {
    case LayerKind::Convolution:
      return source.method == ConvMethod::Winograd ? make_winograd(source)
                                                   : make_convolution(source);
    case LayerKind::Pool:
      return make_pool(source);
    default:
      return make_elementwise(source);
  }
}

}  // namespace

FloatProgram::FloatProgram(const Network& network, const Kernels& kernels, bool interleaved,
                           std::int64_t min_shared_bytes)
    : Program(interleaved ? kernels.lanes : 1, min_shared_bytes),
      kernels_(kernels),
      interleaved_(interleaved),
      planar_(network.tensors.size()),
      unpadded_(network.tensors.size(), true) {
  const Layer* softmax = last_softmax(network);
  set_tensors(network.tensors, network.input,
              softmax == nullptr ? network.output : softmax->inputs[0], softmax != nullptr);
  lower(network);
  lay_out(network);
  std::vector<StepIo> steps;
  for (const Lowered& step : lowered_) {
    const Layer& layer = network.layers[step.layer];
    const bool fused = step.pool != Links::kNone;
    const bool in_place = layer.kind == LayerKind::Add || layer.kind == LayerKind::Relu ||
                          layer.kind == LayerKind::ChannelScale;
    steps.push_back(
        {layer.inputs, fused ? network.layers[step.pool].output : layer.output, in_place});
  }
  place(steps);
}

bool FloatProgram::fits_columns(const Network& network, const Links& links,
                                std::size_t index) const {
  constexpr std::int64_t kFewChannels = 8;
  const Layer& layer = network.layers[index];
  if (kernels_.lanes == 1 || layer.kind != LayerKind::Convolution) return false;
  const std::size_t pool = pool_after(network, links, index);
  const std::size_t given = pool == Links::kNone ? layer.output : network.layers[pool].output;
  return layer.inputs[0] == network.input && layer.groups == 1 &&
         layer.window.strides == std::array<std::int64_t, 2>{1, 1} &&
         network.tensors[layer.output].channels <= kFewChannels &&
         network.tensors[layer.output].width >= kernels_.lanes && given != network.output &&
         unpadded_[given];
}

void FloatProgram::find_planar(const Network& network, const Links& links) {
  for (const Layer& layer : network.layers) {
    if (layer.kind == LayerKind::Convolution && !is_padded(layer)) continue;
    for (const std::size_t input : layer.inputs) unpadded_[input] = false;
  }
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    if (!fits_columns(network, links, i)) continue;
    const std::size_t pool = pool_after(network, links, i);
    planar_[network.layers[pool == Links::kNone ? i : pool].output] = true;
  }
}

ConvMethod FloatProgram::choose_method(const Network& network, const Links& links,
                                       std::size_t index) const {
  const Layer& layer = network.layers[index];
  const bool columns = fits_columns(network, links, index);
  if (kernels_.winograd_channels != nullptr && !columns && suits_winograd(network, layer) &&
      is_planar(layer.inputs[0])) {
    return ConvMethod::Winograd;
  }
  return interleaved_ ? ConvMethod::Interleaved
         : columns    ? ConvMethod::Columns
                      : ConvMethod::Channels;
}

void FloatProgram::lower(const Network& network) {
  const Links links(network);
  find_planar(network, links);
  std::vector<bool> fused(network.layers.size());
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    const Layer& layer = network.layers[i];
    if (fused[i] || layer.kind == LayerKind::Softmax) continue;  // which is last
    Lowered step{i};
    if (layer.kind == LayerKind::Convolution) {
      step.method = choose_method(network, links, i);
      if (step.method != ConvMethod::Channels) step.pool = pool_after(network, links, i);
      if (step.pool != Links::kNone) fused[step.pool] = true;
    }
    lowered_.push_back(step);
  }
}

void FloatProgram::lay_out(const Network& network) {
  const std::int64_t lanes = kernels_.lanes;
  std::vector<bool> used(placements_.size());
  std::vector<bool> grouped(placements_.size());
  used[input_] = true;
  placements_[input_].planar = !interleaved_;
  for (const Lowered& step : lowered_) {
    const Layer& layer = network.layers[step.layer];
    const bool fused = step.pool != Links::kNone;
    const std::size_t given = fused ? network.layers[step.pool].output : layer.output;
    used[given] = true;
    placements_[given].planar = step.method == ConvMethod::Columns;
    if (layer.kind != LayerKind::Convolution) continue;
    grouped[given] = layer.groups > 1;
    std::int64_t& border = placements_[layer.inputs[0]].border;
    for (const std::int64_t pad : layer.window.padding) border = std::max(border, pad);
  }
  for (std::size_t t = 0; t < placements_.size(); ++t) {
    Placement& placement = placements_[t];
    if (!used[t]) continue;
    const TensorShape& shape = placement.shape;
    const std::int64_t border = placement.border;
    // The last group's last vector may reach beyond the channels.
    const std::int64_t beyond = grouped[t] ? lanes : 0;
    const std::int64_t stored = placement.planar ? shape.channels
                                : interleaved_   ? shape.channels * lanes
                                                 : round_up(shape.channels + beyond, lanes);
    const std::int64_t width = shape.width + 2 * border;
    const std::int64_t columns = placement.planar ? round_up(width, 2 * lanes) : width;
    require_tensor_memory(sizeof(float) * static_cast<double>(stored) *
                          static_cast<double>(columns) *
                          static_cast<double>(shape.height + 2 * border));
    if (placement.planar) {
      placement.column = 1;
      placement.row = columns;
      placement.channel = placement.row * (shape.height + 2 * border);
      placement.size = placement.channel * shape.channels + 4 * lanes;
    } else {
      placement.channel = interleaved_ ? lanes : 1;
      placement.channels_last(stored, lanes);
    }
  }
}

void FloatProgram::prepare(Network& network, bool release) {
  LayerMemory memory(network.file_bytes);
  for (const auto& [index, fused, method] : lowered_) {
    Layer& layer = network.layers[index];
    const Layer* pool = fused == Links::kNone ? nullptr : &network.layers[fused];
    const std::size_t output = pool == nullptr ? layer.output : pool->output;
    FloatLayer source{kernels_,
                      interleaved_,
                      layer,
                      pool,
                      method,
                      is_planar(layer.inputs[0]),
                      network.tensors[layer.output],
                      {},
                      placements_[output],
                      memory};
    for (const std::size_t input : layer.inputs) {
      source.inputs.push_back(placements_[input]);
      if (!placements_[input].planar || layer.kind == LayerKind::Convolution) continue;
      throw Error(ErrorCode::Unsupported, std::string("the native engine has no ") +
                                              to_string(layer.kind) + " of the image itself (" +
                                              layer.name + "); use engine paddle");
    }
    LayerProfile profile = describe(layer, multiply_adds(network, layer), output);
    if (pool != nullptr) profile.name += ", " + pool->name;
    add_step(std::move(profile), output, make_op(source));
    if (release) std::vector<float>().swap(layer.weights);
  }
}

void FloatProgram::read_input(const float* images, std::int64_t count, const Frame& frame) const {
  const Placement& to = placements_[input_];
  const auto& [channels, height, width] = to.shape;
  const std::int64_t per_unit = images_per_unit();
  for (std::int64_t unit = 0; unit < frame.count; ++unit) {
    std::array<const float*, 16> sources{};
    for (std::int64_t l = 0; l < per_unit; ++l) {
      // A unit that is not full repeats its last image.
      sources[static_cast<std::size_t>(l)] =
          images + std::min(unit * per_unit + l, count - 1) * to.shape.values();
    }
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t y = 0; y < height; ++y) {
        float* row = frame.at<float>(to, unit) + c * to.channel + y * to.row;
        if (interleaved_) {
          kernels_.interleave(sources.data(), width, row, to.column);
          for (const float*& source : sources) source = source == nullptr ? source : source + width;
        } else {
          std::memcpy(row, sources[0] + (c * height + y) * width,
                      static_cast<std::size_t>(width) * sizeof(float));
        }
      }
    }
  }
}

void FloatProgram::write_output(const Frame& frame, std::int64_t image, float* output) const {
  const Placement& from = placements_[output_];
  const auto& [channels, height, width] = from.shape;
  const float* first = frame.at<float>(from, image / images_per_unit()) + image % images_per_unit();
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t x = 0; x < width; ++x) {
        *output++ = first[c * from.channel + y * from.row + x * from.column];
      }
    }
  }
}

}  // namespace lenet::native

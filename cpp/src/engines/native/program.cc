#include "engines/native/program.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "engines/native/pool_windows.h"
#include "engines/native/winograd.h"
#include "finite.h"
#include "lenet/error.h"

namespace lenet::native {
namespace {

constexpr std::int64_t kLine = kCacheLine / static_cast<std::int64_t>(sizeof(float));

/// Cycles, about, for one tap of all channels at a row of windows, when `tile` channels are
/// computed together: two multiply-adds and two loads a cycle, and four cycles until a sum can be
/// added to.
double cycles(const Kernels& kernels, std::int64_t channels, std::int64_t units, int tile,
              bool pool) {
  const std::int64_t widest = kernels.widest(tile, pool);
  const std::int64_t tiles = (units + widest - 1) / widest;
  double all = 0;
  for (std::int64_t t = 0; t < tiles; ++t) {
    const std::int64_t width = (units * (t + 1) / tiles - units * t / tiles) * (pool ? 4 : 1);
    const auto sums = static_cast<double>(width * tile);
    const auto loads = static_cast<double>(width + tile);
    all += std::max({sums / 2, loads / 2, 4.0});
  }
  return all * static_cast<double>((channels + tile - 1) / tile);
}

int best_tile(const Kernels& kernels, std::int64_t channels, std::int64_t columns, bool pool) {
  int best = 1;
  double least = std::numeric_limits<double>::infinity();
  for (const int tile : {6, 4, 3, 2, 1}) {
    // Even one unit's sums, values and weight would not fit the registers.
    if (tile > 1 && (pool ? 4 : 1) * (tile + 1) + 1 > kernels.registers) continue;
    const double found = cycles(kernels, channels, pool ? columns / 2 : columns, tile, pool);
    if (found < least) {
      least = found;
      best = tile;
    }
  }
  return best;
}

/// How many offsets are always one apart, again and again.
std::int32_t run_of(const std::vector<std::int32_t>& offsets) {
  std::int32_t run = 0;
  std::int32_t length = 1;
  for (std::size_t i = 1; i < offsets.size(); ++i, ++length) {
    if (offsets[i] == offsets[i - 1] + 1) continue;
    run = std::gcd(run, length);
    length = 0;
  }
  return std::gcd(run, length);
}

}  // namespace

Program::Program(const Network& network, const Kernels& kernels, bool interleaved)
    : kernels_(kernels),
      interleaved_(interleaved),
      input_shape_(network.tensors[network.input]),
      output_shape_(network.tensors[network.output]),
      links_(network),
      layer_memory_(network.file_bytes) {
  const Layer* softmax = last_softmax(network);
  softmax_ = softmax != nullptr;
  find_planar(network);
  place(network);
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    const Layer& layer = network.layers[i];
    if (&layer == softmax) continue;
    steps_.push_back(compile(network, layer));
    if (fused_pool(network, layer) != nullptr) ++i;
  }
  scratch_ = unit_floats_;
  std::int64_t scratch = 0;
  for (const Step& step : steps_) {
    if (step.winograd == nullptr) continue;
    scratch = std::max(scratch, std::int64_t{36} * step.winograd_task.in_channels * kernels_.lanes);
  }
  unit_floats_ += round_up(scratch, kLine);
  input_ = placements_[network.input];
  output_ = placements_[softmax_ ? softmax->inputs[0] : network.output];
}

bool Program::fits_columns(const Network& network, const Layer& layer) const {
  constexpr std::int64_t kFewChannels = 8;
  if (kernels_.lanes == 1 || layer.kind != LayerKind::Convolution) return false;
  const Layer* pool = pool_after(network, layer);
  const std::size_t given = pool == nullptr ? layer.output : pool->output;
  const bool few = layer.inputs[0] == network.input && layer.groups == 1 &&
                   layer.window.strides == std::array<std::int64_t, 2>{1, 1} &&
                   network.tensors[layer.output].channels <= kFewChannels &&
                   network.tensors[layer.output].width >= kernels_.lanes && given != network.output;
  return few && unpadded_[given];
}

void Program::find_planar(const Network& network) {
  unpadded_.assign(network.tensors.size(), true);
  for (const Layer& layer : network.layers) {
    const auto& padding = layer.window.padding;
    const bool unpadded =
        layer.kind == LayerKind::Convolution &&
        std::all_of(padding.begin(), padding.end(), [](auto pad) { return pad == 0; });
    if (unpadded) continue;
    for (const std::size_t input : layer.inputs) unpadded_[input] = false;
  }
  planar_.resize(network.tensors.size());
  for (const Layer& layer : network.layers) {
    if (!fits_columns(network, layer)) continue;
    const Layer* pool = pool_after(network, layer);
    planar_[pool == nullptr ? layer.output : pool->output] = true;
  }
}

const Layer* Program::pool_after(const Network& network, const Layer& convolution) const {
  const Layer* next = &convolution + 1;
  if (next == network.layers.data() + network.layers.size()) return nullptr;
  const bool follows =
      next->inputs[0] == convolution.output && links_.uses[convolution.output] == 1;
  return follows && is_max_pool_2x2(network, *next) ? next : nullptr;
}

const Layer* Program::fused_pool(const Network& network, const Layer& layer) const {
  if (layer.kind != LayerKind::Convolution) return nullptr;
  const bool pools = interleaved_ || fits_columns(network, layer) || fits_winograd(network, layer);
  return pools ? pool_after(network, layer) : nullptr;
}

bool Program::fits_winograd(const Network& network, const Layer& layer) const {
  return kernels_.winograd_channels != nullptr && suits_winograd(network, layer) &&
         !fits_columns(network, layer) &&
         (layer.inputs[0] == network.input || planar_[layer.inputs[0]]);
}

void Program::place(const Network& network) {
  const std::int64_t lanes = kernels_.lanes;
  std::vector<std::int64_t> borders(network.tensors.size());
  std::vector<bool> grouped(network.tensors.size());
  placements_.resize(network.tensors.size());
  placements_[network.input].used = true;
  placements_[network.input].planar = !interleaved_;
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    const Layer& layer = network.layers[i];
    std::size_t given = layer.output;
    if (layer.kind == LayerKind::Convolution) {
      std::int64_t& border = borders[layer.inputs[0]];
      for (const std::int64_t pad : layer.window.padding) border = std::max(border, pad);
      const bool columns = !interleaved_ && fits_columns(network, layer);
      if (const Layer* pool = fused_pool(network, layer)) given = pool->output;
      placements_[given].planar = columns;
      grouped[given] = layer.groups > 1;
    }
    placements_[given].used = true;
  }
  ImageMemory memory;
  for (std::size_t t = 0; t < network.tensors.size(); ++t) {
    Placement& placement = placements_[t];
    if (!placement.used) continue;
    const TensorShape& shape = network.tensors[t];
    const std::int64_t border = borders[t];
    // The last group's last vector may reach beyond the channels.
    const std::int64_t beyond = grouped[t] ? lanes : 0;
    const std::int64_t stored = placement.planar ? shape.channels
                                : interleaved_   ? shape.channels * lanes
                                                 : round_up(shape.channels + beyond, lanes);
    const std::int64_t width = shape.width + 2 * border;
    const std::int64_t columns = placement.planar ? round_up(width, 2 * lanes) : width;
    memory.add(static_cast<double>(stored) * static_cast<double>(columns) *
               static_cast<double>(shape.height + 2 * border));
    std::int64_t size = 0;
    if (placement.planar) {
      placement.column = 1;
      placement.row = columns;
      placement.channel = placement.row * (shape.height + 2 * border);
      size = placement.channel * shape.channels + 4 * lanes;
    } else {
      placement.channel = interleaved_ ? lanes : 1;
      placement.column = stored;
      placement.row = placement.column * columns;
      size = placement.row * (shape.height + 2 * border) + lanes;
    }
    placement.begin = unit_floats_ + border * (placement.row + placement.column);
    unit_floats_ += round_up(size, kLine);
  }
}

Step Program::compile(const Network& network, const Layer& layer) {
  Step step;
  step.name = layer.name;
  step.kind = layer.kind;
  step.kernel = to_string(layer.kind);
  step.multiply_adds = multiply_adds(network, layer);
  step.relu = layer.relu;
  step.shape = network.tensors[layer.output];
  step.output = placements_[layer.output];
  for (const std::size_t input : layer.inputs) {
    step.inputs.push_back(placements_[input]);
    step.input_channels.push_back(network.tensors[input].channels);
  }
  const bool known = std::all_of(step.inputs.begin(), step.inputs.end(), [&](const auto& input) {
    return !input.planar || layer.kind == LayerKind::Convolution;
  });
  if (!known) {
    throw Error(ErrorCode::Unsupported, "the native engine has no " + step.kernel +
                                            " of the image itself (" + layer.name +
                                            "); use engine paddle");
  }
  if (layer.kind == LayerKind::Convolution) compile_convolution(network, layer, step);
  if (layer.kind == LayerKind::Pool) compile_pool(network, layer, step);
  if (layer.kind == LayerKind::ChannelScale) {
    step.scale = Aligned<float>(layer.scale.size());
    step.bias = Aligned<float>(layer.bias.size());
    std::copy(layer.scale.begin(), layer.scale.end(), step.scale.data());
    std::copy(layer.bias.begin(), layer.bias.end(), step.bias.data());
  }
  return step;
}

void Program::compile_convolution(const Network& network, const Layer& layer, Step& step) {
  const std::int64_t lanes = kernels_.lanes;
  const TensorShape& image = network.tensors[layer.inputs[0]];
  const TensorShape& output = network.tensors[layer.output];
  const Window& window = layer.window;
  const Placement& from = step.inputs[0];
  const bool columns = !interleaved_ && fits_columns(network, layer);
  const Layer* pool = fused_pool(network, layer);
  if (pool != nullptr) {
    step.output = placements_[pool->output];
    step.shape = network.tensors[pool->output];
    step.relu |= pool->relu;
    step.name += ", " + pool->name;
  }
  if (fits_winograd(network, layer)) {
    constexpr double kLarger = 36.0 / 25;  // what the transform makes of 5 x 5 weights
    layer_memory_.add(kLarger * bytes_of(layer));
    return compile_winograd(network, layer, step);
  }
  step.whole_image = is_whole_image(image, layer, output);
  const bool by_channels = !interleaved_ && !columns;
  step.convolution = by_channels ? kernels_.conv_channels
                     : columns   ? kernels_.conv_columns
                                 : kernels_.conv_interleaved;
  step.kernel = by_channels ? "conv_channels" : columns ? "conv_columns" : "conv_interleaved";

  const std::int64_t groups = layer.groups;
  const std::int64_t out_channels = output.channels / groups;
  const auto taps = static_cast<std::int64_t>(layer.weights.size()) / output.channels;
  const std::int64_t in_channels = taps / (window.kernel[0] * window.kernel[1]);
  // Where each tap is among [input channel][height][width].
  std::vector<std::int64_t> places;
  const auto add_tap = [&](std::int64_t c, std::int64_t y, std::int64_t x) {
    places.push_back((c * window.kernel[0] + y) * window.kernel[1] + x);
    const std::int64_t offset = y * window.dilations[0] * from.row +
                                x * window.dilations[1] * from.column + c * from.channel;
    step.offsets.push_back(tap_offset(offset, layer));
  };
  // The order in which one image's taps lie side by side; the same for interleaved images.
  const bool planar = layer.inputs[0] == network.input || planar_[layer.inputs[0]];
  for (std::int64_t i = 0; i < taps; ++i) {
    const std::int64_t width = window.kernel[1];
    if (planar) {
      add_tap(i / (window.kernel[0] * width), i / width % window.kernel[0], i % width);
    } else {
      add_tap(i % in_channels, i / in_channels / width, i / in_channels % width);
    }
  }

  ConvTask task{};
  task.taps = static_cast<std::int32_t>(taps);
  task.run = run_of(step.offsets);
  task.input_column = window.strides[1] * from.column;
  task.input_row = window.strides[0] * from.row;
  task.output_column = step.output.column;
  task.output_row = step.output.row;
  task.output_channel = step.output.channel;
  task.columns = static_cast<std::int32_t>(output.width);
  task.rows = static_cast<std::int32_t>(output.height);
  task.channels = static_cast<std::int32_t>(out_channels);
  task.relu = step.relu;
  task.pool = pool != nullptr;
  if (task.pool) {
    task.rows = task.rows / 2 * 2;
    task.columns = task.columns / 2 * 2;
  }

  // How many channels are side by side in the packed weights, block after block.
  std::vector<std::int64_t> blocks;
  if (by_channels) {
    task.tile = step.whole_image && kernels_.registers >= 32 ? 8 : kernels_.registers >= 32 ? 4 : 2;
    for (std::int64_t left = (out_channels + lanes - 1) / lanes; left > 0; left -= blocks.back()) {
      blocks.push_back(kernels_.block(static_cast<int>(left), task.tile));
    }
    for (std::int64_t& block : blocks) block *= lanes;
  } else {
    constexpr std::int64_t kUnits = 4;  // of which a fully connected layer sees several at once
    task.tile = columns ? static_cast<std::int32_t>(std::min<std::int64_t>(
                              kernels_.registers >= 32 ? 6 : 3, out_channels))
                        : best_tile(kernels_, out_channels,
                                    step.whole_image ? kUnits : output.width, task.pool);
    if (columns && task.tile == 5) task.tile = 6;
    blocks.assign(static_cast<std::size_t>((out_channels + task.tile - 1) / task.tile), task.tile);
  }
  constexpr std::int32_t kShortestRun = 16;  // of which it pays to look for zeros first
  task.skips_zeros = by_channels && step.whole_image && task.run >= kShortestRun &&
                     all_finite(layer.weights.data(), layer.weights.size());
  std::int64_t packed = 0;
  for (const std::int64_t block : blocks) packed += block;

  layer_memory_.add(static_cast<double>(groups) *
                    (static_cast<double>(packed * (taps + 1) * std::int64_t{sizeof(float)}) +
                     static_cast<double>(sizeof(ConvTask))));
  step.weights = Aligned<float>(static_cast<std::size_t>(groups * packed * taps));
  step.bias = Aligned<float>(static_cast<std::size_t>(groups * packed));
  float* weights = step.weights.data();
  float* bias = step.bias.data();
  for (std::int64_t g = 0; g < groups; ++g) {
    task.weights = weights;
    task.bias = bias;
    step.tasks.push_back(task);
    step.task_inputs.push_back(from.begin + (layer.first_channel + g * in_channels) * from.channel -
                               window.padding[0] * from.row - window.padding[2] * from.column);
    step.task_outputs.push_back(step.output.begin + g * out_channels * step.output.channel);
    std::int64_t first = 0;
    for (const std::int64_t block : blocks) {
      for (std::int64_t t = 0; t < taps; ++t) {
        for (std::int64_t b = 0; b < block; ++b, ++weights) {
          if (first + b >= out_channels) continue;
          const std::int64_t o = g * out_channels + first + b;
          *weights = layer.weights[static_cast<std::size_t>(o * taps) +
                                   static_cast<std::size_t>(places[static_cast<std::size_t>(t)])];
        }
      }
      for (std::int64_t b = 0; b < block; ++b, ++bias) {
        if (first + b >= out_channels) continue;
        // Adding 0 makes a -0 a 0, in all kernels: see skips_zeros.
        *bias = layer.bias[static_cast<std::size_t>(g * out_channels + first + b)] + 0.0F;
      }
      first += block;
    }
  }
}

void Program::compile_winograd(const Network& network, const Layer& layer, Step& step) const {
  const TensorShape& output = network.tensors[layer.output];
  const Window& window = layer.window;
  const Placement& from = step.inputs[0];
  step.winograd = interleaved_ ? kernels_.winograd_interleaved : kernels_.winograd_channels;
  step.kernel = interleaved_ ? "winograd_interleaved" : "winograd_channels";
  step.task_inputs = {from.begin - window.padding[0] * from.row - window.padding[2] * from.column};
  step.task_outputs = {step.output.begin};

  WinogradTask& task = step.winograd_task;
  task.input_column = from.column;
  task.input_row = from.row;
  task.input_channel = from.channel;
  task.output_column = step.output.column;
  task.output_row = step.output.row;
  task.output_channel = step.output.channel;
  task.in_channels = static_cast<std::int32_t>(network.tensors[layer.inputs[0]].channels);
  task.channels = static_cast<std::int32_t>(output.channels);
  task.tiles_across = static_cast<std::int32_t>(output.width / 2);
  task.tiles_down = static_cast<std::int32_t>(output.height / 2);
  task.relu = step.relu;
  task.pool = fused_pool(network, layer) != nullptr;

  const std::int64_t block = interleaved_ ? kernels_.winograd_group : kernels_.lanes;
  const std::int64_t channels = round_up(task.channels, block);
  const std::vector<float> transformed = winograd_weights(layer);
  step.weights = Aligned<float>(static_cast<std::size_t>(36 * channels * task.in_channels));
  step.bias = Aligned<float>(static_cast<std::size_t>(channels));
  std::copy(layer.bias.begin(), layer.bias.end(), step.bias.data());
  for (std::int64_t o = 0; o < task.channels; ++o) {
    for (std::int64_t c = 0; c < task.in_channels; ++c) {
      for (std::int64_t i = 0; i < 36; ++i) {
        const std::int64_t row = i / 6;
        const std::int64_t column = i % 6;
        const std::int64_t at =
            (((o / block * 6 + column) * task.in_channels + c) * 6 + row) * block + o % block;
        step.weights.data()[at] =
            transformed[static_cast<std::size_t>((o * task.in_channels + c) * 36 + i)];
      }
    }
  }
  task.weights = step.weights.data();
  task.bias = step.bias.data();
}

void Program::compile_pool(const Network& network, const Layer& layer, Step& step) const {
  const TensorShape& image = network.tensors[layer.inputs[0]];
  for (const Windows& windows : {pool_windows(layer, 1, image.width, step.shape.width),
                                 pool_windows(layer, 0, image.height, step.shape.height)}) {
    step.bounds.insert(step.bounds.end(), windows.begins.begin(), windows.begins.end());
    step.bounds.insert(step.bounds.end(), windows.ends.begin(), windows.ends.end());
    step.sizes.insert(step.sizes.end(), windows.sizes.begin(), windows.sizes.end());
  }
  PoolTask& task = step.pool;
  task.columns = static_cast<std::int32_t>(step.shape.width);
  task.rows = static_cast<std::int32_t>(step.shape.height);
  task.input_column = step.inputs[0].column;
  task.input_row = step.inputs[0].row;
  task.output_column = step.output.column;
  task.output_row = step.output.row;
  task.values =
      static_cast<std::int32_t>(interleaved_ ? step.shape.channels * kernels_.lanes
                                             : round_up(step.shape.channels, kernels_.lanes));
  task.average = layer.pool != PoolKind::Max;
  task.relu = step.relu;
}

}  // namespace lenet::native

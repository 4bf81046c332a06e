#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "engines/native/int8/program.h"
#include "engines/native/kernels/dispatch.h"
#include "engines/native/ops/ops.h"
#include "engines/native/runtime/softmax.h"

// Simple loops, and the same bits on every processor.
namespace lenet::native::int8 {
namespace {

/// A convolution's weights [output channels][input channels][height][width] by
/// [group][height][width][input channels][output channels of the group].
std::vector<float> outputs_last(const Layer& layer) {
  const std::size_t outputs = layer.bias.size() / static_cast<std::size_t>(layer.groups);
  const auto pixels = static_cast<std::size_t>(layer.window.kernel[0] * layer.window.kernel[1]);
  const WeightView weights = layer.view_weights();
  const std::size_t taps = weights.count / layer.bias.size();
  std::vector<float> found(weights.count);
  for (std::size_t o = 0; o < layer.bias.size(); ++o) {
    for (std::size_t t = 0; t < taps; ++t) {
      const std::size_t tap = t % pixels * (taps / pixels) + t / pixels;
      found[(o / outputs * taps + tap) * outputs + o % outputs] = weights.at(o, t);
    }
  }
  return found;
}

/// The same bits on every processor.
const native::Kernels& kFunctions = native::kScalar;

/// Combines two tensors of `count` values: whole vectors, then the rest one by one. One operation
/// of float32 gives the same bits in all sets.
/// \param task its kind, operands and output
void combine_whole(const native::Kernels& vectors, CombineTask task, std::int64_t count) {
  const std::int64_t lanes = vectors.lanes;
  task.count = count / lanes * lanes;
  task.a_step = task.b_step = static_cast<std::int32_t>(lanes);
  vectors.combine(task);
  task.a += task.count;
  task.b += task.count;
  task.output += task.count;
  task.count = count - task.count;
  task.a_step = task.b_step = 1;
  kFunctions.combine(task);
}

/// Adds `values` to those at `to`, or keeps the larger ones. \param kind Add, Maximum
void gather_values(const native::Kernels& vectors, Combination kind, const float* values,
                   std::int64_t count, float* to) {
  CombineTask task{};
  task.kind = kind;
  task.a = values;
  task.b = task.output = to;  // of equal values, 0 and -0, those that are there stay
  combine_whole(vectors, task, count);
}

// Tensors of one image, [height][width][channels]; `relu` is left to the caller.

/// \param weights as outputs_last gives them
void convolve(const Layer& layer, const std::vector<float>& weights, const TensorShape& from,
              const TensorShape& to, const float* input, float* output) {
  const Window& window = layer.window;
  const std::int64_t inputs = from.channels / layer.groups;
  const std::int64_t outputs = to.channels / layer.groups;
  for (std::int64_t y = 0; y < to.height; ++y) {
    for (std::int64_t x = 0; x < to.width; ++x, output += to.channels) {
      std::copy(layer.bias.begin(), layer.bias.end(), output);
      const float* weight = weights.data();
      for (std::int64_t g = 0; g < layer.groups; ++g) {
        float* sums = output + g * outputs;
        for (std::int64_t i = 0; i < window.kernel[0]; ++i) {
          for (std::int64_t j = 0; j < window.kernel[1]; ++j, weight += inputs * outputs) {
            const std::int64_t row =
                y * window.strides[0] - window.padding[0] + i * window.dilations[0];
            const std::int64_t column =
                x * window.strides[1] - window.padding[2] + j * window.dilations[1];
            if (row < 0 || column < 0 || row >= from.height || column >= from.width) continue;
            const float* values = input + (row * from.width + column) * from.channels + g * inputs;
            for (std::int64_t c = 0; c < inputs; ++c) {
              for (std::int64_t o = 0; o < outputs; ++o) {
                sums[o] += values[c] * weight[c * outputs + o];
              }
            }
          }
        }
      }
    }
  }
}

/// The largest or the average of each window.
void pool(const native::Kernels& vectors, PoolKind kind, const Windows& rows,
          const Windows& columns, const TensorShape& from, const float* input, float* output) {
  const bool is_max = kind == PoolKind::Max;
  const std::int64_t channels = from.channels;
  for (std::size_t y = 0; y < rows.begins.size(); ++y) {
    for (std::size_t x = 0; x < columns.begins.size(); ++x, output += channels) {
      std::fill_n(output, channels, is_max ? -std::numeric_limits<float>::infinity() : 0.0F);
      for (std::int64_t i = rows.begins[y]; i < rows.ends[y]; ++i) {
        for (std::int64_t j = columns.begins[x]; j < columns.ends[x]; ++j) {
          gather_values(vectors, is_max ? Combination::Maximum : Combination::Add,
                        input + (i * from.width + j) * channels, channels, output);
        }
      }
      const float size = is_max ? 1 : rows.sizes[y] * columns.sizes[x];
      for (std::int64_t c = 0; c < channels; ++c) output[c] /= size;
    }
  }
}

class FloatLayer final : public Op {
 public:
  explicit FloatLayer(const IntLayer& source) : source_(source) {
    Layer& layer = source_.planned.layer;
    const TensorShape& from = source_.inputs[0].shape;
    const TensorShape& to = source_.output.shape;
    largest_bytes_ = float_bytes(to);
    for (const Placement& input : source_.inputs) {
      largest_bytes_ = std::max(largest_bytes_, float_bytes(input.shape));
    }
    if (layer.kind == LayerKind::Convolution) {
      weights_ = outputs_last(layer);
      std::vector<float>().swap(layer.weights);
    } else if (layer.kind == LayerKind::Pool) {
      rows_ = pool_windows(layer, 0, from.height, to.height);
      columns_ = pool_windows(layer, 1, from.width, to.width);
    }
    if (layer.kind != LayerKind::Activate || layer.relu()) return;
    function_ = std::exchange(layer.activation, {});
    QuantParams& quant = source_.inputs[0].quant;
    if (!quant || function_.kind == ActivationKind::None) return;
    for (std::int32_t i = 0; i < 256; ++i) {
      results_.push_back(static_cast<float>(i - quant.zero_point) * quant.scale);
    }
    kFunctions.activate(function_, results_.data(), results_.data(), 256);
    quant.scale = 1;  // values() gives the integers, less the zero point
  }

  void run(const Frame& frame) const override {
    for (std::int64_t unit = 0; unit < frame.count; ++unit) run_unit(frame, unit);
  }
  std::string kernel() const override {
    const LayerKind kind = source_.planned.layer.kind;
    return std::string(to_string(kind)) + (kind == LayerKind::Quantize ? "" : ", float32");
  }
  // For two inputs and the result, where they are not float32 already.
  std::int64_t scratch_bytes() const override { return 3 * largest_bytes_; }

 private:
  /// An input as float32 without a border: [height][width][channels].
  const float* values(const Frame& frame, std::int64_t unit, std::size_t input) const {
    const Placement& tensor = source_.inputs[input];
    char* scratch = frame.scratch + static_cast<std::int64_t>(input % 2) * largest_bytes_;
    const auto row = [&](std::int64_t y) {
      return float_row(
          source_.kernels, tensor, frame.at<char>(tensor, unit), y,
          reinterpret_cast<float*>(scratch) + y * tensor.shape.width * tensor.shape.channels);
    };
    for (std::int64_t y = 1; tensor.quant && y < tensor.shape.height; ++y) row(y);
    return row(0);
  }
  void run_unit(const Frame& frame, std::int64_t unit) const {
    const Layer& layer = source_.planned.layer;
    const Placement& to = source_.output;
    char* output = frame.at<char>(to, unit);
    auto* result = reinterpret_cast<float*>(to.quant ? frame.scratch + 2 * largest_bytes_ : output);
    if (layer.kind == LayerKind::Concat || layer.kind == LayerKind::Channels) {
      move_channels(frame, unit, result);
    } else if (is_combination(layer.kind)) {
      combine(frame, unit, result);
    } else {
      compute(values(frame, unit, 0), result);
    }
    give(result, output);
  }

  /// All channels of the inputs one after the other, or those that the layer names.
  void move_channels(const Frame& frame, std::int64_t unit, float* result) const {
    const Layer& layer = source_.planned.layer;
    std::vector<ChannelSource> sources;
    if (layer.kind == LayerKind::Channels) sources = layer.get<ChannelsParams>().sources;
    const TensorShape& shape = source_.output.shape;
    std::int64_t first = 0;
    for (std::size_t i = 0; i < source_.inputs.size(); ++i) {
      const float* from = values(frame, unit, i);
      const std::int64_t count = source_.inputs[i].shape.channels;
      float* to = result;
      for (std::int64_t p = 0; p < shape.pixels(); ++p, from += count, to += shape.channels) {
        if (sources.empty()) std::copy_n(from, count, to + first);
        for (std::size_t c = 0; c < sources.size(); ++c) {
          if (sources[c].input == i) to[c] = from[sources[c].channel];
        }
      }
      first += count;
    }
  }

  /// Of two tensors, of which one may have a number for each channel.
  void combine(const Frame& frame, std::int64_t unit, float* result) const {
    const std::int64_t channels = source_.output.shape.channels;
    const std::int64_t pixels = source_.output.shape.pixels();
    const auto is_whole = [&](std::size_t input) {
      return source_.inputs[input].shape.pixels() == pixels;
    };
    const bool at_once = is_whole(0) && is_whole(1);
    CombineTask task{};
    task.kind = facts_of(source_.planned.layer.kind).combination;
    task.a = values(frame, unit, 0);
    task.b = values(frame, unit, 1);
    task.output = result;
    if (at_once) return combine_whole(vectors_, task, pixels * channels);
    task.a_step = task.b_step = 1;  // of vectors of one number
    task.count = channels;
    for (std::int64_t p = 0; p < pixels; ++p, task.output += channels) {
      kFunctions.combine(task);
      if (is_whole(0)) task.a += channels;
      if (is_whole(1)) task.b += channels;
    }
  }

  /// What has one input.
  void compute(const float* from, float* result) const {
    const Layer& layer = source_.planned.layer;
    const TensorShape& shape = source_.inputs[0].shape;
    const Placement& to = source_.output;
    const std::int64_t count = to.shape.values();
    if (layer.kind == LayerKind::Convolution) {
      convolve(layer, weights_, shape, to.shape, from, result);
    } else if (layer.kind == LayerKind::Pool) {
      pool(vectors_, layer.get<PoolParams>().kind, rows_, columns_, shape, from, result);
    } else if (layer.kind == LayerKind::ChannelScale) {
      const auto& [scale, bias] = layer.get<ScaleParams>();
      for (std::int64_t i = 0; i < count; ++i) {
        const auto c = static_cast<std::size_t>(i % to.shape.channels);
        result[i] = from[i] * scale[c] + bias[c];
      }
    } else if (layer.kind == LayerKind::Softmax) {
      const auto& params = layer.get<SoftmaxParams>();
      softmax(from, params.axis, params.logarithm, result);
    } else if (!results_.empty()) {
      const std::int32_t zero = source_.inputs[0].quant.zero_point;
      for (std::int64_t i = 0; i < count; ++i) {
        result[i] = results_[static_cast<std::size_t>(static_cast<std::int32_t>(from[i]) + zero)];
      }
    } else if (function_.kind != ActivationKind::None) {
      kFunctions.activate(function_, from, result, count);
    } else {
      std::copy_n(from, count, result);  // relu and rounding follow
    }
  }

  /// Bounds the result, and rounds it where the tensor holds integers.
  void give(float* values, char* to) const {
    const TensorShape& shape = source_.output.shape;
    const QuantParams& quant = source_.output.quant;
    const Activation& activation = source_.planned.last_activation();
    const Bounds bounds(quant, activation);
    if (!quant) {  // they are in their place
      const std::int64_t count = activation.kind == ActivationKind::None ? 0 : shape.values();
      for (std::int64_t i = 0; i < count; ++i) {
        values[i] = std::min(std::max(values[i], bounds.least), bounds.most);
      }
      return;
    }
    const std::int64_t row = shape.width * shape.channels;
    for (std::int64_t y = 0; y < shape.height; ++y) {
      quantize(source_.kernels, values + y * row, row, quant, bounds,
               to + y * source_.output.row * source_.output.element_bytes);
    }
  }

  IntLayer source_;
  const native::Kernels& vectors_ = native::choose_kernels();
  std::int64_t largest_bytes_ = 0;  ///< of the largest tensor, as float32
  Windows rows_;
  Windows columns_;
  std::vector<float> weights_;
  Activation function_;         ///< other than a relu, of a layer that gives nothing else
  std::vector<float> results_;  ///< of that, of each integer of the input
};

}  // namespace

std::unique_ptr<Op> make_float_layer(const IntLayer& source) {
  return std::make_unique<FloatLayer>(source);
}

}  // namespace lenet::native::int8

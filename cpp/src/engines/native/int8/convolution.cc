#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "engines/native/int8/ops.h"

namespace lenet::native::int8 {
namespace {

constexpr std::int64_t kNone = -1;

/// Vectors of columns rather than of channels: few channels of an image of one.
bool fits_columns(const PlannedLayer& planned, const Placement& from, const Placement& to,
                  const Kernels& kernels) {
  constexpr std::int64_t kFewChannels = 8;
  const Window& window = planned.layer.window;
  const std::array<std::int64_t, 2> one = {1, 1};
  const std::int64_t width = to.shape.width * (planned.pool ? 2 : 1);
  return kernels.lanes > 1 && from.shape.channels == 1 && to.shape.channels <= kFewChannels &&
         to.shape.channels < kernels.lanes && !planned.roundings.empty() && window.strides == one &&
         window.dilations == one && width >= kernels.lanes;
}

/// How many offsets there are of a row of taps, when each row's lie `apart` from those of the row
/// before; else 0.
std::int32_t groups_of_row(const std::vector<std::int32_t>& offsets, std::int64_t rows,
                           std::int64_t apart) {
  const std::size_t count = offsets.size() / static_cast<std::size_t>(rows);
  if (count * static_cast<std::size_t>(rows) != offsets.size()) return 0;
  for (std::size_t i = count; i < offsets.size(); ++i) {
    if (offsets[i] - offsets[i - count] != apart) return 0;
  }
  return static_cast<std::int32_t>(count);
}

class Convolution final : public Op {
 public:
  explicit Convolution(const IntLayer& source);

  void run(const Frame& frame) const override;
  std::string kernel() const override { return by_columns_ ? "conv_columns" : "conv_channels"; }
  std::int64_t scratch_bytes() const override {
    return scratch_ * static_cast<std::int64_t>(sizeof(std::int32_t));
  }

 private:
  /// Taps that are multiplied together, by their place in [input channel][height][width]; -1: none.
  using Groups = std::vector<std::vector<std::int64_t>>;

  void prepare(const IntLayer& source);
  void prepare_columns(const IntLayer& source);
  void pack(const PlannedLayer& planned, const QuantParams& from, const Groups& groups,
            std::int64_t first_output, std::int64_t at, const std::vector<std::int64_t>& blocks);
  void make_room(std::int64_t channels, std::size_t groups, std::size_t tasks,
                 std::size_t roundings, LayerMemory& memory);
  /// Stages of a task, whose channels begin `at`.
  template <class Task>
  void set_stages(Task& task, const PlannedLayer& planned, const QuantParams& from,
                  std::size_t number, std::int64_t first_output, std::int64_t at);

  const Kernels& kernels_;
  bool by_columns_ = false;
  Placement from_;
  Placement to_;
  bool whole_image_;                       ///< fully connected: all units side by side
  std::int64_t scratch_ = 0;               ///< numbers of 32 bits
  std::vector<ConvTask> tasks_;            ///< for each group; without pointers to activations
  std::vector<std::int64_t> task_inputs_;  ///< elements from the first pixel
  ColumnsTask columns_{};
  std::vector<std::int32_t> offsets_;
  Aligned<std::int32_t> weights_;
  Aligned<std::int32_t> start_;
  // Of all channels for the first stage, then for the next.
  Aligned<float> factor_;
  Aligned<float> addend_;
  std::vector<Stage> stages_;  ///< of each task
  std::int64_t channels_ = 0;  ///< of all groups, padded
};

Convolution::Convolution(const IntLayer& source)
    : kernels_(source.kernels),
      from_(source.inputs[0]),
      to_(source.output),
      whole_image_(is_whole_image(from_.shape, source.planned.layer, to_.shape)) {
  by_columns_ = fits_columns(source.planned, from_, to_, kernels_);
  by_columns_ ? prepare_columns(source) : prepare(source);
}

void Convolution::prepare(const IntLayer& source) {
  const PlannedLayer& planned = source.planned;
  const Layer& layer = planned.layer;
  const Window& window = layer.window;
  const std::int64_t inputs = from_.shape.channels / layer.groups;
  const std::int64_t outputs = to_.shape.channels / layer.groups;
  const std::int64_t per_group = static_cast<std::int64_t>(sizeof(std::int32_t)) / kernels_.bytes;

  // Each tap: how far it lies from the first, and its place.
  std::vector<std::pair<std::int64_t, std::int64_t>> taps;
  for (std::int64_t c = 0; c < inputs; ++c) {
    for (std::int64_t i = 0; i < window.kernel[0]; ++i) {
      for (std::int64_t j = 0; j < window.kernel[1]; ++j) {
        const std::int64_t offset =
            i * window.dilations[0] * from_.row + j * window.dilations[1] * from_.column + c;
        taps.emplace_back(offset, static_cast<std::int64_t>(taps.size()));
      }
    }
  }
  std::sort(taps.begin(), taps.end());
  Groups groups;
  for (const auto& [offset, tap] : taps) {
    if (groups.empty() || offset >= offsets_.back() + per_group) {
      offsets_.push_back(tap_offset(offset, layer));
      groups.emplace_back(static_cast<std::size_t>(per_group), kNone);
    }
    groups.back()[static_cast<std::size_t>(offset - offsets_.back())] = tap;
  }

  ConvTask task{};
  task.groups = static_cast<std::int32_t>(groups.size());
  task.input_column = window.strides[1] * from_.column;
  task.input_row = window.strides[0] * from_.row;
  task.row_groups = groups_of_row(offsets_, window.kernel[0], task.input_row);
  task.output_column = to_.column;
  task.output_row = to_.row;
  const std::int64_t before = planned.pool ? 2 : 1;
  task.columns = static_cast<std::int32_t>(to_.shape.width * before);
  task.rows = static_cast<std::int32_t>(to_.shape.height * before);
  task.channels = static_cast<std::int32_t>(outputs);
  task.tile = whole_image_ ? kernels_.widest_linear : kernels_.widest;
  if (planned.pool) task.tile = std::min(task.tile, 2);
  task.pool = planned.pool;
  task.floats = planned.roundings.empty();
  task.relu = layer.relu;
  task.spare = layer.groups == 1 && to_.shape.height * to_.shape.width == 1;

  std::vector<std::int64_t> blocks;
  std::int64_t block = task.tile;
  for (std::int64_t left = (outputs + kernels_.lanes - 1) / kernels_.lanes; left > 0;
       left -= block) {
    while (block > left) block /= 2;
    blocks.push_back(block * kernels_.lanes);
  }
  const std::int64_t packed = round_up(outputs, kernels_.lanes);
  make_room(packed * layer.groups, groups.size(), static_cast<std::size_t>(layer.groups),
            planned.roundings.size(), source.memory);
  for (std::int64_t g = 0; g < layer.groups; ++g) {
    const std::int64_t at = g * packed;
    pack(planned, from_.quant, groups, g * outputs, at, blocks);
    set_stages(task, planned, from_.quant, static_cast<std::size_t>(g), g * outputs, at);
    task.weights = weights_.data() + at * task.groups;
    task.start = start_.data() + at;
    tasks_.push_back(task);
    task_inputs_.push_back(g * inputs - window.padding[0] * from_.row -
                           window.padding[2] * from_.column);
  }
}

void Convolution::prepare_columns(const IntLayer& source) {
  const PlannedLayer& planned = source.planned;
  const Layer& layer = planned.layer;
  const auto [height, width] = layer.window.kernel;
  const std::int64_t per_group = static_cast<std::int64_t>(sizeof(std::int32_t)) / kernels_.bytes;
  const std::int64_t before = planned.pool ? 2 : 1;
  const std::int64_t rows = to_.shape.height * before;
  const std::int64_t columns = to_.shape.width * before;
  const std::int64_t row =
      round_up(columns, 2 * kernels_.lanes) + round_up(width + per_group, kernels_.lanes);

  // Taps one below the other, while there are enough rows; then taps side by side.
  const std::int64_t tall = height / per_group;
  const std::int64_t tall_rows = tall > 0 ? rows + (tall - 1) * per_group : 0;
  const std::int64_t left = height % per_group;
  Groups groups;
  for (std::int64_t i = 0; i < tall; ++i) {
    for (std::int64_t j = 0; j < width; ++j) {
      offsets_.push_back(tap_offset(i * per_group * row + j, layer));
      groups.emplace_back();
      for (std::int64_t k = 0; k < per_group; ++k) {
        groups.back().push_back((i * per_group + k) * width + j);
      }
    }
  }
  for (std::int64_t i = 0; i < left; ++i) {
    for (std::int64_t j = 0; j < width; j += per_group) {
      offsets_.push_back(tap_offset((tall_rows + i) * row + j, layer));
      groups.emplace_back();
      for (std::int64_t k = 0; k < per_group; ++k) {
        groups.back().push_back(j + k < width ? (tall * per_group + i) * width + j + k : kNone);
      }
    }
  }

  columns_.input_row = from_.row;
  columns_.plane_row = static_cast<std::int32_t>(row);
  columns_.plane_columns = static_cast<std::int32_t>(columns + width - 1);
  columns_.tall_rows = static_cast<std::int32_t>(tall_rows);
  columns_.first_wide_row = static_cast<std::int32_t>(tall * per_group);
  columns_.wide_rows = static_cast<std::int32_t>(left > 0 ? rows + left - 1 : 0);
  columns_.groups = static_cast<std::int32_t>(groups.size());
  columns_.output_column = to_.column;
  columns_.output_row = to_.row;
  columns_.columns = static_cast<std::int32_t>(columns);
  columns_.rows = static_cast<std::int32_t>(rows);
  columns_.channels = static_cast<std::int32_t>(to_.shape.channels);
  columns_.pool = planned.pool;
  scratch_ = (columns_.tall_rows + columns_.wide_rows) * row + 2 * kernels_.lanes;
  task_inputs_.push_back(-layer.window.padding[0] * from_.row - layer.window.padding[2]);

  std::vector<std::int64_t> blocks;
  for (std::int64_t rest = to_.shape.channels; rest > 0; rest -= blocks.back()) {
    blocks.push_back(kernels_.columns_tile(static_cast<std::int32_t>(rest)));
  }
  make_room(to_.shape.channels, groups.size(), 1, planned.roundings.size(), source.memory);
  pack(planned, from_.quant, groups, 0, 0, blocks);
  set_stages(columns_, planned, from_.quant, 0, 0, 0);
  columns_.weights = weights_.data();
  columns_.start = start_.data();
}

void Convolution::make_room(std::int64_t padded, std::size_t groups, std::size_t tasks,
                            std::size_t roundings, LayerMemory& memory) {
  channels_ = padded;
  const auto channels = static_cast<std::size_t>(padded);
  const std::size_t stages = std::max<std::size_t>(roundings, 1);
  memory.add(static_cast<double>(channels * (groups + 1 + 2 * stages) * sizeof(std::int32_t) +
                                 tasks * (stages * sizeof(Stage) + sizeof(ConvTask))));
  weights_ = Aligned<std::int32_t>(channels * groups);
  start_ = Aligned<std::int32_t>(channels);
  factor_ = Aligned<float>(channels * stages);
  addend_ = Aligned<float>(channels * stages);
  stages_.resize(tasks * stages);
}

template <class Task>
void Convolution::set_stages(Task& task, const PlannedLayer& planned, const QuantParams& from,
                             std::size_t number, std::int64_t first_output, std::int64_t at) {
  const Layer& layer = planned.layer;
  const auto outputs = static_cast<std::int64_t>(layer.bias.size()) / layer.groups;
  // A result that is not rounded has a scale of 1.
  const std::vector<PlannedRounding> as_it_is(1);
  const auto& roundings = planned.roundings.empty() ? as_it_is : planned.roundings;
  Stage* stages = stages_.data() + number * roundings.size();
  double before = double{from.range} / from.qmax;
  for (std::size_t s = 0; s < roundings.size(); ++s) {
    const auto& [quant, relu, scale, bias] = roundings[s];
    const double step = quant ? double{quant.range} / quant.qmax : 1;
    const std::int64_t first = static_cast<std::int64_t>(s) * channels_ + at;
    for (std::int64_t o = 0; o < outputs; ++o) {
      const auto channel = static_cast<std::size_t>(first_output + o);
      const std::vector<float>& factors = s == 0 ? layer.weight_scales : scale;
      const std::vector<float>& addends = s == 0 ? layer.bias : bias;
      const double factor = factors.empty() ? 1 : double{factors[channel]};
      const double addend = addends.empty() ? 0 : double{addends[channel]};
      factor_.data()[first + o] = static_cast<float>(before * factor / step);
      addend_.data()[first + o] = static_cast<float>(addend / step);
    }
    stages[s] = {factor_.data() + first, addend_.data() + first, least_of(quant, relu),
                 most_of(quant)};
    before = step;
  }
  task.stages = stages;
  task.stage_count = static_cast<std::int32_t>(roundings.size());
  task.shift = shift_of(roundings.back().quant);
}

/// Of one group of the convolution: [block][group of taps][channel of the block].
void Convolution::pack(const PlannedLayer& planned, const QuantParams& from, const Groups& groups,
                       std::int64_t first_output, std::int64_t at,
                       const std::vector<std::int64_t>& blocks) {
  const Layer& layer = planned.layer;
  const std::int64_t outputs = static_cast<std::int64_t>(layer.bias.size()) / layer.groups;
  const std::int64_t taps = static_cast<std::int64_t>(layer.integers.size()) /
                            static_cast<std::int64_t>(layer.bias.size());
  const auto zero = kernels_.zero - shift_of(from);
  const auto width = static_cast<std::uint32_t>(8 * kernels_.bytes);
  const std::uint32_t mask = (std::uint32_t{1} << width) - 1;
  std::int32_t* weights = weights_.data() + at * static_cast<std::int64_t>(groups.size());
  std::int64_t first = 0;
  for (const std::int64_t block : blocks) {
    for (const std::vector<std::int64_t>& group : groups) {
      for (std::int64_t o = first; o < first + block; ++o, ++weights) {
        if (o >= outputs) continue;
        const std::int8_t* of_output = layer.integers.data() + (first_output + o) * taps;
        std::uint32_t bits = 0;
        for (std::size_t i = 0; i < group.size(); ++i) {
          if (group[i] == kNone) continue;
          const std::int32_t weight = of_output[group[i]];
          bits |= (static_cast<std::uint32_t>(weight) & mask) << (width * i);
          start_.data()[at + o] -= zero * weight;
        }
        std::memcpy(weights, &bits, sizeof(bits));
      }
    }
    first += block;
  }
}

void Convolution::run(const Frame& frame) const {
  for (std::int64_t unit = 0; unit < (whole_image_ ? 1 : frame.count); ++unit) {
    const char* input = frame.at<char>(from_, unit);
    char* output = frame.at<char>(to_, unit);
    if (by_columns_) {
      ColumnsTask task = columns_;
      task.offsets = offsets_.data();
      task.input = input + task_inputs_[0] * kernels_.bytes;
      task.output = output;
      task.planes = reinterpret_cast<std::int32_t*>(frame.scratch);
      kernels_.conv_columns(task);
      continue;
    }
    for (std::size_t g = 0; g < tasks_.size(); ++g) {
      ConvTask task = tasks_[g];
      task.offsets = offsets_.data();
      task.input = input + task_inputs_[g] * kernels_.bytes;
      task.output = output + static_cast<std::int64_t>(g) * task.channels * to_.element_bytes;
      if (whole_image_) {
        task.columns = static_cast<std::int32_t>(frame.count);
        task.input_column = frame.unit_bytes / kernels_.bytes;
        task.output_column = frame.unit_bytes / to_.element_bytes;
      }
      kernels_.conv_channels(task);
    }
  }
}

}  // namespace

std::unique_ptr<Op> make_convolution(const IntLayer& source) {
  return std::make_unique<Convolution>(source);
}

}  // namespace lenet::native::int8

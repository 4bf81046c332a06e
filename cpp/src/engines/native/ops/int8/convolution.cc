#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <utility>

#include "engines/native/ops/int8/integers.h"
#include "engines/native/ops/tile_taps.h"

namespace lenet::native::int8 {
namespace {

constexpr std::int64_t kNoTap = -1;
constexpr std::int64_t kNoChannel = -1;
constexpr double kLargestSum = 0x1p31;
constexpr double kSameFloat = 0x1p-22;  ///< how far a number is from itself, rounded twice
/// Weights that stay in the second-level cache while all images of a batch take them.
constexpr std::int64_t kPartBytes = 1 << 18;

TileTaps tile_taps(const Layer& layer, const Placement& from) {
  return {layer, layer.convolution().window, from.shape.channels(), from.column, 1};
}

/// Which channel of its block lies at a place of the packed block.
std::int64_t depthwise3x3_channel(std::int64_t place) {
  return place % 16 / 4 * 16 + place / 16 * 4 + place % 4;
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

void (*kernel_of(Method method, const Kernels& kernels))(const ConvTask&) {
  switch (method) {
    case Method::IntegerDepthwise3x3:
      return kernels.depthwise3x3;
    case Method::IntegerDepthwise:
      return kernels.depthwise;
    case Method::IntegerColumns:
      return kernels.conv_columns;
    case Method::IntegerDense:
      return kernels.fully_connected;
    case Method::IntegerTiles:
      return kernels.conv_tiles;
    default:
      return kernels.conv_channels;
  }
}

/// Sides where the outermost taps of the windows at the edge lie in the border.
Sides padded_sides(const Window& window, const Placement& from, const Placement& to) {
  const auto exceeds = [&](std::size_t i, std::int64_t size, std::int64_t windows) {
    const std::int64_t last = (windows - 1) * window.strides[i] - window.padding[2 * i] +
                              (window.kernel[i] - 1) * window.dilations[i];
    return last >= size;
  };
  return {window.padding[0] > 0, exceeds(0, from.shape.height(), to.shape.height()),
          window.padding[2] > 0, exceeds(1, from.shape.width(), to.shape.width())};
}

class Convolution final : public Op {
 public:
  explicit Convolution(const PlacedLayer& source)
      : kernels_(*source.integers),
        from_(source.inputs[0]),
        to_(source.output),
        by_columns_(source.method == Method::IntegerColumns),
        depthwise3x3_(source.method == Method::IntegerDepthwise3x3),
        depthwise_(depthwise3x3_ || source.method == Method::IntegerDepthwise),
        tiles_(source.method == Method::IntegerTiles),
        groups_(depthwise_ ? 1 : source.layer.convolution().groups),
        whole_image_(source.method == Method::IntegerDense),
        name_(source.kernel),
        convolve_(kernel_of(source.method, kernels_)),
        taps_in_group_(static_cast<std::int64_t>(sizeof(std::int32_t)) / kernels_.bytes) {
    const Layer& layer = source.layer;
    const auto& params = layer.convolution();
    const Window& window = layer.convolution().window;
    const std::int64_t inputs = from_.shape.channels() / groups_;
    const std::int64_t outputs = to_.shape.channels() / groups_;
    const std::int64_t before = params.pool ? 2 : 1;
    ConvTask task{};
    task.input_column = window.strides[1] * from_.column;
    task.input_row = window.strides[0] * from_.row;
    task.output_column = to_.column;
    task.output_row = to_.row;
    task.columns = static_cast<std::int32_t>(to_.shape.width() * before);
    task.rows = static_cast<std::int32_t>(to_.shape.height() * before);
    task.channels = static_cast<std::int32_t>(outputs);
    task.tile = depthwise_ || tiles_ ? 1 : whole_image_ ? kernels_.widest_linear : kernels_.widest;
    task.pool = params.pool;
    task.floats = !params.rounds();
    task.stage_count = static_cast<std::int32_t>(params.roundings.size() + (task.floats ? 1 : 0));
    task.shift = task.floats ? 0 : shift_of(params.roundings.back().quant);
    if (params.sum != kNone) {
      residual_ = source.inputs[1];
      task.residual_column = residual_.column;
      task.residual_row = residual_.row;
      task.residual_zero = kernels_.zero - shift_of(residual_.quant);
    }
    task.spare = layer.convolution().groups == 1 && to_.shape.height() * to_.shape.width() == 1;
    Groups groups = by_columns_ ? group_columns(layer, task)
                    : tiles_    ? group_tiles(layer)
                                : group_taps(layer);
    if (depthwise3x3_) groups = {{0, 3, 6, kNoTap}, {1, 4, 7, kNoTap}, {2, 5, 8, kNoTap}};
    task.groups = static_cast<std::int32_t>(groups.size());
    std::size_t border_taps = 0;
    if (!depthwise_ && !tiles_ && !params.pool && !whole_image_ && inputs % taps_in_group_ == 0) {
      task.padded = padded_sides(window, from_, to_);
      task.tap_rows = static_cast<std::int32_t>(window.kernel[0]);
      task.tap_columns = static_cast<std::int32_t>(window.kernel[1]);
      const Sides& sides = task.padded;
      if (sides.top || sides.bottom || sides.left || sides.right) {
        border_taps = static_cast<std::size_t>(window.kernel[0] * window.kernel[1]);
      }
    }
    task.row_groups = groups_of_row(offsets_, window.kernel[0], task.input_row);

    // Channels that are side by side in the packed weights, block after block.
    std::vector<std::int64_t> blocks;
    std::int64_t packed = 0;
    std::int64_t block = depthwise3x3_ ? kDepthwiseBlock : task.tile * kernels_.lanes;
    for (; packed < outputs; packed += block) {
      const std::int64_t left = outputs - packed;
      if (by_columns_) block = kernels_.columns_tile(static_cast<std::int32_t>(left));
      while (!depthwise3x3_ && block > round_up(left, kernels_.lanes)) block /= 2;
      blocks.push_back(block);
      for (std::int32_t i = 0; i < block; ++i) {
        order_.push_back(depthwise3x3_ ? std::min(packed, outputs - block) + depthwise3x3_channel(i)
                         : packed + i < outputs ? packed + i
                                                : kNoChannel);
      }
    }

    channels_ = packed * groups_;
    const auto channels = static_cast<std::size_t>(channels_);
    std::int64_t part = packed;  // channels
    if (!depthwise_ && !by_columns_ && !whole_image_) {
      const std::int64_t whole_block = (tiles_ ? 2 : task.tile) * kernels_.lanes;
      const std::int64_t channel_bytes =
          task.groups * static_cast<std::int64_t>(sizeof(std::int32_t));
      part = std::max(kPartBytes / channel_bytes / whole_block, std::int64_t{1}) * whole_block;
    }
    const auto tasks = static_cast<std::size_t>(groups_ * ((packed + part - 1) / part));
    const auto stages = static_cast<std::size_t>(task.stage_count);
    source.memory.add(static_cast<double>(
        channels * (groups.size() + border_taps + 1 + 2 * stages) * sizeof(std::int32_t) +
        tasks * (stages * sizeof(Stage) + sizeof(ConvTask))));
    weights_ = source.arena.take<std::int32_t>(channels_ * task.groups);
    border_ = Aligned<std::int32_t>(channels * border_taps);
    start_ = Aligned<std::int32_t>(channels);
    factor_ = Aligned<float>(channels * stages);
    addend_ = Aligned<float>(channels * stages);
    stages_.resize(tasks * stages);
    for (std::int64_t g = 0; g < groups_; ++g) {
      pack(layer, groups, g * outputs, g * packed, blocks);
      Stage* const of_group = stages_.data() + tasks_.size() * stages;
      set_stages(layer, g * outputs, g * packed, stages, of_group);
      for (std::int64_t first = 0; first < packed; first += part) {
        const std::int64_t at = g * packed + first;
        Stage* of_task = stages_.data() + tasks_.size() * stages;
        for (std::size_t i = 0; first > 0 && i < stages; ++i) {
          of_task[i] = of_group[i];
          of_task[i].factor += first;
          of_task[i].addend += first;
        }
        task.channels = static_cast<std::int32_t>(std::min(part, outputs - first));
        task.weights = weights_ + at * task.groups;
        task.border = border_.data() + at * static_cast<std::int64_t>(border_taps);
        task.start = start_.data() + at;
        task.stages = of_task;
        tasks_.push_back(task);
        task_inputs_.push_back(g * inputs - window.padding[0] * from_.row -
                               window.padding[2] * from_.column);
        task_outputs_.push_back(g * outputs + first);
      }
    }
    source.arena.share(weights_, tasks_);
  }

  void run(const Frame& frame) const override {
    const std::int64_t multiple = tasks_[0].pool ? 2 : 1;  // of rows
    for (std::size_t t = 0; t < tasks_.size(); ++t) {
      if (whole_image_ || by_columns_ ||
          frame.parts == 1) {  // small layers notice what comes below
        for (std::int64_t unit = frame.part; unit < (whole_image_ ? 1 : frame.count);
             unit += frame.parts) {
          convolve_(task_at(frame, unit, t));
        }
        continue;
      }
      const auto compute = [&](std::int64_t unit, std::int64_t begin, std::int64_t end) {
        ConvTask task = task_at(frame, unit, t);
        task.rows = static_cast<std::int32_t>((end - begin) * multiple);
        task.padded.top = task.padded.top && begin == 0;
        task.padded.bottom = task.padded.bottom && end == to_.shape.height();
        task.input = static_cast<const char*>(task.input) +
                     begin * multiple * task.input_row * kernels_.bytes;
        task.output = static_cast<char*>(task.output) + begin * task.output_row * to_.element_bytes;
        if (task.residual != nullptr) {
          task.residual =
              static_cast<const char*>(task.residual) + begin * task.residual_row * kernels_.bytes;
        }
        convolve_(task);
      };
      frame.each_rows(frame.count, to_.shape.height(), compute);
    }
  }

  /// Multiplies rows that lie one after the other, of an image of one row.
  void multiply_rows(const char* rows, std::int64_t count, float* output) const {
    for (std::size_t t = 0; t < tasks_.size(); ++t) {
      ConvTask task = tasks_[t];
      task.offsets = offsets_.data();
      task.input = rows;
      task.output = output + task_outputs_[t];
      task.columns = static_cast<std::int32_t>(count);
      convolve_(task);
    }
  }

  bool splits() const override { return true; }
  std::string kernel() const override { return name_; }
  std::int64_t scratch_bytes() const override {
    return scratch_ * static_cast<std::int64_t>(sizeof(std::int32_t));
  }

 private:
  /// Taps that are multiplied together, by their place in [input channel][height][width]; -1: none.
  using Groups = std::vector<std::vector<std::int64_t>>;

  // All set `offsets_`.
  /// Taps that lie side by side.
  Groups group_taps(const Layer& layer) {
    const Window& window = layer.convolution().window;
    // Each tap: how far it lies from the first, and its place.
    std::vector<std::pair<std::int64_t, std::int64_t>> taps;
    for (std::int64_t c = 0; c < from_.shape.channels() / layer.convolution().groups; ++c) {
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
      if (depthwise_ || groups.empty() || offset >= offsets_.back() + taps_in_group_) {
        offsets_.push_back(tap_offset(offset, layer));
        groups.emplace_back(static_cast<std::size_t>(taps_in_group_), kNoTap);
      }
      groups.back()[static_cast<std::size_t>(offset - offsets_.back())] = tap;
    }
    return groups;
  }

  Groups group_tiles(const Layer& layer) {
    const TileTaps taps = tile_taps(layer, from_);
    offsets_ = taps.offsets(from_.column, from_.row);
    Groups groups;
    for (std::int64_t i = 0; i < taps.count(); ++i) {
      if (i % taps_in_group_ == 0) groups.emplace_back();
      groups.back().push_back(taps.place(i));
    }
    return groups;
  }

  /// \param task its planes are described
  /// Taps one below the other, while there are enough rows; then taps side by side.
  Groups group_columns(const Layer& layer, ConvTask& task) {
    const auto [height, width] = layer.convolution().window.kernel;
    const std::int64_t rows = to_.shape.height() * (task.pool ? 2 : 1);
    const std::int64_t columns = to_.shape.width() * (task.pool ? 2 : 1);
    const std::int64_t row =
        round_up(columns, 2 * kernels_.lanes) + round_up(width + taps_in_group_, kernels_.lanes);
    const std::int64_t tall = height / taps_in_group_ * taps_in_group_;  // rows of taps
    const std::int64_t tall_rows = tall > 0 ? rows + tall - taps_in_group_ : 0;
    const std::int64_t wide_rows = tall < height ? rows + height - tall - 1 : 0;
    Groups groups;
    for (std::int64_t i = 0; i < tall; i += taps_in_group_) {
      for (std::int64_t j = 0; j < width; ++j) {
        offsets_.push_back(tap_offset(i * row + j, layer));
        groups.emplace_back();
        for (std::int64_t k = 0; k < taps_in_group_; ++k) {
          groups.back().push_back((i + k) * width + j);
        }
      }
    }
    for (std::int64_t i = tall; i < height; ++i) {
      for (std::int64_t j = 0; j < width; j += taps_in_group_) {
        offsets_.push_back(tap_offset((tall_rows + i - tall) * row + j, layer));
        groups.emplace_back();
        for (std::int64_t k = 0; k < taps_in_group_; ++k) {
          groups.back().push_back(j + k < width ? i * width + j + k : kNoTap);
        }
      }
    }
    task.plane_row = static_cast<std::int32_t>(row);
    task.plane_columns = static_cast<std::int32_t>(columns + width - 1);
    task.tall_rows = static_cast<std::int32_t>(tall_rows);
    task.wide_rows = static_cast<std::int32_t>(wide_rows);
    task.first_wide_row = static_cast<std::int32_t>(tall);
    scratch_ = (tall_rows + wide_rows) * row + 2 * kernels_.lanes;
    return groups;
  }

  /// Packs the weights of one group of the convolution as [block][group of taps][place in the
  /// block].
  void pack(const Layer& layer, const Groups& groups, std::int64_t first_output, std::int64_t at,
            const std::vector<std::int64_t>& blocks) {
    const std::int64_t taps = static_cast<std::int64_t>(layer.integers.size()) /
                              static_cast<std::int64_t>(layer.bias.size());
    const auto zero = kernels_.zero - shift_of(from_.quant);
    const auto width = static_cast<std::uint32_t>(8 * kernels_.bytes);
    const std::uint32_t mask = (std::uint32_t{1} << width) - 1;
    std::int32_t* weights = weights_ + at * static_cast<std::int64_t>(groups.size());
    const std::int64_t positions =
        layer.convolution().window.kernel[0] * layer.convolution().window.kernel[1];
    const bool has_border = border_.size() > 0;
    std::int32_t* border = border_.data() + (has_border ? at * positions : 0);
    std::int64_t first = 0;
    for (const std::int64_t block : blocks) {
      for (const std::vector<std::int64_t>& group : groups) {
        for (std::int64_t o = first; o < first + block; ++o, ++weights) {
          const std::int64_t channel = order_[static_cast<std::size_t>(o)];
          if (channel == kNoChannel) continue;
          const std::int8_t* of_output = layer.integers.data() + (first_output + channel) * taps;
          std::uint32_t bits = 0;
          for (std::size_t i = 0; i < group.size(); ++i) {
            if (group[i] == kNoTap) continue;
            const std::int32_t weight = of_output[group[i]];
            bits |= (static_cast<std::uint32_t>(weight) & mask) << (width * i);
            start_.data()[at + o] -= zero * weight;
            if (has_border) {
              border[group[i] % positions * block + o - first] +=
                  static_cast<std::int32_t>(from_.zero) * weight;
            }
          }
          std::memcpy(weights, &bits, sizeof(bits));
        }
      }
      first += block;
      if (has_border) border += positions * block;
    }
  }

  /// \param stages so many of a task, whose channels begin `at`
  void set_stages(const Layer& layer, std::int64_t first_output, std::int64_t at, std::size_t count,
                  Stage* stages) {
    const auto& params = layer.convolution();
    const auto step_of = [](const QuantParams& quant) { return quant ? double{quant.scale} : 1; };
    // A result that is not rounded has a step of 1.
    const RoundingStage as_it_is{{}, layer.activation, {}, {}};
    double before = step_of(from_.quant);
    const double taps = static_cast<double>(layer.integers.size() / layer.bias.size());
    const double most_steps = kLargestSum - (taps + 1) * 255 * 128;
    for (std::size_t s = 0; s < count; ++s) {
      const auto& [quant, activation, scale, bias] =
          s < params.roundings.size() ? params.roundings[s] : as_it_is;
      const double step = step_of(quant);
      const double residual = s == params.sum ? step_of(residual_.quant) / step : 0;
      const double largest = s == 0 ? kLargestSum : 255;
      bool exceeds = activation.kind == ActivationKind::Clip;
      const std::size_t first =
          s * static_cast<std::size_t>(channels_) + static_cast<std::size_t>(at);
      for (std::size_t o = 0; o < order_.size(); ++o) {
        if (order_[o] == kNoChannel) continue;
        const auto channel = static_cast<std::size_t>(first_output + order_[o]);
        const std::vector<float>& factors = s == 0 ? layer.weight_scales : scale;
        const std::vector<float>& addends = s == 0 ? layer.bias : bias;
        const double factor = factors.empty() ? 1 : double{factors[channel]};
        double addend = addends.empty() ? 0 : double{addends[channel]};
        factor_.data()[first + o] = static_cast<float>(before * factor / step);
        // Sums become what onnxruntime's kernels of integers make of them. A bias that is whole
        // steps, as that of an .onnx mostly is, is added to the integers.
        if (s == 0) {
          factor_.data()[first + o] =
              static_cast<float>(before) * static_cast<float>(factor) / static_cast<float>(step);
          const double steps = std::nearbyint(addend / (before * factor));
          if (std::abs(addend - steps * before * factor) <= kSameFloat * std::abs(addend) &&
              std::abs(steps) < most_steps) {
            start_.data()[static_cast<std::size_t>(at) + o] += static_cast<std::int32_t>(steps);
            addend = 0;
          }
        }
        // Never -0, so that a 0 has one sign in all sets.
        addend_.data()[first + o] = static_cast<float>(addend / step + 0.0);
        const double most =
            std::abs(before * factor / step) * largest + std::abs(addend / step) + 255 * residual;
        exceeds |= !(most < kLargestSum / 2);
      }
      const Bounds bounds(quant, activation);
      stages[s] = {factor_.data() + first,
                   addend_.data() + first,
                   static_cast<float>(residual),
                   bounds.least,
                   bounds.most,
                   exceeds};
      before = step;
    }
  }

  ConvTask task_at(const Frame& frame, std::int64_t unit, std::size_t index) const {
    ConvTask task = tasks_[index];
    const std::int64_t first = task_outputs_[index];
    task.offsets = offsets_.data();
    task.input = frame.at<char>(from_, unit) + task_inputs_[index] * kernels_.bytes;
    task.output = frame.at<char>(to_, unit) + first * to_.element_bytes;
    if (residual_.size > 0) {
      task.residual = frame.at<char>(residual_, unit) + first * kernels_.bytes;
    }
    if (whole_image_) {
      task.columns = static_cast<std::int32_t>(frame.count);
      task.input_column = frame.unit_bytes / kernels_.bytes;
      task.output_column = frame.unit_bytes / to_.element_bytes;
    }
    task.planes = reinterpret_cast<std::int32_t*>(frame.scratch);
    return task;
  }

  const Kernels& kernels_;
  Placement from_;
  Placement residual_;  ///< no size: there is none
  Placement to_;
  bool by_columns_;
  bool depthwise3x3_;
  bool depthwise_;  ///< each channel by itself
  bool tiles_;
  std::int64_t groups_;  ///< computed one after the other
  bool whole_image_;     ///< fully connected: all units side by side
  const char* name_;     ///< of the method
  void (*convolve_)(const ConvTask&);
  std::int64_t taps_in_group_;  ///< that are multiplied together
  std::int64_t scratch_ = 0;    ///< numbers of 32 bits
  /// For each group, and each part of its channels; without pointers to activations.
  std::vector<ConvTask> tasks_;
  std::vector<std::int64_t> task_inputs_;   ///< elements from the first pixel
  std::vector<std::int64_t> task_outputs_;  ///< the first channel
  std::vector<std::int32_t> offsets_;
  std::int32_t* weights_;  ///< in the arena, until they are shared
  Aligned<std::int32_t> border_;
  Aligned<std::int32_t> start_;
  // They hold a number for each channel of the first stage, then of the next.
  Aligned<float> factor_;
  Aligned<float> addend_;
  std::vector<Stage> stages_;        ///< of each task
  std::int64_t channels_ = 0;        ///< of all groups, padded
  std::vector<std::int64_t> order_;  ///< the channels of a group as they are packed; kNoChannel
};

class RowsByConvolution final : public RowProduct {
 public:
  explicit RowsByConvolution(const PlacedLayer& source) : convolution_(source) {}
  void multiply(const char* rows, std::int64_t count, float* output) const override {
    convolution_.multiply_rows(rows, count, output);
  }
  std::string kernel() const override { return convolution_.kernel(); }

 private:
  Convolution convolution_;
};

}  // namespace

std::unique_ptr<Op> make_integer_convolution(const PlacedLayer& source) {
  return std::make_unique<Convolution>(source);
}

std::unique_ptr<RowProduct> make_row_product(const PlacedLayer& source) {
  return std::make_unique<RowsByConvolution>(source);
}

}  // namespace lenet::native::int8

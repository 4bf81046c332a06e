#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "engines/native/ops/bf16.h"
#include "engines/native/ops/families.h"
#include "engines/native/ops/ops.h"
#include "finite.h"

namespace lenet::native {
namespace {

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

std::vector<TapRun> runs_of(const std::vector<std::int32_t>& offsets) {
  std::vector<TapRun> runs;
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    const bool goes_on = i > 0 && offsets[i] == offsets[i - 1] + 1;
    if (!goes_on || runs.back().count == kMaxRun) runs.push_back({offsets[i], 0});
    ++runs.back().count;
  }
  return runs;
}

/// Pairs of a task in bf16, of one image or as many as are computed together: 2 MB.
constexpr std::int64_t kMaxPairs = 1 << 19;

class Convolution final : public Op {
 public:
  explicit Convolution(const PlacedLayer& source)
      : from_(source.inputs[0]),
        to_(source.output),
        residual_(source.sum == nullptr ? Placement() : source.inputs[1]),
        kernel_(source.kernel),
        is_bf16_(multiplies_bf16(source.method)),
        splits_(source.method != Method::Columns && source.method != Method::Interleaved),
        whole_image_(is_whole_image(from_.shape, source.layer, source.shape)),
        at_once_(whole_image_ || splits_),
        input_(is_bf16_ ? Bf16Input(source) : Bf16Input()),
        convolve_(kernel_of(source)) {
    find_taps(source);
    const Window& window = source.layer.convolution().window;
    task_.taps = static_cast<std::int32_t>(places_.size() / (is_bf16_ ? 2 : 1));
    if (splits_ && !input_.is_for_tiles()) {
      runs_ = runs_of(offsets_);
      std::vector<std::int32_t>().swap(offsets_);
    }
    task_.runs = runs_.data();
    task_.run_count = static_cast<std::int32_t>(runs_.size());
    task_.input_column = is_bf16_ ? input_.column() : window.strides[1] * from_.column;
    task_.input_row = is_bf16_ ? input_.row() : window.strides[0] * from_.row;
    input_row_ = window.strides[0] * from_.row;
    task_.output_column = to_.column;
    task_.output_row = to_.row;
    task_.output_channel = to_.block;
    if (clears_gaps()) task_.output_gap = to_.row - to_.shape.width() * to_.column;
    task_.columns = static_cast<std::int32_t>(source.shape.width());
    task_.rows = static_cast<std::int32_t>(source.shape.height());
    task_.images = 1;
    task_.channels =
        static_cast<std::int32_t>(source.shape.channels() / source.layer.convolution().groups);
    task_.epilogue.activation = source.activation();
    task_.epilogue.residual_row = residual_.row;
    task_.epilogue.residual_block = residual_.block;
    task_.pool = source.pool != nullptr;
    if (task_.pool) {
      task_.rows = task_.rows / 2 * 2;
      task_.columns = task_.columns / 2 * 2;
    }
    const std::vector<std::int64_t> blocks = choose_blocks(source);
    block_ = blocks.front() * (input_.is_for_tiles() ? 2 : 1);
    pack(source, blocks);
    choose_rows();
    std::vector<std::int64_t>().swap(places_);
  }

  void run(const Frame& frame) const override {
    const auto groups = static_cast<std::int64_t>(tasks_.size());
    const std::int64_t units = at_once_ ? 1 : frame.count;
    if (frame.parts == 1 && rows_at_once_ == task_.rows) {  // small layers notice what comes below
      for (std::int64_t unit = 0; unit < units; ++unit) {
        for (std::size_t g = 0; g < tasks_.size(); ++g) convolve(frame, task_at(frame, unit, g));
      }
      return;
    }
    const std::int64_t items = units * groups;
    const std::int64_t blocks = (task_.channels + block_ - 1) / block_;
    const std::int64_t images = at_once_ ? frame.count : 1;
    const auto slices = frame.cut(items * task_.rows, blocks, [&](auto rows, auto channels) {
      return work_of(rows, channels, images);
    });
    frame.each(slices[0] * slices[1], [&](std::int64_t index) {
      const std::int64_t slice = index % slices[1];
      const std::int64_t first = blocks * slice / slices[1] * block_;
      const std::int64_t end = blocks * (slice + 1) / slices[1] * block_;
      Frame part = frame;
      part.part = index / slices[1];
      part.parts = slices[0];
      part.each_rows(
          items, task_.rows, [&](std::int64_t item, std::int64_t row, std::int64_t last) {
            ConvTask task = task_at(frame, item / groups, static_cast<std::size_t>(item % groups));
            task.channels =
                static_cast<std::int32_t>(std::min<std::int64_t>(task.channels, end) - first);
            task.weights += first * task.taps;
            task.epilogue.bias += first;
            task.output += to_.channel_offset(first);
            if (residual_.size > 0) task.epilogue.residual += residual_.channel_offset(first);
            run_rows(frame, task, row, last);
          });
    });
  }

  bool splits() const override { return splits_; }
  bool clears_gaps() const override { return splits_ && !whole_image_; }
  bool halves_weights() const override { return is_bf16_; }
  std::string kernel() const override { return kernel_; }
  std::int64_t scratch_bytes() const override {
    if (!is_bf16_) return 0;
    const std::int64_t pairs = input_.size(rows_at_once_);
    return static_cast<std::int64_t>(sizeof(float)) *
           (at_once_ ? std::max(pairs, kMaxPairs) : pairs);
  }

 private:
  using Kernel = void (*)(const ConvTask&);

  static bool multiplies_bf16(Method method) {
    return method == Method::DenseBf16 || method == Method::TilesBf16 ||
           method == Method::ChannelsBf16;
  }

  static Kernel kernel_of(const PlacedLayer& source) {
    switch (source.method) {
      case Method::Columns:
        return source.kernels.conv_columns;
      case Method::Interleaved:
        return source.kernels.conv_interleaved;
      case Method::DenseBf16:
        return source.bf16->fully_connected;
      case Method::TilesBf16:
        return source.bf16->conv_tiles;
      case Method::ChannelsBf16:
        return source.bf16->conv_channels;
      case Method::Dense:
        return source.kernels.fully_connected;
      default:
        return source.kernels.conv_channels;
    }
  }

  void find_taps(const PlacedLayer& source) {
    const Layer& layer = source.layer;
    const auto [height, width] = layer.convolution().window.kernel;
    const auto taps =
        static_cast<std::int64_t>(layer.view_weights().count) / source.shape.channels();
    const std::int64_t channels = taps / (height * width);
    source.memory.add(static_cast<double>(taps) * sizeof(std::int32_t));
    if (input_.is_for_tiles()) {
      const TileTaps chunks = input_.tile_taps(layer);
      for (std::int64_t i = 0; i < chunks.count(); ++i) places_.push_back(chunks.place(i));
      offsets_ = input_.tile_offsets(layer);
      return;
    }
    if (is_bf16_) return find_pairs(layer, channels);
    // The order in which one image's taps lie side by side; the same for interleaved images.
    for (std::int64_t first = 0; first < channels; first += source.tap_lanes) {
      const std::int64_t lanes = std::min(source.tap_lanes, channels - first);
      for (std::int64_t pixel = 0; pixel < height * width; ++pixel) {
        for (std::int64_t lane = 0; lane < lanes; ++lane) {
          places_.push_back((first + lane) * height * width + pixel);
        }
      }
    }
    for (const std::int64_t place : places_) {
      const std::int64_t offset =
          from_.channel_offset(layer.convolution().first_channel + place / (height * width)) -
          from_.channel_offset(layer.convolution().first_channel) +
          place / width % height * layer.convolution().window.dilations[0] * from_.row +
          place % width * layer.convolution().window.dilations[1] * from_.column;
      offsets_.push_back(tap_offset(offset, layer));
    }
  }

  /// In the order of find_taps, where that has pairs side by side.
  void find_pairs(const Layer& layer, std::int64_t channels) {
    const auto [height, width] = layer.convolution().window.kernel;
    const std::int64_t lanes = from_.lanes == 1 ? 2 : from_.lanes;
    const std::int64_t pixels = height * width;
    for (std::int64_t first = 0; first < channels; first += lanes) {
      for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
        for (std::int64_t c = first; c < std::min(first + lanes, channels); c += 2) {
          const bool pixels_too =
              input_.pairs_pixels(c) && layer.convolution().window.dilations[1] == 1;
          const std::int64_t x = pixel % width;
          if (pixels_too && x % 2 != 0) continue;  // in the pair before
          const std::int64_t place = c * pixels + pixel;
          const bool has_next = pixels_too ? x + 1 < width : c + 1 < channels;
          places_.push_back(place);
          places_.push_back(has_next ? place + (pixels_too ? 1 : pixels) : -1);
          offsets_.push_back(tap_offset(input_.offset(c, pixel / width, x), layer));
        }
      }
    }
  }

  /// \returns how many channels are side by side in the packed weights, block after block
  std::vector<std::int64_t> choose_blocks(const PlacedLayer& source) {
    const Kernels& kernels = source.kernels;
    const std::int64_t channels = task_.channels;
    const bool many_registers = kernels.registers >= 32;
    std::vector<std::int64_t> blocks;
    if (splits_) {
      for (auto left = static_cast<int>((channels + kernels.lanes - 1) / kernels.lanes);
           left > 0;) {
        const int vectors = whole_image_            ? kernels.dense_vectors(left)
                            : input_.is_for_tiles() ? 1
                                                    : std::min(left, 2);
        blocks.push_back(vectors * kernels.lanes);
        left -= vectors;
      }
      constexpr std::int64_t kCached = 1 << 18;  // floats that the caches hold from run to run
      task_.prefetches = task_.taps * channels > kCached;
      // All weights come from memory faster, one after the other, than half of them.
      constexpr std::int32_t kShortestRun = 16;  // of which it pays to look for zeros first
      task_.skips_zeros = !task_.prefetches && task_.taps >= kShortestRun * task_.run_count;
      return blocks;
    }
    if (source.method == Method::Columns) {
      task_.tile = static_cast<std::int32_t>(std::min<std::int64_t>(many_registers            ? 6
                                                                    : kernels.registers >= 16 ? 3
                                                                                              : 2,
                                                                    channels));
      if (task_.tile == 5) task_.tile = 6;
    } else {
      constexpr std::int64_t kUnits = 4;  // of which a fully connected layer sees several at once
      const std::int64_t columns = whole_image_ ? kUnits : source.shape.width();
      task_.tile = best_tile(kernels, channels, columns, task_.pool);
    }
    blocks.assign(static_cast<std::size_t>((channels + task_.tile - 1) / task_.tile), task_.tile);
    return blocks;
  }

  void pack(const PlacedLayer& source, const std::vector<std::int64_t>& blocks) {
    const Layer& layer = source.layer;
    const std::int64_t taps = task_.taps;
    const std::int64_t channels = task_.channels;
    const std::int64_t inputs = static_cast<std::int64_t>(layer.view_weights().count) /
                                (source.shape.channels() * layer.convolution().window.kernel[0] *
                                 layer.convolution().window.kernel[1]);
    const std::int64_t packed = std::accumulate(blocks.begin(), blocks.end(), std::int64_t{0});
    source.memory.add(static_cast<double>(layer.convolution().groups) *
                      (static_cast<double>(packed * (taps + 1) * std::int64_t{sizeof(float)}) +
                       static_cast<double>(sizeof(ConvTask))));
    const WeightView from = layer.view_weights();
    bool finite = true;
    float* const all = source.arena.take<float>(layer.convolution().groups * packed * taps);
    float* weights = all;
    float* bias = source.arena.take<float>(layer.convolution().groups * packed);
    for (std::int64_t g = 0; g < layer.convolution().groups; ++g) {
      task_.epilogue.bias = bias;
      task_.offsets = offsets_.data();
      tasks_.push_back(task_);
      inputs_.push_back(from_.channel_offset(layer.convolution().first_channel + g * inputs) -
                        layer.convolution().window.padding[0] * from_.row -
                        layer.convolution().window.padding[2] * from_.column);
      outputs_.push_back(to_.channel_offset(g * channels));
      residuals_.push_back(residual_.channel_offset(g * channels));
      std::int64_t first = 0;
      for (const std::int64_t block : blocks) {
        const std::int64_t real = std::min(block, channels - first);  // the others are zeros
        const auto channel = static_cast<std::size_t>(g * channels + first);
        for (std::int64_t t = 0; t < taps; ++t, weights += block) {
          const std::int64_t* const places = places_.data() + (is_bf16_ ? 2 * t : t);
          const auto weight_at = [&](std::int64_t b, std::int64_t place) {
            if (place < 0) return 0.0F;
            return from.at(channel + static_cast<std::size_t>(b), static_cast<std::size_t>(place));
          };
          if (is_bf16_) {
            for (std::int64_t b = 0; b < real; ++b) {
              const std::uint32_t pair =
                  bf16_pair(weight_at(b, places[0]), weight_at(b, places[1]));
              std::memcpy(weights + b, &pair, sizeof(pair));
              finite = finite && is_finite_pair(pair);
            }
          } else {
            for (std::int64_t b = 0; b < real; ++b) weights[b] = weight_at(b, places[0]);
          }
        }
        // Adding 0 makes a -0 a 0, in all kernels: see skips_zeros. In bf16 any product makes a 0
        // of what is denormal.
        for (std::int64_t b = 0; b < real; ++b) {
          bias[b] = layer.bias[channel + static_cast<std::size_t>(b)] + 0.0F;
          if (is_bf16_ && std::abs(bias[b]) < std::numeric_limits<float>::min()) bias[b] = 0;
        }
        bias += block;
        first += block;
      }
    }
    const float* const shared = source.arena.share(all);
    for (std::int64_t g = 0; g < layer.convolution().groups; ++g) {
      tasks_[static_cast<std::size_t>(g)].weights = shared + g * packed * taps;
    }
    // What is not finite makes zeros NaN.
    const auto count = static_cast<std::size_t>(layer.convolution().groups * packed * taps);
    if (whole_image_ && task_.skips_zeros && !(is_bf16_ ? finite : all_finite(shared, count))) {
      for (ConvTask& task : tasks_) task.skips_zeros = false;
    }
  }

  void choose_rows() {
    rows_at_once_ = task_.rows;
    if (!splits_ || whole_image_) return;
    // What the second-level cache should hold of one while the other goes through: of few weights
    // those of all channels.
    constexpr std::int64_t kFewWeights = 1 << 17;
    constexpr std::int64_t kInputs = 1 << 16;
    const std::int64_t weights = std::int64_t{task_.taps} * task_.channels;
    if (weights > kFewWeights) return;
    // Go through as many rows at once as the cache holds the inputs of.
    rows_at_once_ =
        static_cast<std::int32_t>(std::clamp<std::int64_t>(kInputs / of_row(), 1, task_.rows));
    at_once_ = false;
  }

  /// All channels of all windows of one group.
  ConvTask task_at(const Frame& frame, std::int64_t unit, std::size_t group) const {
    ConvTask task = tasks_[group];
    task.input = frame.at<float>(from_, unit) + inputs_[group];
    task.output = frame.at<float>(to_, unit) + outputs_[group];
    if (residual_.size > 0) {
      task.epilogue.residual = frame.at<float>(residual_, unit) + residuals_[group];
    }
    const std::int64_t image_step = frame.unit_bytes / static_cast<std::int64_t>(sizeof(float));
    if (whole_image_) {
      task.columns = static_cast<std::int32_t>(frame.count);
      task.input_column = task.output_column = image_step;
    } else if (at_once_) {
      task.images = static_cast<std::int32_t>(frame.count);
      task.image_step = task.input_image_step = image_step;
    }
    return task;
  }

  /// What a row of windows reads that the one before does not, of all channels.
  std::int64_t of_row() const { return task_.input_row * (is_bf16_ ? 1 : from_.planes); }
  /// What a part takes of so many rows and blocks, in multiply-adds of a vector.
  double work_of(std::int64_t rows, std::int64_t blocks, std::int64_t images) const {
    constexpr double kFetch = 5;  // while a vector comes into the second-level cache
    const auto count = [](std::int64_t value) { return static_cast<double>(value); };
    const std::int64_t vectors = blocks * block_ / to_.lanes;
    const double products = count(vectors * task_.taps) * count(rows * task_.columns * images);
    const double input = count(rows * images) * count(of_row() / to_.lanes);
    return products + (count(vectors * task_.taps) + input) * kFetch;
  }

  /// Some rows of a task, as many at once as the caches hold.
  void run_rows(const Frame& frame, const ConvTask& all, std::int64_t begin,
                std::int64_t end) const {
    const std::int64_t strips = (end - begin + rows_at_once_ - 1) / rows_at_once_;
    for (std::int64_t strip = 0; strip < strips; ++strip) {
      const std::int64_t first = begin + (end - begin) * strip / strips;
      const std::int64_t last = begin + (end - begin) * (strip + 1) / strips;
      ConvTask task = all;
      task.rows = static_cast<std::int32_t>(last - first);
      task.input += first * input_row_;
      task.output += first * task.output_row;
      if (residual_.size > 0) task.epilogue.residual += first * residual_.row;
      convolve(frame, task);
    }
  }

  void convolve(const Frame& frame, const ConvTask& task) const {
    is_bf16_ ? convolve_bf16(frame, task) : convolve_(task);
  }

  /// A task whose input is the tensor, in bf16.
  void convolve_bf16(const Frame& frame, const ConvTask& task) const {
    auto* const pairs = reinterpret_cast<float*>(frame.scratch);
    const std::int64_t size = input_.size(task.rows);
    const std::int64_t images = whole_image_ ? task.columns : task.images;
    const std::int64_t from_step = whole_image_ ? task.input_column : task.input_image_step;
    const std::int64_t to_step = whole_image_ ? task.output_column : task.image_step;
    const std::int64_t at_once = std::max<std::int64_t>(kMaxPairs / size, 1);
    for (std::int64_t first = 0; first < images; first += at_once) {
      const auto count = static_cast<std::int32_t>(std::min(at_once, images - first));
      for (std::int64_t i = 0; i < count; ++i) {
        input_.read(task.input + (first + i) * from_step, task.rows, pairs + i * size);
      }
      ConvTask part = task;
      part.input = pairs;
      part.output += first * to_step;
      if (residual_.size > 0) part.epilogue.residual += first * to_step;
      (whole_image_ ? part.input_column : part.input_image_step) = size;
      (whole_image_ ? part.columns : part.images) = count;
      convolve_(part);
    }
  }

  Placement from_;
  Placement to_;
  Placement residual_;  ///< without a size if nothing is added
  const char* kernel_;  ///< the method's name
  bool is_bf16_;
  bool splits_;                       ///< a kernel with vectors of channels
  bool whole_image_;                  ///< fully connected: units are windows side by side
  bool at_once_;                      ///< one task for all units
  std::int64_t block_ = 0;            ///< channels that the kernel computes together
  std::int32_t rows_at_once_ = 0;     ///< for all channels of the output, before the next
  ConvTask task_{};                   ///< what the tasks have in common
  std::vector<ConvTask> tasks_;       ///< for each group; `input` and `output` are added in a run
  std::int64_t input_row_ = 0;        ///< floats from a row of windows to the next in the tensor
  std::vector<std::int64_t> inputs_;  ///< floats from the tensor's first pixel
  std::vector<std::int64_t> outputs_;
  std::vector<std::int64_t> residuals_;
  std::vector<std::int32_t> offsets_;  ///< of the taps; of tiles of their chunks
  std::vector<TapRun> runs_;
  /// Which weight each tap has, among [input channel][height][width]. In bf16 a tap has two, of
  /// which the second, and in tiles both, may be -1: that number of the pair is 0.
  std::vector<std::int64_t> places_;
  Bf16Input input_;  ///< in bf16
  Kernel convolve_;
};

/// Requires that the windows of a convolution lie inside the padded image.
/// \param axis 0: rows, 1: columns
void check_windows(const LayerCheck& of, std::int64_t size, std::int64_t windows,
                   std::size_t axis) {
  const Window& window = of.layer.convolution().window;
  const std::int64_t padded = size + window.padding[2 * axis] + window.padding[2 * axis + 1];
  const std::int64_t end =
      (windows - 1) * window.strides[axis] + (window.kernel[axis] - 1) * window.dilations[axis] + 1;
  of.require(end <= padded, "has windows that end outside the padded image");
}

void check_convolution(const LayerCheck& of) {
  const ConvolutionParams& params = of.layer.convolution();
  const Window& window = params.window;
  const auto outputs = static_cast<std::int64_t>(of.layer.bias.size());
  of.require(outputs > 0 && outputs == of.output().channels(), "has another number of biases");
  const std::size_t weights = std::max(of.layer.view_weights().count, of.layer.integers.size());
  const std::int64_t taps = window.kernel[0] * window.kernel[1];
  const std::int64_t of_group = static_cast<std::int64_t>(weights) / outputs / taps;
  of.require(params.first_channel + params.groups * of_group <= of.input().channels(),
             "reads more channels than there are");
  // A pooled pixel is the largest of so many windows in each direction.
  const std::int64_t windows = params.pool ? 2 : 1;
  check_windows(of, of.input().height(), of.output().height() * windows, 0);
  check_windows(of, of.input().width(), of.output().width() * windows, 1);
  of.require(params.roundings.empty() || is_integer_convolution(of.layer),
             "rounds sums that are no integers");
  of.require(params.rounds() == static_cast<bool>(of.network.tensors[of.layer.output].quant),
             "does not round to what its output holds");
  of.require((params.sum == kNone && of.layer.inputs.size() == 1) ||
                 (params.sum <= params.roundings.size() && of.layer.inputs.size() == 2 &&
                  of.input(1) == of.output()),
             "adds another number of tensors than it takes, or one of another shape");
}

}  // namespace

std::unique_ptr<Op> make_convolution(const PlacedLayer& source) {
  return std::make_unique<Convolution>(source);
}

extern const LayerFamily kConvolutionFamily = {check_convolution, nullptr};

}  // namespace lenet::native

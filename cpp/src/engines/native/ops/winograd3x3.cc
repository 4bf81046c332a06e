#include <algorithm>
#include <cstddef>

#include "engines/native/ops/ops.h"
#include "engines/native/ops/winograd3x3_work.h"

namespace lenet::native {
namespace {

constexpr std::int64_t kTaps = 9;
constexpr std::int64_t kTile = 4;  // outputs of a row, and in float32 of a column
constexpr std::int64_t kBf16Rows = 2;

class Winograd3x3 final : public Op {
 public:
  explicit Winograd3x3(const PlacedLayer& source)
      : kernel_(source.kernel),
        kernels_(source.kernels),
        bf16_(source.method == Method::Winograd3x3Bf16 ? source.bf16 : nullptr),
        from_(source.inputs[0]),
        to_(source.output),
        first_(from_.channel_offset(source.layer.convolution().first_channel)),
        residual_(source.sum == nullptr ? Placement() : source.inputs[1]) {
    const auto narrow = [](std::int64_t value) { return static_cast<std::int32_t>(value); };
    task_.input_row = from_.row;
    task_.input_block = from_.block;
    task_.output_row = to_.row;
    task_.output_block = to_.block;
    const auto count = static_cast<std::int64_t>(source.layer.view_weights().count);
    task_.in_channels = narrow(count / (to_.shape.channels() * kTaps));
    task_.in_height = narrow(from_.shape.height());
    task_.in_width = narrow(from_.shape.width());
    task_.padding_top = narrow(source.layer.convolution().window.padding[0]);
    task_.padding_left = narrow(source.layer.convolution().window.padding[2]);
    task_.height = narrow(to_.shape.height());
    task_.width = narrow(to_.shape.width());
    task_.blocks = narrow((to_.shape.channels() + kernels_.lanes - 1) / kernels_.lanes);
    task_.epilogue.residual_row = residual_.row;
    task_.epilogue.residual_block = residual_.block;
    task_.epilogue.activation = source.activation();
    const std::int64_t channels = task_.blocks * std::int64_t{kernels_.lanes};
    const std::int64_t taps = padded_channels() * kTaps;
    source.memory.add(static_cast<double>(channels * (taps + 1)) * sizeof(float));
    float* const weights = source.arena.take<float>(channels * taps);
    float* const bias = source.arena.take<float>(channels);
    std::copy(source.layer.bias.begin(), source.layer.bias.end(), bias);
    task_.epilogue.bias = bias;
    pack(source.layer, weights);
    task_.weights = source.arena.share(weights);
  }

  void run(const Frame& frame) const override {
    Winograd3x3Task task = task_;
    task.input = frame.at<float>(from_, 0) + first_;
    task.output = frame.at<float>(to_, 0);
    if (residual_.size > 0) task.epilogue.residual = frame.at<float>(residual_, 0);
    task.image_step = frame.unit_bytes / static_cast<std::int64_t>(sizeof(float));
    task.images = static_cast<std::int32_t>(frame.count);
    task.scratch = reinterpret_cast<float*>(frame.scratch);
    const std::int64_t tiles = frame.count * winograd3x3_tiles(to_.shape, bf16_ != nullptr);
    const std::int64_t groups = (task_.blocks + kWinograd3x3Group - 1) / kWinograd3x3Group;
    // Each part transforms the inputs of its tiles and the weights of its channels, which others
    // with the same ones do again.
    const auto slices = frame.cut(tiles, groups, [&](auto of_tiles, auto of_groups) {
      return winograd3x3_work(of_tiles, task_.in_channels, kernels_.lanes,
                              of_groups * kWinograd3x3Group, bf16_ != nullptr);
    });
    frame.each(slices[0] * slices[1], [&](std::int64_t index) {
      const std::int64_t slice = index / slices[1];
      task.first_tile = tiles * slice / slices[0];
      task.last_tile = tiles * (slice + 1) / slices[0];
      const auto group = [&](std::int64_t of) {
        return static_cast<std::int32_t>(groups * of / slices[1]) * kWinograd3x3Group;
      };
      task.first_block = group(index % slices[1]);
      task.last_block = std::min(task_.blocks, group(index % slices[1] + 1));
      (bf16_ != nullptr ? bf16_->winograd3x3 : kernels_.winograd3x3)(task);
    });
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return kernel_; }
  std::int64_t scratch_bytes() const override {
    const auto floats =
        bf16_ != nullptr ? bf16_->winograd3x3_scratch : kernels_.winograd3x3_scratch;
    return floats(task_) * static_cast<std::int64_t>(sizeof(float));
  }

 private:
  /// Turns the weights of a vector of output channels so that they lie side by side.
  void pack(const Layer& layer, float* weights) const {
    constexpr std::int64_t kAtOnce = 256;  // taps, which stay in the first-level cache
    const WeightView from = layer.view_weights();
    const std::int64_t lanes = kernels_.lanes;
    const std::int64_t taps = task_.in_channels * kTaps;
    const std::int64_t padded = padded_channels() * kTaps;
    std::vector<float> rows(static_cast<std::size_t>(lanes * kAtOnce));
    std::vector<const float*> places;
    for (std::int64_t l = 0; l < lanes; ++l) places.push_back(rows.data() + l * kAtOnce);
    for (std::int32_t block = 0; block < task_.blocks; ++block) {
      const std::int32_t group = block / kWinograd3x3Group * kWinograd3x3Group;
      const std::int64_t width = std::min(kWinograd3x3Group, task_.blocks - group) * lanes;
      float* to = weights + group * lanes * padded + (block - group) * lanes;
      const std::int64_t real = std::min(lanes, to_.shape.channels() - block * lanes);
      std::fill(rows.begin() + real * kAtOnce, rows.end(), 0.0F);
      for (std::int64_t first = 0; first < taps; first += kAtOnce, to += kAtOnce * width) {
        const std::int64_t count = std::min(kAtOnce, taps - first);
        for (std::int64_t l = 0; l < real; ++l) {
          for (std::int64_t t = 0; t < count; ++t) {
            rows[static_cast<std::size_t>(l * kAtOnce + t)] = from.at(
                static_cast<std::size_t>(block * lanes + l), static_cast<std::size_t>(first + t));
          }
        }
        kernels_.interleave(places.data(), count, to, width);
      }
    }
  }

  /// Channels of the packed weights.
  std::int64_t padded_channels() const {
    return round_up(task_.in_channels, kWinograd3x3Channels * (bf16_ != nullptr ? 2 : 1));
  }

  const char* kernel_;
  const Kernels& kernels_;
  const Bf16Kernels* bf16_;  ///< of the method in bf16; else null
  Placement from_;
  Placement to_;
  std::int64_t first_;  ///< floats from the input's first channel to that of the layer
  Placement residual_;  ///< without a size if nothing is added
  Winograd3x3Task task_{};
};

}  // namespace

std::int64_t winograd3x3_tiles(const TensorShape& output, bool bf16) {
  const std::int64_t rows = bf16 ? kBf16Rows : kTile;
  return (output.height() + rows - 1) / rows * ((output.width() + kTile - 1) / kTile);
}

double winograd3x3_work(std::int64_t tiles, std::int64_t channels, std::int64_t lanes,
                        std::int64_t out_blocks, bool bf16) {
  const double kTransformInput = bf16 ? 150 : 250;  // of a tile
  const double kTransformOutput = bf16 ? 80 : 130;
  const double kTransformWeights = bf16 ? 75 : 95;
  const double kProducts = bf16 ? 24 / 2.0 : 36;
  constexpr double kFewestRows = 2;  // whose sums hide each other's latency
  const auto count = static_cast<double>(tiles);
  const auto in_blocks = static_cast<double>(round_up(channels, lanes) / lanes);
  const double of_weights = static_cast<double>(channels) *
                            (kTransformWeights + kProducts * std::max(count, kFewestRows));
  return count * in_blocks * kTransformInput +
         static_cast<double>(out_blocks) * (count * kTransformOutput + of_weights);
}

std::unique_ptr<Op> make_winograd3x3(const PlacedLayer& source) {
  return std::make_unique<Winograd3x3>(source);
}

}  // namespace lenet::native

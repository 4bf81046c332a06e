#include <algorithm>
#include <array>
#include <cstddef>

#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

using Pair = std::array<std::int64_t, 2>;
constexpr std::size_t kKernel = 5;
constexpr std::size_t kTile = 6;
constexpr std::int64_t kProducts = 36;  // of a tile

/// The matrix G of the transform (Lavin and Gray, 2016): the kernel as a polynomial, evaluated at
/// the points and divided by what Lagrange's interpolation divides by; at infinity its highest
/// coefficient.
std::array<std::array<double, kKernel>, kTile> weight_transform() {
  constexpr std::array<double, kTile - 1> kPoints = {0, kWinogradNear, -kWinogradNear, kWinogradFar,
                                                     -kWinogradFar};
  std::array<std::array<double, kKernel>, kTile> matrix{};
  for (std::size_t p = 0; p < kPoints.size(); ++p) {
    double power = 1;
    for (const double other : kPoints) {
      if (other != kPoints[p]) power /= kPoints[p] - other;
    }
    for (std::size_t i = 0; i < kKernel; ++i, power *= kPoints[p]) matrix[p][i] = power;
  }
  matrix.back().back() = 1;
  return matrix;
}

class Winograd final : public Op {
 public:
  explicit Winograd(const FloatLayer& source);

  void run(const Frame& frame) const override {
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      WinogradTask task = task_;
      task.input = frame.at<float>(from_, unit) + first_;
      task.output = frame.at<float>(to_, unit);
      task.scratch = reinterpret_cast<float*>(frame.scratch);
      convolve_(task);
    }
  }
  std::string kernel() const override { return kernel_; }
  std::int64_t scratch_bytes() const override {
    return kProducts * task_.in_channels * lanes_ * std::int64_t{sizeof(float)};
  }

 private:
  void pack(const Layer& layer, std::int64_t block, float* weights) const;

  std::int64_t lanes_;
  const char* kernel_;
  void (*convolve_)(const WinogradTask&);
  Placement from_;
  Placement to_;
  std::int64_t first_;  ///< floats from the image's first pixel to that of the first window
  WinogradTask task_{};
};

Winograd::Winograd(const FloatLayer& source)
    : lanes_(source.kernels.lanes),
      kernel_(source.interleaved ? "winograd_interleaved" : "winograd_channels"),
      convolve_(source.interleaved ? source.kernels.winograd_interleaved
                                   : source.kernels.winograd_channels),
      from_(source.inputs[0]),
      to_(source.output),
      first_(-source.layer.window.padding[0] * from_.row -
             source.layer.window.padding[2] * from_.column) {
  constexpr double kLarger = 36.0 / 25;  // what the transform makes of 5 x 5 weights
  source.memory.add(kLarger * bytes_of(source.layer));
  task_.input_column = from_.column;
  task_.input_row = from_.row;
  task_.input_channel = from_.block;
  task_.output_column = to_.column;
  task_.output_row = to_.row;
  task_.output_channel = to_.block;
  task_.in_channels = static_cast<std::int32_t>(from_.shape.channels);
  task_.channels = static_cast<std::int32_t>(source.shape.channels);
  task_.tiles_across = static_cast<std::int32_t>(source.shape.width / 2);
  task_.tiles_down = static_cast<std::int32_t>(source.shape.height / 2);
  task_.relu = source.activation().kind == ActivationKind::Relu;
  task_.pool = source.pool != nullptr;
  const std::int64_t block = source.interleaved ? source.kernels.winograd_group : lanes_;
  float* const weights =
      source.arena.take<float>(kProducts * round_up(task_.channels, block) * task_.in_channels);
  float* const bias = source.arena.take<float>(round_up(task_.channels, block));
  std::copy(source.layer.bias.begin(), source.layer.bias.end(), bias);
  task_.weights = weights;
  task_.bias = bias;
  pack(source.layer, block, weights);
}

void Winograd::pack(const Layer& layer, std::int64_t block, float* weights) const {
  static const auto matrix = weight_transform();
  const std::int64_t inputs = task_.in_channels;
  const WeightView from = layer.view_weights();
  std::array<float, kKernel * kKernel> kernel;
  for (std::int64_t o = 0; o < task_.channels; ++o) {
    for (std::int64_t c = 0; c < inputs; ++c) {
      for (std::size_t i = 0; i < kernel.size(); ++i) {
        kernel[i] =
            from.at(static_cast<std::size_t>(o), static_cast<std::size_t>(c) * kernel.size() + i);
      }
      // [block of channels][column][input channel][row][channel of the block]
      float* to = weights + (o / block * 6 * inputs + c) * 6 * block + o % block;
      for (const auto& of_column : matrix) {
        float* at = to;
        for (const auto& of_row : matrix) {
          double sum = 0;
          for (std::size_t i = 0; i < kKernel; ++i) {
            for (std::size_t j = 0; j < kKernel; ++j) {
              sum += of_row[i] * static_cast<double>(kernel[i * kKernel + j]) * of_column[j];
            }
          }
          *at = static_cast<float>(sum);
          at += block;
        }
        to += inputs * 6 * block;
      }
    }
  }
}

}  // namespace

bool suits_winograd(const Network& network, const Layer& layer) {
  // With fewer channels the transforms cost more than the multiplications they save.
  constexpr std::int64_t kFewest = 4;
  const Window& window = layer.window;
  const TensorShape& output = network.tensors[layer.output];
  return layer.kind == LayerKind::Convolution && layer.activation.kind <= ActivationKind::Relu &&
         window.kernel == Pair{5, 5} && window.strides == Pair{1, 1} &&
         window.dilations == Pair{1, 1} && layer.groups == 1 &&
         network.tensors[layer.inputs[0]].channels >= kFewest && output.channels >= kFewest &&
         output.height % 2 == 0 && output.width % 2 == 0;
}

std::unique_ptr<Op> make_winograd(const FloatLayer& source) {
  return std::make_unique<Winograd>(source);
}

}  // namespace lenet::native

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <limits>

#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

constexpr std::size_t kKernel = 5;
/// Rows of kKernel factors: each gives a value of one direction of the transformed weights.
using Matrix = std::vector<std::array<double, kKernel>>;

/// The matrix G of the transform (Lavin and Gray, 2016): the kernel as a polynomial, evaluated at
/// the points and divided by what Lagrange's interpolation divides by; at infinity its highest
/// coefficient.
Matrix weight_transform(const std::vector<double>& points) {
  Matrix matrix(points.size());
  for (std::size_t p = 0; p < points.size(); ++p) {
    if (std::isinf(points[p])) {
      matrix[p].back() = 1;
      continue;
    }
    double power = 1;
    for (const double other : points) {
      if (other != points[p] && !std::isinf(other)) power /= points[p] - other;
    }
    for (std::size_t i = 0; i < kKernel; ++i, power *= points[p]) matrix[p][i] = power;
  }
  return matrix;
}

/// The transforms and tiles of a method.
struct Transforms {
  Matrix down;              ///< the transform of the weights' columns
  Matrix across;            ///< and of their rows
  std::int64_t side;        ///< values of a transformed row that lie side by side
  std::int64_t tile_width;  ///< columns of outputs
  std::int64_t scratch;     ///< vectors for each input channel
};

const Transforms& transforms_of(const PlacedLayer& source) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  static const Matrix square =
      weight_transform({0, kWinogradNear, -kWinogradNear, kWinogradFar, -kWinogradFar, kInfinity});
  static const Transforms both = {square, square, 1, 2, 36};
  static const Transforms rows = {
      {{1, 0, 0, 0, 0}, {0, 1, 0, 0, 0}, {0, 0, 1, 0, 0}, {0, 0, 0, 1, 0}, {0, 0, 0, 0, 1}},
      weight_transform({std::begin(kWinogradRowPoints), std::end(kWinogradRowPoints)}),
      2,
      4,
      8 * (2 * kWinogradRowPairs + 4)};
  const bool along_rows =
      source.method == Method::WinogradRows || source.method == Method::WinogradRowsInterleaved;
  return along_rows ? rows : both;
}

class Winograd final : public Op {
 public:
  explicit Winograd(const PlacedLayer& source)
      : lanes_(source.kernels.lanes),
        transforms_(transforms_of(source)),
        kernel_(source.kernel),
        from_(source.inputs[0]),
        to_(source.output),
        first_(-source.layer.convolution().window.padding[0] * from_.row -
               source.layer.convolution().window.padding[2] * from_.column) {
    const std::int64_t block = choose_kernel(source);
    const auto products =
        static_cast<std::int64_t>(transforms_.down.size() * transforms_.across.size());
    source.memory.add(static_cast<double>(products) / (kKernel * kKernel) * bytes_of(source.layer));
    task_.input_column = from_.column;
    task_.input_row = from_.row;
    task_.input_channel = from_.block;
    task_.output_column = to_.column;
    task_.output_row = to_.row;
    task_.output_channel = to_.block;
    task_.in_channels = static_cast<std::int32_t>(from_.shape.channels());
    task_.channels = static_cast<std::int32_t>(source.shape.channels());
    task_.tiles_across = static_cast<std::int32_t>(source.shape.width() / transforms_.tile_width);
    task_.tiles_down = static_cast<std::int32_t>(source.shape.height() / 2);
    task_.relu = source.activation().kind == ActivationKind::Relu;
    task_.pool = source.pool != nullptr;
    float* const weights =
        source.arena.take<float>(products * round_up(task_.channels, block) * task_.in_channels);
    float* const bias = source.arena.take<float>(round_up(task_.channels, block));
    std::copy(source.layer.bias.begin(), source.layer.bias.end(), bias);
    task_.bias = bias;
    pack(source.layer, block, weights);
    task_.weights = source.arena.share(weights);
  }

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
    return transforms_.scratch * task_.in_channels * lanes_ * std::int64_t{sizeof(float)};
  }

 private:
  /// \returns how many channels lie side by side in the packed weights
  std::int64_t choose_kernel(const PlacedLayer& source) {
    const Kernels& kernels = source.kernels;
    switch (source.method) {
      case Method::WinogradInterleaved:
        convolve_ = kernels.winograd_interleaved;
        return kernels.winograd_group;
      case Method::WinogradRows:
        convolve_ = kernels.winograd_rows;
        return kWinogradRowGroup;
      case Method::WinogradRowsInterleaved:
        convolve_ = kernels.winograd_rows_interleaved;
        return kWinogradRowGroup;
      default:
        convolve_ = kernels.winograd_channels;
        return lanes_;
    }
  }

  void pack(const Layer& layer, std::int64_t block, float* weights) const {
    const std::int64_t inputs = task_.in_channels;
    const auto rows = static_cast<std::int64_t>(transforms_.down.size());
    const auto columns = static_cast<std::int64_t>(transforms_.across.size());
    const WeightView from = layer.view_weights();
    std::array<float, kKernel * kKernel> kernel;
    for (std::int64_t o = 0; o < task_.channels; ++o) {
      for (std::int64_t c = 0; c < inputs; ++c) {
        for (std::size_t i = 0; i < kernel.size(); ++i) {
          kernel[i] =
              from.at(static_cast<std::size_t>(o), static_cast<std::size_t>(c) * kernel.size() + i);
        }
        for (std::int64_t place = 0; place < rows * columns; ++place) {
          const std::int64_t row = place / columns;
          const std::int64_t column = place % columns;
          const auto& of_row = transforms_.down[static_cast<std::size_t>(row)];
          const auto& of_column = transforms_.across[static_cast<std::size_t>(column)];
          double sum = 0;
          for (std::size_t i = 0; i < kKernel; ++i) {
            for (std::size_t j = 0; j < kKernel; ++j) {
              sum += of_row[i] * static_cast<double>(kernel[i * kKernel + j]) * of_column[j];
            }
          }
          // [block of channels][columns / side][input channel][row][side][channel of the block]
          const std::int64_t group =
              o / block * (columns / transforms_.side) + column / transforms_.side;
          const std::int64_t vector =
              ((group * inputs + c) * rows + row) * transforms_.side + column % transforms_.side;
          weights[vector * block + o % block] = static_cast<float>(sum);
        }
      }
    }
  }

  std::int64_t lanes_;
  const Transforms& transforms_;
  const char* kernel_;
  void (*convolve_)(const WinogradTask&) = nullptr;
  Placement from_;
  Placement to_;
  std::int64_t first_;  ///< floats from the image's first pixel to that of the first window
  WinogradTask task_{};
};

}  // namespace

std::unique_ptr<Op> make_winograd(const PlacedLayer& source) {
  return std::make_unique<Winograd>(source);
}

}  // namespace lenet::native

#include "engines/native/winograd.h"

#include <array>
#include <cstddef>

#include "engines/native/kernels/kernels.h"

namespace lenet::native {
namespace {

using Pair = std::array<std::int64_t, 2>;
constexpr std::size_t kKernel = 5;
constexpr std::size_t kTile = 6;

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

}  // namespace

bool suits_winograd(const Network& network, const Layer& layer) {
  // With fewer channels the transforms cost more than the multiplications they save.
  constexpr std::int64_t kFewest = 4;
  const Window& window = layer.window;
  const TensorShape& output = network.tensors[layer.output];
  return layer.kind == LayerKind::Convolution && window.kernel == Pair{5, 5} &&
         window.strides == Pair{1, 1} && window.dilations == Pair{1, 1} && layer.groups == 1 &&
         network.tensors[layer.inputs[0]].channels >= kFewest && output.channels >= kFewest &&
         output.height % 2 == 0 && output.width % 2 == 0;
}

std::vector<float> winograd_weights(const Layer& layer) {
  static const auto matrix = weight_transform();
  const std::size_t kernels = layer.weights.size() / (kKernel * kKernel);
  std::vector<float> transformed(kernels * kTile * kTile);
  for (std::size_t k = 0; k < kernels; ++k) {
    const float* kernel = layer.weights.data() + k * kKernel * kKernel;
    for (std::size_t row = 0; row < kTile; ++row) {
      for (std::size_t column = 0; column < kTile; ++column) {
        double sum = 0;
        for (std::size_t i = 0; i < kKernel; ++i) {
          for (std::size_t j = 0; j < kKernel; ++j) {
            sum +=
                matrix[row][i] * static_cast<double>(kernel[i * kKernel + j]) * matrix[column][j];
          }
        }
        transformed[(k * kTile + row) * kTile + column] = static_cast<float>(sum);
      }
    }
  }
  return transformed;
}

}  // namespace lenet::native

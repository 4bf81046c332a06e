#include <algorithm>

#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

/// Products of matrices, of tensors in the order of the program.
class MatMul final : public Op {
 public:
  explicit MatMul(const FloatLayer& source)
      : kernels_(source.kernels),
        activation_(source.layer.activation),
        of_(source.layer.product),
        inputs_(source.inputs),
        to_(source.output),
        bias_(source.layer.bias) {
    if (inputs_.size() > 1) return;
    const WeightView weights = source.layer.view_weights();
    for (std::int64_t c = 0; c < of_.columns; ++c) {
      for (std::int64_t k = 0; k < of_.sums; ++k) {
        weights_.push_back(weights.at(static_cast<std::size_t>(c), static_cast<std::size_t>(k)));
      }
    }
  }

  void run(const Frame& frame) const override {
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      float* to = frame.at<float>(to_, unit);
      multiply_all(0, frame.at<float>(inputs_[0], unit),
                   inputs_.size() > 1 ? frame.at<float>(inputs_[1], unit) : nullptr, to);
      kernels_.activate(activation_, frame.at<float>(to_, unit), frame.at<float>(to_, unit),
                        round_up(to_.shape.values(), kernels_.lanes));
    }
  }
  std::string kernel() const override { return "matmul"; }

 private:
  void multiply_all(std::size_t at, const float* first, const float* second, float*& to) const {
    if (at == of_.matrices.size()) return multiply(first, second, to);
    const Product::Loop& loop = of_.matrices[at];
    for (std::int64_t i = 0; i < loop.count; ++i) {
      multiply_all(at + 1, first + i * loop.first,
                   second == nullptr ? nullptr : second + i * loop.second, to);
    }
  }
  void multiply(const float* first, const float* second, float*& to) const {
    for (std::int64_t r = 0; r < of_.rows; ++r) {
      for (std::int64_t c = 0; c < of_.columns; ++c) {
        float sum = bias_.empty() ? 0 : bias_[static_cast<std::size_t>(c)];
        for (std::int64_t k = 0; k < of_.sums; ++k) {
          const float a = first[of_.first_transposed ? k * of_.rows + r : r * of_.sums + k];
          const float b =
              second == nullptr
                  ? weights_[static_cast<std::size_t>(c * of_.sums + k)]
                  : second[of_.second_transposed ? c * of_.sums + k : k * of_.columns + c];
          sum += a * b;
        }
        *to++ = sum;
      }
    }
  }

  const Kernels& kernels_;
  Activation activation_;
  Product of_;
  std::vector<Placement> inputs_;
  Placement to_;
  std::vector<float> weights_;  // [columns][sums]
  std::vector<float> bias_;
};

}  // namespace

std::unique_ptr<Op> make_matmul(const FloatLayer& source) {
  return std::make_unique<MatMul>(source);
}

}  // namespace lenet::native

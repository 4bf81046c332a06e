#include <algorithm>
#include <cmath>

#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

/// Rows of values by their mean and variance, of a tensor in the order of the program.
class Normalize final : public Op {
 public:
  explicit Normalize(const FloatLayer& source)
      : count_(source.layer.axis.count),
        epsilon_(source.layer.epsilon),
        subtracts_mean_(source.layer.subtracts_mean),
        scale_(source.layer.scale),
        bias_(source.layer.bias),
        from_(source.inputs[0]),
        to_(source.output) {}

  void run(const Frame& frame) const override {
    const std::int64_t rows = from_.shape.values() / count_;
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      const float* const from = frame.at<float>(from_, unit);
      float* const to = frame.at<float>(to_, unit);
      frame.each(rows,
                 [&](std::int64_t row) { normalize(from + row * count_, to + row * count_); });
    }
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return "normalize"; }

 private:
  void normalize(const float* from, float* to) const {
    double mean = 0;
    for (std::int64_t i = 0; i < count_ && subtracts_mean_; ++i)
      mean += static_cast<double>(from[i]);
    mean /= static_cast<double>(count_);
    double variance = 0;
    for (std::int64_t i = 0; i < count_; ++i) {
      const double apart = static_cast<double>(from[i]) - mean;
      variance += apart * apart;
    }
    variance /= static_cast<double>(count_);
    const double factor = 1 / std::sqrt(variance + static_cast<double>(epsilon_));
    for (std::int64_t i = 0; i < count_; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const auto normal = static_cast<float>((static_cast<double>(from[i]) - mean) * factor);
      to[i] = normal * (scale_.empty() ? 1 : scale_[at]) + (bias_.empty() ? 0 : bias_[at]);
    }
  }

  std::int64_t count_;
  float epsilon_;
  bool subtracts_mean_;
  std::vector<float> scale_;
  std::vector<float> bias_;
  Placement from_;
  Placement to_;
};

/// Numbers that are the same for each image.
class Constant final : public Op {
 public:
  explicit Constant(const FloatLayer& source)
      : numbers_(source.layer.numbers), to_(source.output) {}

  void run(const Frame& frame) const override {
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      std::copy(numbers_.begin(), numbers_.end(), frame.at<float>(to_, unit));
    }
  }
  std::string kernel() const override { return "constant"; }

 private:
  std::vector<float> numbers_;
  Placement to_;
};

}  // namespace

std::unique_ptr<Op> make_normalize(const FloatLayer& source) {
  return std::make_unique<Normalize>(source);
}
std::unique_ptr<Op> make_constant(const FloatLayer& source) {
  return std::make_unique<Constant>(source);
}

}  // namespace lenet::native

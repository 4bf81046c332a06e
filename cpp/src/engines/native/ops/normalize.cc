#include <algorithm>

#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

/// Rows of values by their mean and variance, of a tensor in the order of the program.
class Normalize final : public Op {
 public:
  explicit Normalize(const PlacedLayer& source)
      : kernels_(source.kernels),
        activation_(source.layer.activation),
        from_(source.inputs[0]),
        to_(source.output),
        scale_(source.layer.get<NormalizeParams>().scale),
        bias_(source.layer.get<NormalizeParams>().bias) {
    const auto& params = source.layer.get<NormalizeParams>();
    task_.count = params.count;
    task_.scale = scale_.empty() ? nullptr : scale_.data();
    task_.bias = bias_.empty() ? nullptr : bias_.data();
    task_.epsilon = params.epsilon;
    task_.subtracts_mean = params.subtracts_mean;
  }

  void run(const Frame& frame) const override {
    const std::int64_t rows = from_.shape.values() / task_.count;
    frame.each_rows(frame.count, rows, [&](std::int64_t unit, std::int64_t row, std::int64_t last) {
      NormalizeTask task = task_;
      task.from = frame.at<float>(from_, unit) + row * task.count;
      task.to = frame.at<float>(to_, unit) + row * task.count;
      task.rows = last - row;
      kernels_.normalize(task);
      activate_run(kernels_, activation_, task.to, task.rows * task.count);
      if (last == rows) clear_behind(to_, frame.at<float>(to_, unit));
    });
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return "normalize"; }

 private:
  const Kernels& kernels_;
  Activation activation_;
  Placement from_;
  Placement to_;
  std::vector<float> scale_;
  std::vector<float> bias_;
  NormalizeTask task_{};
};

/// Numbers that are the same for each image.
class Constant final : public Op {
 public:
  explicit Constant(const PlacedLayer& source)
      : numbers_(source.layer.get<ConstantParams>().numbers), to_(source.output) {}

  void run(const Frame& frame) const override {
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      std::copy(numbers_.begin(), numbers_.end(), frame.at<float>(to_, unit));
      clear_behind(to_, frame.at<float>(to_, unit));
    }
  }
  std::string kernel() const override { return "constant"; }

 private:
  std::vector<float> numbers_;
  Placement to_;
};

}  // namespace

std::unique_ptr<Op> make_normalize(const PlacedLayer& source) {
  return std::make_unique<Normalize>(source);
}
std::unique_ptr<Op> make_constant(const PlacedLayer& source) {
  return std::make_unique<Constant>(source);
}

}  // namespace lenet::native

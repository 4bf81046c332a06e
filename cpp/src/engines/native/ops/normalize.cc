#include <algorithm>

#include "engines/native/ops/families.h"
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
    }
  }
  std::string kernel() const override { return "constant"; }

 private:
  std::vector<float> numbers_;
  Placement to_;
};

void check_normalize(const LayerCheck& of) {
  const auto& norm = of.layer.get<NormalizeParams>();
  of.require_axis({norm.count, 1});
  of.require_same_values();
  for (const std::vector<float>* numbers : {&norm.scale, &norm.bias}) {
    of.require(numbers->empty() || static_cast<std::int64_t>(numbers->size()) == norm.count,
               "has numbers for another number of values");
  }
}

void check_constant(const LayerCheck& of) {
  const auto count = static_cast<std::int64_t>(of.layer.get<ConstantParams>().numbers.size());
  of.require(count == of.output().values(), "has another number of values than it gives");
}

}  // namespace

extern const LayerFamily kNormalizeFamily = {check_normalize, make_op<Normalize>};
extern const LayerFamily kConstantFamily = {check_constant, make_op<Constant>};

}  // namespace lenet::native

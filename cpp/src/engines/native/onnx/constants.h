/// \file
/// What in an .onnx depends on no image: constants, and shapes that are computed of them.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>

#include "engines/native/onnx/step.h"

namespace lenet::native {

/// Stands in a shape for the number of images, where the model leaves it open.
inline constexpr std::int64_t kImages = std::numeric_limits<std::int64_t>::min();

/// Dimensions of a tensor.
inline constexpr std::size_t kMaxRank = 9;

class OnnxConstants {
 public:
  using Tensor = std::shared_ptr<const OnnxTensor>;

  explicit OnnxConstants(bool check_finite) : check_finite_(check_finite) {}
  bool has(const std::string& name) const { return tensors_.count(name) > 0; }
  /// \returns whether there was none of that name.
  bool add(const std::string& name, Tensor tensor) { return tensors_.emplace(name, tensor).second; }
  void add_integers(const OnnxStep& step, Integers values);

  /// An input of a node. \throws Error Unsupported: it is no constant of that type.
  const OnnxTensor& floats(const OnnxStep& step, std::size_t input, const char* what) const;
  /// The same, of values that are computed with. \throws Error BadModel: one is not finite, which a
  /// relu behind it would hide, and check_finite is set.
  const OnnxTensor& weights(const OnnxStep& step, std::size_t input, const char* what) const;
  const Integers& integers(const OnnxStep& step, std::size_t input, const char* what) const;
  /// Whether an input is a constant.
  bool is_constant(const OnnxStep& step, std::size_t input) const {
    return step.has_input(input) && has(step.node().inputs[input]);
  }

  /// Axes, which were an attribute until the operator set `since` made them the second input.
  Integers axes(const OnnxStep& step, std::int64_t since) const;

  /// Computes a node all of whose inputs are constants.
  /// \throws Error Unsupported: this cannot compute the operator.
  void compute(const OnnxStep& step);

 private:
  const OnnxTensor& input(const OnnxStep& step, std::size_t index) const {
    return *tensors_.at(step.node().inputs[index]);
  }
  void give(const OnnxStep& step, Tensor tensor) { add(step.node().outputs[0], std::move(tensor)); }
  Tensor constant(const OnnxStep& step) const;
  Integers gather(const OnnxStep& step) const;
  Integers slice(const OnnxStep& step) const;
  Integers concat(const OnnxStep& step) const;
  Shape reshape(const OnnxStep& step) const;

  bool check_finite_;
  std::map<std::string, Tensor> tensors_;
};

/// Shapes without the sizes at `axes`, each of which is 1. \throws Error BadModel
Shape squeezed(const OnnxStep& step, const Shape& shape, const Integers& axes);
/// Shapes with a size of 1 more at each of `axes`, which count in the result. \throws Error
/// BadModel
Shape unsqueezed(const OnnxStep& step, const Shape& shape, const Integers& axes);

}  // namespace lenet::native

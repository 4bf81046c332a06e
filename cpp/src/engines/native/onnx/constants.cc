#include "engines/native/onnx/constants.h"

#include <algorithm>
#include <set>
#include <utility>

#include "finite.h"
#include "io/printable.h"

namespace lenet::native {
namespace {

/// Shapes are computed from lists no longer than this.
constexpr std::size_t kMostListed = 64;

std::set<std::size_t> axis_set(const OnnxStep& step, const Integers& axes, std::size_t rank) {
  std::set<std::size_t> found;
  for (const std::int64_t axis : axes) {
    step.check(found.insert(step.axis(axis, rank)).second, "an axis is named twice");
  }
  return found;
}

std::int64_t values_of(const OnnxTensor& tensor) {
  return static_cast<std::int64_t>(tensor.floats.size() + tensor.integers.size());
}

}  // namespace

Shape squeezed(const OnnxStep& step, const Shape& shape, const Integers& axes) {
  const std::set<std::size_t> gone = axis_set(step, axes, shape.size());
  Shape result;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (gone.count(i) == 0) result.push_back(shape[i]);
    step.check(gone.count(i) == 0 || shape[i] == 1, "a size that is squeezed is not 1");
  }
  return result;
}

Shape unsqueezed(const OnnxStep& step, const Shape& shape, const Integers& axes) {
  const std::size_t rank = shape.size() + axes.size();
  step.require(rank <= kMaxRank, "tensor of so many dimensions");
  const std::set<std::size_t> added = axis_set(step, axes, rank);
  Shape result;
  auto from = shape.begin();
  for (std::size_t i = 0; i < rank; ++i) result.push_back(added.count(i) > 0 ? 1 : *from++);
  return result;
}

void OnnxConstants::add_integers(const OnnxStep& step, Integers values) {
  OnnxTensor tensor;
  tensor.dtype = kOnnxInt64;
  tensor.shape = {static_cast<std::int64_t>(values.size())};
  tensor.integers = std::move(values);
  give(step, std::make_shared<OnnxTensor>(std::move(tensor)));
}

const OnnxTensor& OnnxConstants::floats(const OnnxStep& step, std::size_t index,
                                        const char* what) const {
  if (!is_constant(step, index) || input(step, index).dtype != kOnnxFloat) {
    step.unsupported(std::string("operator whose ") + what + " is no float32 constant");
  }
  return input(step, index);
}

const OnnxTensor& OnnxConstants::weights(const OnnxStep& step, std::size_t index,
                                         const char* what) const {
  const OnnxTensor& found = floats(step, index, what);
  if (check_finite_ && !all_finite(found.floats.data(), found.floats.size())) {
    step.damaged(std::string("its ") + what + " '" + printable(step.node().inputs[index]) +
                 "' holds NaN or infinity; set check_finite to false to let it through");
  }
  return found;
}

const Integers& OnnxConstants::integers(const OnnxStep& step, std::size_t index,
                                        const char* what) const {
  const bool known = is_constant(step, index);
  const int dtype = known ? input(step, index).dtype : 0;
  if (dtype != kOnnxInt64 && dtype != kOnnxInt32 && dtype != kOnnxBool) {
    step.unsupported(std::string("operator whose ") + what + " is not known from the model");
  }
  step.check(input(step, index).shape.size() <= 1, "a list of numbers is no list");
  return input(step, index).integers;
}

Integers OnnxConstants::axes(const OnnxStep& step, std::int64_t since) const {
  const bool as_input = step.opset() >= since;
  step.check(!(as_input ? step.has("axes") : step.has_input(1)), "its axes have another place");
  const bool given = as_input ? step.has_input(1) : step.has("axes");
  step.require(given, "operator without axes");
  return as_input ? integers(step, 1, "axes") : step.integers("axes", {});
}

void OnnxConstants::compute(const OnnxStep& step) {
  const std::string& type = step.node().type;
  const auto with_shape = [&](Shape shape) {
    OnnxTensor tensor = input(step, 0);
    tensor.shape = std::move(shape);
    give(step, std::make_shared<OnnxTensor>(std::move(tensor)));
  };
  if (type == "Constant") return give(step, constant(step));
  if (type == "Identity") return give(step, tensors_.at(step.node().inputs[0]));
  if (type == "Reshape") return with_shape(reshape(step));
  if (type == "Squeeze") return with_shape(squeezed(step, input(step, 0).shape, axes(step, 13)));
  if (type == "Unsqueeze") {
    return with_shape(unsqueezed(step, input(step, 0).shape, axes(step, 13)));
  }
  if (type == "Gather") {
    const bool scalar = input(step, 1).shape.empty();
    add_integers(step, gather(step));
    if (!scalar) return;
    OnnxTensor one = *tensors_.at(step.node().outputs[0]);
    one.shape.clear();
    tensors_[step.node().outputs[0]] = std::make_shared<OnnxTensor>(std::move(one));
    return;
  }
  if (type == "Slice") return add_integers(step, slice(step));
  if (type == "Concat") return add_integers(step, concat(step));
  if (type == "Cast") {
    const std::int64_t to = step.integer("to", 0);
    step.require(to == kOnnxInt64 || to == kOnnxInt32, "such conversion of a constant");
    integers(step, 0, "value");
    return give(step, tensors_.at(step.node().inputs[0]));
  }
  step.unsupported("kernel for this operator on constants");
}

OnnxConstants::Tensor OnnxConstants::constant(const OnnxStep& step) const {
  using Attribute = OnnxAttribute;
  step.check(step.node().attributes.size() == 1, "it does not have exactly one value");
  const std::string& name = step.node().attributes.begin()->first;
  OnnxTensor tensor;
  if (name == "value")
    return std::make_shared<OnnxTensor>(step.attribute(name, Attribute::kTensor).tensor);
  if (name == "value_float" || name == "value_floats") {
    tensor.dtype = kOnnxFloat;
    tensor.floats = name == "value_float" ? std::vector<float>{step.number(name, 0)}
                                          : step.attribute(name, Attribute::kFloats).numbers;
  } else {
    tensor.dtype = kOnnxInt64;
    tensor.integers =
        name == "value_int" ? Integers{step.integer(name, 0)} : step.integers(name, {});
  }
  if (name.back() == 's') tensor.shape = {values_of(tensor)};
  return std::make_shared<OnnxTensor>(std::move(tensor));
}

Integers OnnxConstants::gather(const OnnxStep& step) const {
  const Integers& values = integers(step, 0, "list");
  const Integers& indices = integers(step, 1, "indices");
  step.require(step.axis(step.integer("axis", 0), input(step, 0).shape.size()) == 0 &&
                   indices.size() <= kMostListed,
               "such gathering");
  Integers found;
  for (const std::int64_t index : indices) found.push_back(values[step.axis(index, values.size())]);
  return found;
}

Integers OnnxConstants::slice(const OnnxStep& step) const {
  const Integers& values = integers(step, 0, "list");
  const bool as_inputs = step.opset() >= 10;
  const auto list = [&](const char* name, std::size_t place, const Integers& otherwise) {
    if (!as_inputs) return step.integers(name, otherwise);
    return step.has_input(place) ? integers(step, place, name) : otherwise;
  };
  const Integers starts = list("starts", 1, {});
  const Integers ends = list("ends", 2, {});
  const Integers axes = list("axes", 3, {0});
  const Integers steps = as_inputs ? list("steps", 4, {1}) : Integers{1};
  step.require(starts.size() == 1 && ends.size() == 1 && steps == Integers{1} && axes.size() == 1 &&
                   step.axis(axes[0], input(step, 0).shape.size()) == 0 &&
                   values.size() <= kMostListed,
               "such slice");
  const auto size = static_cast<std::int64_t>(values.size());
  const auto place = [&](std::int64_t given) {
    return std::clamp<std::int64_t>(given < 0 ? std::max(given, -size) + size : given, 0, size);
  };
  const std::int64_t begin = place(starts[0]);
  const std::int64_t end = std::max(place(ends[0]), begin);
  return {values.begin() + begin, values.begin() + end};
}

Integers OnnxConstants::concat(const OnnxStep& step) const {
  Integers joined;
  for (std::size_t i = 0; i < step.node().inputs.size(); ++i) {
    const Integers& part = integers(step, i, "list");
    step.check(input(step, i).shape.size() == 1, "it joins what is no list");
    joined.insert(joined.end(), part.begin(), part.end());
    step.require(joined.size() <= kMaxRank, "tensor of so many dimensions");
  }
  step.axis(step.integer("axis", 0), 1);
  return joined;
}

Shape OnnxConstants::reshape(const OnnxStep& step) const {
  const OnnxTensor& tensor = input(step, 0);
  Shape shape = integers(step, 1, "shape");
  step.require(shape.size() <= kMaxRank, "tensor of so many dimensions");
  const std::int64_t values = values_of(tensor);
  std::int64_t known = 1;
  std::int64_t* open = nullptr;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0 && !step.flag("allowzero", false)) {
      step.check(i < tensor.shape.size(), "its shape copies a size that is not there");
      shape[i] = tensor.shape[i];
    }
    if (shape[i] == -1 && open == nullptr) {
      open = &shape[i];
      continue;
    }
    step.check(shape[i] > 0 && known <= values / shape[i], "its shape has other values");
    known *= shape[i];
  }
  if (open != nullptr) *open = values / known;
  step.check(known * (open == nullptr ? 1 : *open) == values, "its shape has other values");
  return shape;
}

}  // namespace lenet::native

// Operators that change the shape that a model sees, or nothing at all.

#include <algorithm>
#include <cmath>
#include <utility>

#include "engines/native/onnx/operators.h"

namespace lenet::native {
namespace {

/// Those of an image, without the first axis, which counts images.
OnnxImage reshaped(const OnnxStep& step, const OnnxNetwork& network, const OnnxImage& x,
                   const Shape& shape) {
  step.require(!shape.empty() && shape[0] == network.images(), "change of shape but of each image");
  return {x.tensor, {shape.begin() + 1, shape.end()}};
}

Shape whole_shape(const OnnxNetwork& network, const OnnxImage& x) {
  Shape shape = {network.images()};
  shape.insert(shape.end(), x.sizes.begin(), x.sizes.end());
  return shape;
}

}  // namespace

void read_dropout(const OnnxStep& step, OnnxNetwork& network) {
  if (step.has_input(2)) {
    const Integers& training = network.constants().integers(step, 2, "training_mode");
    step.require(training == Integers{0}, "training");
  }
  network.same(step);
}

void read_cast(const OnnxStep& step, OnnxNetwork& network) {
  step.require(step.integer("to", 0) == kOnnxFloat, "kernel for another type than float32");
  network.same(step);
}

void read_shape(const OnnxStep& step, OnnxNetwork& network) {
  Integers sizes = {network.images()};
  const OnnxImage& x = network.input(step);
  sizes.insert(sizes.end(), x.sizes.begin(), x.sizes.end());
  const auto size = static_cast<std::int64_t>(sizes.size());
  const auto place = [&](std::int64_t given) {
    return std::clamp<std::int64_t>(given < 0 ? std::max(given, -size) + size : given, 0, size);
  };
  const std::int64_t begin = place(step.integer("start", 0));
  const std::int64_t end = std::max(begin, place(step.integer("end", size)));
  network.constants().add_integers(step, {sizes.begin() + begin, sizes.begin() + end});
}

void read_flatten(const OnnxStep& step, OnnxNetwork& network) {
  const OnnxImage& x = network.input(step);
  const std::int64_t axis = step.integer("axis", 1);
  const auto rank = static_cast<std::int64_t>(x.sizes.size()) + 1;
  step.require(axis == 1 || (axis < 0 && axis == 1 - rank), "flattening but of each image");
  network.give(step, {x.tensor, {network.shape_of(x).values()}});
}

void read_squeeze(const OnnxStep& step, OnnxNetwork& network) {
  const OnnxImage& x = network.input(step);
  network.give(
      step, reshaped(step, network, x,
                     squeezed(step, whole_shape(network, x), network.constants().axes(step, 13))));
}
void read_unsqueeze(const OnnxStep& step, OnnxNetwork& network) {
  const OnnxImage& x = network.input(step);
  network.give(step, reshaped(step, network, x,
                              unsqueezed(step, whole_shape(network, x),
                                         network.constants().axes(step, 13))));
}

void read_reshape(const OnnxStep& step, OnnxNetwork& network) {
  const OnnxImage& x = network.input(step);
  const Shape from = whole_shape(network, x);
  Shape shape = network.constants().integers(step, 1, "shape");
  step.require(shape.size() <= kMaxRank, "tensor of so many dimensions");
  const bool copies = !step.flag("allowzero", false);
  std::size_t open = shape.size();
  double known = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0 && copies) {
      step.check(i < from.size(), "its shape copies a size that is not there");
      shape[i] = from[i];
    }
    if (shape[i] == -1) {
      step.check(open == shape.size(), "its shape has two open sizes");
      open = i;
    } else if (i > 0) {
      step.require(shape[i] > 0, "change of shape but of each image");
      known *= static_cast<double>(shape[i]);
    }
  }
  const auto values = static_cast<double>(network.shape_of(x).values());
  // An open size is what is left: of each image, or, in the first place, the images.
  if (open == 0 && !shape.empty()) shape[0] = network.images();
  if (open > 0 && open < shape.size() && std::fmod(values, known) == 0) {
    shape[open] = static_cast<std::int64_t>(values / known);
    known = values;
  }
  step.require(known == values, "change of shape but of each image");
  network.give(step, reshaped(step, network, x, shape));
}

}  // namespace lenet::native

#include "model/rule_support.h"

#include <algorithm>
#include <array>
#include <utility>

namespace lenet {

std::string either(const Step& step, const char* one, const char* other) {
  return step.has_attribute(one) || step.has(one) ? one : other;
}

std::int64_t product(const Shape& shape, std::size_t from, std::size_t to) {
  std::int64_t result = 1;
  for (std::size_t i = from; i < to; ++i) {
    if (shape[i] == kUnknown) return kUnknown;
    result *= shape[i];  // every shape's product has been bounded
  }
  return result;
}

double volume(const Shape& shape) {
  double result = 1;
  for (const std::int64_t size : shape)
    result *= static_cast<double>(std::max<std::int64_t>(1, size));
  return result;
}

void require_range(const Step& step, const Integers& values, std::size_t count, std::int64_t least,
                   std::int64_t most, const char* name) {
  step.require(values.size() == count, std::string("the number of ") + name);
  for (const std::int64_t value : values) {
    step.require(value >= least && value <= most, name);
  }
}

bool channels_last(const Step& step, const std::string& name) {
  const std::string& layout = step.text(name);
  step.require(layout == "NCHW" || layout == "AnyLayout" || layout == "NHWC", name);
  return layout == "NHWC";
}

Shape broadcast(const Step& step, const Shape& a, const Shape& b) {
  Shape shape(std::max(a.size(), b.size()));
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::size_t back = shape.size() - i;
    const std::int64_t one = back > a.size() ? 1 : a[a.size() - back];
    const std::int64_t other = back > b.size() ? 1 : b[b.size() - back];
    step.require(one == 1 || other == 1 || fits(one, other), "shapes that do not match");
    shape[i] = one == 1 || (one == kUnknown && other > 1) ? other : one;
  }
  return shape;
}

void require_vector(const Step& step, const std::string& name, std::int64_t size) {
  step.require(
      !step.has(name) || (step.in(name).shape.size() == 1 && fits(step.in(name).shape[0], size)),
      "the shape of " + name);
}

void give_rearranged(Step& step, const Shape& shape) {
  step.give("Out", shape, step.in("X").dtype);
  if (step.outputs("XShape") > 0) step.give_unused("XShape", step.declared("XShape").shape);
}

int dtype_named(const Step& step, const std::string& name) {
  constexpr std::array<std::pair<const char*, int>, 7> kNames = {{
      {"bool", kBool},
      {"int32", kInt32},
      {"int64", kInt64},
      {"float16", 4},
      {"float32", 5},
      {"float64", 6},
      {"uint8", kUint8},
  }};
  for (const auto& [known, dtype] : kNames) {
    if (name == known) return dtype;
  }
  step.fail("an element type");
}

}  // namespace lenet

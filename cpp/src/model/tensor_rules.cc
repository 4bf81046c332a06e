// Rules of operators on tensors of any meaning.

#include <algorithm>
#include <vector>

#include "model/check_graph.h"
#include "model/rule_support.h"
#include "model/rules.h"

namespace lenet {
namespace {

constexpr std::size_t kMaxRank = 9;

/// Axes that a list names, each once.
std::vector<std::size_t> distinct_axes(const Step& step, const Integers& given, std::size_t rank) {
  std::vector<std::size_t> axes;
  for (const std::int64_t each : given) {
    const std::size_t axis = step.axis(each, rank);
    step.require(std::count(axes.begin(), axes.end(), axis) == 0, "an axis named twice");
    axes.push_back(axis);
  }
  return axes;
}

}  // namespace

void infer_bmm(Step& step) {
  const Value& x = step.in("X");
  const Value& y = step.in("Y");
  step.require(x.dtype == y.dtype, "the element type");
  step.require(x.shape.size() == 3 && y.shape.size() == 3, "the rank");
  step.require(fits(x.shape[0], y.shape[0]) && fits(x.shape[2], y.shape[1]),
               "matrices that do not match");
  const Shape shape = {std::max(x.shape[0], y.shape[0]), x.shape[1], y.shape[2]};
  step.count_work(volume(shape) * static_cast<double>(std::max(x.shape[2], y.shape[1])));
  step.give("Out", shape, x.dtype);
}

void infer_p_norm(Step& step) {
  const Value& x = step.in("X");
  step.require(!step.flag("asvector"), "the norm of a whole batch");
  const std::size_t axis = step.axis(step.integer("axis"), x.shape.size());
  Shape shape = x.shape;
  if (step.flag("keepdim")) {
    shape[axis] = 1;
  } else {
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  step.give("Out", shape, x.dtype);
}

void infer_pow(Step& step) {
  step.require(!step.has("FactorTensor"), "a power that is a tensor");
  step.give_like("Out", step.in("X"));
}

void infer_compare(Step& step) {
  const Value& x = step.in("X");
  const Value& y = step.in("Y");
  step.require(x.dtype == y.dtype, "the element type");
  step.require(!step.has_attribute("axis") || step.integer("axis") == -1, "axis");
  step.give("Out", broadcast(step, x.shape, y.shape), kBool);
}

void infer_where(Step& step) {
  const Value& condition = step.in("Condition");
  const Value& x = step.in("X");
  const Value& y = step.in("Y");
  step.require(condition.dtype == kBool && x.dtype == y.dtype, "the element type");
  step.require(condition.shape.size() == x.shape.size() && x.shape.size() == y.shape.size(),
               "the rank");
  for (std::size_t i = 0; i < x.shape.size(); ++i) {
    step.require(fits(condition.shape[i], x.shape[i]) && fits(x.shape[i], y.shape[i]),
                 "shapes that do not match");
  }
  step.give_like("Out", x);
}

void infer_cast(Step& step) {
  const Value& x = step.in("X");
  if (!step.has_attribute("out_dtype")) {
    step.give("Out", x.shape, dtype_named(step, step.text("dtype")));
    return;
  }
  step.require(step.integer("in_dtype") == x.dtype, "in_dtype");
  const auto dtype = static_cast<int>(step.integer("out_dtype"));
  constexpr int kFloat64 = 6;
  step.require(dtype == kBool || dtype == kInt32 || dtype == kInt64 || dtype == kUint8 ||
                   dtype == kFloat32 || dtype == kFloat64,
               "out_dtype");
  step.give("Out", x.shape, dtype);
}

void infer_expand(Step& step) {
  step.require(!step.has("Shape") && !step.has("expand_shapes_tensor"), "a shape that is a tensor");
  const Value& x = step.in("X");
  Shape shape = step.integers("shape");
  step.require(shape.size() >= x.shape.size() && shape.size() <= kMaxRank, "shape");
  const std::size_t added = shape.size() - x.shape.size();
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i < added) {
      step.require(shape[i] >= 1, "shape");
      continue;
    }
    const std::int64_t size = x.shape[i - added];
    if (shape[i] == kUnknown) shape[i] = size;  // as it is
    // A size that is not known could be anything but what is asked for.
    step.require(shape[i] == size || (size == 1 && shape[i] >= 1), "shape");
  }
  step.give("Out", shape, x.dtype);
}

void infer_tile(Step& step) {
  step.require(!step.has("RepeatTimes") && !step.has("repeat_times_tensor"),
               "a number that is a tensor");
  const Value& x = step.in("X");
  Integers times = step.integers("repeat_times");
  step.require(times.size() <= kMaxRank && x.shape.size() <= kMaxRank, "the rank");
  require_range(step, times, times.size(), 1, kMaxStep, "repeat_times");
  Shape shape = x.shape;
  const std::size_t rank = std::max(shape.size(), times.size());
  shape.insert(shape.begin(), rank - shape.size(), 1);
  times.insert(times.begin(), rank - times.size(), 1);
  for (std::size_t i = 0; i < rank; ++i) {
    step.require(shape[i] != kUnknown || times[i] == 1, "a size that is not known");
    if (shape[i] == kUnknown) continue;
    step.require(shape[i] <= kMaxValuesPerImage / times[i], "repeat_times");
    shape[i] *= times[i];
  }
  step.give("Out", shape, x.dtype);
}

void infer_flip(Step& step) {
  const Value& x = step.in("X");
  distinct_axes(step, step.integers("axis"), x.shape.size());
  step.give_like("Out", x);
}

void infer_roll(Step& step) {
  const Value& x = step.in("X");
  const Integers shifts = step.integers("shifts");
  const Integers axes = step.integers("axis");
  step.require(!axes.empty() && shifts.size() == axes.size(), "shifts");
  for (const std::size_t axis : distinct_axes(step, axes, x.shape.size())) {
    step.require(x.shape[axis] > 0, "a size that is not known");
  }
  step.give_like("Out", x);
}

void infer_unbind(Step& step) {
  const Value& x = step.in("X");
  const std::size_t axis = step.axis(step.integer("axis"), x.shape.size());
  step.require(x.shape[axis] > 0 && static_cast<std::size_t>(x.shape[axis]) == step.outputs("Out"),
               "the number of parts");
  Shape shape = x.shape;
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  const int dtype = x.dtype;
  for (std::size_t i = 0; i < step.outputs("Out"); ++i) step.give("Out", shape, dtype, i);
}

/// With constant bounds, with strides or without.
void infer_slice(Step& step) {
  const Value& x = step.in(either(step, "Input", "X"));
  for (const char* name : {"StartsTensor", "EndsTensor", "StridesTensor", "StartsTensorList",
                           "EndsTensorList", "StridesTensorList"}) {
    step.require(!step.has(name), "bounds that are tensors");
  }
  const bool strided = step.has_attribute("strides") || step.has("strides");
  const auto optional = [&](const char* name) {
    return step.has_attribute(name) ? step.integers(name) : Integers();
  };
  const std::vector<std::size_t> axes = distinct_axes(step, step.integers("axes"), x.shape.size());
  const Integers starts = step.integers("starts");
  const Integers ends = step.integers("ends");
  const Integers strides = strided ? step.integers("strides") : Integers(axes.size(), 1);
  const Integers flags = optional("infer_flags");
  step.require(!axes.empty() && starts.size() == axes.size() && ends.size() == axes.size() &&
                   strides.size() == axes.size(),
               "the bounds");
  step.require(flags.empty() || flags == Integers(axes.size(), 1), "bounds that are not known");
  Shape shape = x.shape;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    std::int64_t& size = shape[axes[i]];
    step.require(size > 0, "a size that is not known");
    step.require(strides[i] >= 1 && strides[i] <= kMaxStep, "strides");
    const auto clamp = [size](std::int64_t at) {
      return std::clamp<std::int64_t>(at < 0 ? at + size : at, 0, size);
    };
    const std::int64_t length = clamp(ends[i]) - clamp(starts[i]);
    step.require(length >= 1, "the bounds");
    size = (length + strides[i] - 1) / strides[i];
  }
  std::vector<std::size_t> gone = distinct_axes(step, optional("decrease_axis"), x.shape.size());
  std::sort(gone.rbegin(), gone.rend());
  for (const std::size_t axis : gone) {
    step.require(std::count(axes.begin(), axes.end(), axis) == 1 && shape[axis] == 1,
                 "decrease_axis");
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  step.give("Out", shape, x.dtype);
}

}  // namespace lenet

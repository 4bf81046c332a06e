// Rules of operators that join tensors, and of those that give parts of one.

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "model/contents.h"
#include "model/rules/rules.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

void infer_concat(OperatorView& op) {
  const Value& first = op.in("X");
  const Integers given = op.integers("axis");
  op.require(given.size() == 1, "axis");
  const std::size_t axis = op.axis(given[0], first.shape.size());
  Shape shape = first.shape;
  for (std::size_t i = 1; i < op.count("X"); ++i) {
    const Value& next = op.in("X", i);
    op.require(next.shape.size() == shape.size() && next.dtype == first.dtype, "the inputs");
    for (std::size_t k = 0; k < shape.size(); ++k) {
      if (k == axis) {
        const bool known = shape[k] != kUnknown && next.shape[k] != kUnknown;
        shape[k] = known ? shape[k] + next.shape[k] : kUnknown;
      } else {
        op.require(fits(shape[k], next.shape[k]), "the inputs");
        shape[k] = std::max(shape[k], next.shape[k]);
      }
    }
  }
  op.give("Out", shape, first.dtype);
}

void infer_stack(OperatorView& op) {
  const Value& first = op.in("X");
  for (std::size_t i = 1; i < op.count("X"); ++i) {
    const Value& next = op.in("X", i);
    op.require(next.shape.size() == first.shape.size() && next.dtype == first.dtype, "the inputs");
    for (std::size_t k = 0; k < first.shape.size(); ++k) {
      op.require(fits(first.shape[k], next.shape[k]), "the inputs");
    }
  }
  Shape shape = first.shape;
  const std::size_t axis = op.axis(op.integer("axis"), shape.size() + 1);
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis),
               static_cast<std::int64_t>(op.count("X")));
  op.give(op.outputs("Y") > 0 ? "Y" : "Out", shape, first.dtype);
}

void infer_split(OperatorView& op) {
  const Value& x = op.in("X");
  const Integers given = op.integers("axis");
  op.require(given.size() == 1, "axis");
  const std::size_t axis = op.axis(given[0], x.shape.size());
  Integers sections;
  if (op.has_attribute("sections") || op.has("sections")) sections = op.integers("sections");
  const std::size_t parts = op.outputs("Out");
  const std::int64_t size = x.shape[axis];
  op.require(size > 0 && parts > 0, "the size");
  if (sections.empty()) {
    const auto count = static_cast<std::int64_t>(parts);
    const bool even = op.integer("num") == count && size % count == 0;
    op.require(even, "the number of parts");
    sections.assign(parts, size / count);
  }
  std::int64_t left = size;
  std::optional<std::size_t> open;
  for (std::size_t i = 0; i < sections.size(); ++i) {
    if (sections[i] == kUnknown) {
      op.require(!open, "the sections");
      open = i;
      continue;
    }
    op.require(sections[i] >= 1 && sections[i] <= left, "the sections");
    left -= sections[i];
  }
  if (open) {
    sections[*open] = left;
    left = 0;
    op.require(sections[*open] >= 1, "the sections");
  }
  op.require(left == 0 && sections.size() == parts, "the sections");
  for (std::size_t i = 0; i < parts; ++i) {
    Shape shape = x.shape;
    shape[axis] = sections[i];
    op.give("Out", shape, x.dtype, i);
  }
}

void infer_unbind(OperatorView& op) {
  const Value& x = op.in("X");
  const std::size_t axis = op.axis(op.integer("axis"), x.shape.size());
  op.require(x.shape[axis] > 0 && static_cast<std::size_t>(x.shape[axis]) == op.outputs("Out"),
             "the number of parts");
  Shape shape = x.shape;
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  const int dtype = x.dtype;
  for (std::size_t i = 0; i < op.outputs("Out"); ++i) op.give("Out", shape, dtype, i);
}

/// With constant bounds, with strides or without.
void infer_slice(OperatorView& op) {
  const Value& x = op.in(op.present({"Input", "X"}));
  const bool strided = op.has_attribute("strides") || op.has("strides");
  const auto optional = [&](const char* name) {
    return op.has_attribute(name) ? op.integers(name) : Integers();
  };
  const std::vector<std::size_t> axes = distinct_axes(op, op.integers("axes"), x.shape.size());
  const Integers starts = op.integers("starts");
  const Integers ends = op.integers("ends");
  const Integers strides = strided ? op.integers("strides") : Integers(axes.size(), 1);
  const Integers flags = optional("infer_flags");
  op.require(!axes.empty() && starts.size() == axes.size() && ends.size() == axes.size() &&
                 strides.size() == axes.size(),
             "the bounds");
  op.require(flags.empty() || flags == Integers(axes.size(), 1), "bounds that are not known");
  Shape shape = x.shape;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    std::int64_t& size = shape[axes[i]];
    op.require(size > 0, "a size that is not known");
    op.require(strides[i] >= 1 && strides[i] <= kMaxStep, "strides");
    const auto clamp = [size](std::int64_t at) {
      return std::clamp<std::int64_t>(at < 0 ? at + size : at, 0, size);
    };
    const std::int64_t length = clamp(ends[i]) - clamp(starts[i]);
    op.require(length >= 1, "the bounds");
    size = (length + strides[i] - 1) / strides[i];
  }
  std::vector<std::size_t> gone = distinct_axes(op, optional("decrease_axis"), x.shape.size());
  std::sort(gone.rbegin(), gone.rend());
  for (const std::size_t axis : gone) {
    op.require(std::count(axes.begin(), axes.end(), axis) == 1 && shape[axis] == 1,
               "decrease_axis");
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  op.give("Out", shape, x.dtype);
}

// ---- of ONNX: images are joined; of lists that shapes are computed from there are parts too

void infer_onnx_concat(OperatorView& op) {
  if (!op.is_constant()) return infer_concat(op);
  Integers joined;
  for (std::size_t i = 0; i < op.count("X"); ++i) {
    const std::optional<Integers> part = known_list(op.in("X", i));
    op.supports(part && op.in("X", i).shape.size() == 1, "concat of constants but lists");
    joined.insert(joined.end(), part->begin(), part->end());
    op.supports(joined.size() <= kMaxListed, "list of so many numbers");
  }
  op.axis(op.integer("axis"), 1);
  give_list(op, std::move(joined));
}

void infer_onnx_gather(OperatorView& op) {
  op.supports(op.is_constant(), "kernel for this operator");
  const Integers values = op.integers("X");
  const Integers indices = op.integers("Indices");
  op.supports(op.in("X").shape.size() == 1, "such gathering");
  op.axis(op.integer("axis", 0), 1);
  Integers found;
  for (const std::int64_t index : indices) found.push_back(values[op.axis(index, values.size())]);
  op.give("Out", op.in("Indices").shape, kInt64);
  op.give_contents("Out", found);
}

void infer_onnx_slice(OperatorView& op) {
  op.supports(op.is_constant(), "kernel for this operator");
  const Integers values = op.integers("X");
  const Integers starts = op.integers("starts");
  const Integers ends = op.integers("ends");
  op.supports(op.in("X").shape.size() == 1 && starts.size() == 1 && ends.size() == 1 &&
                  op.axis(op.integer("axes", 0), 1) == 0 && op.integer("steps", 1) == 1,
              "such slice");
  const auto [begin, end] =
      slice_bounds(starts[0], ends[0], static_cast<std::int64_t>(values.size()));
  give_list(op, {values.begin() + begin, values.begin() + end});
}

constexpr OperatorRule kRules[] = {
    {kDesc, "concat", "X* AxisTensor!", "Out", "axis:int", infer_concat},
    {kPir, "concat", "X* axis", "Out", "", infer_concat},
    {kOnnx, "Concat", "X*", "Out", "axis:long", infer_onnx_concat},
    {kOnnx, "Gather", "X Indices", "Out", "axis:long?", infer_onnx_gather},
    {kOnnx, "Slice", "X", "Out", "axes:longs? ends:longs starts:longs", infer_onnx_slice, kMinOpset,
     9},
    {kOnnx, "Slice", "X starts ends axes? steps?", "Out", "", infer_onnx_slice, 10},
    {kDesc, "stack", "X*", "Y", "axis:int", infer_stack},
    {kPir, "stack", "X*", "Out", "axis:int", infer_stack},
    {kDesc, "split", "X AxisTensor! SectionsTensorList!", "Out*", "axis:int num:int sections:ints",
     infer_split},
    {kPir, "split", "X sections axis", "Out*", "", infer_split},
    {kPir, "split_with_num", "X axis", "Out*", "num:int", infer_split},
    {kPaddle, "unbind", "X", "Out*", "axis:int", infer_unbind},
    {kDesc, "slice", "Input StartsTensor! EndsTensor! StartsTensorList! EndsTensorList!", "Out",
     "axes:ints starts:ints ends:ints infer_flags:ints decrease_axis:ints", infer_slice},
    {kPir, "slice", "X starts ends", "Out",
     "axes:longs infer_flags:longs decrease_axis:longs|empty", infer_slice},
    {kDesc, "strided_slice",
     "Input StartsTensor! EndsTensor! StridesTensor! StartsTensorList! EndsTensorList! "
     "StridesTensorList!",
     "Out", "axes:ints starts:ints ends:ints strides:ints infer_flags:ints decrease_axis:ints",
     infer_slice},
    {kPir, "strided_slice", "X starts ends strides", "Out", "axes:ints", infer_slice},
};

}  // namespace

RuleRows parts_rules() { return kRules; }

}  // namespace lenet

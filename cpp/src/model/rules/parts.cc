// Rules of operators that join tensors, and of those that give parts of one.

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "model/contents.h"
#include "model/rules/rules.h"

namespace lenet {
namespace {

void infer_concat(OperatorView& op) {
  const Value& first = op.in("X");
  const std::size_t axis = op.axis(op.integer("axis"), first.shape.size());
  Shape shape = first.shape;
  for (std::size_t i = 1; i < op.count("X"); ++i) {
    const Value& next = op.in("X", i);
    op.require(next.shape.size() == shape.size() && next.dtype == first.dtype, "the inputs");
    for (std::size_t k = 0; k < shape.size(); ++k) {
      const std::int64_t size = next.shape[k];
      if (k == axis) {
        const bool known = shape[k] != kUnknown && size != kUnknown;
        shape[k] = known ? shape[k] + size : kUnknown;
      } else {
        op.require(fits(shape[k], size), "the inputs");
        shape[k] = std::max(shape[k], size);
      }
    }
  }
  op.give_shape(shape);
}

void infer_stack(OperatorView& op) {
  const Value& first = op.in("X");
  for (std::size_t i = 1; i < op.count("X"); ++i) {
    const Value& next = op.in("X", i);
    op.require(fits(next.shape, first.shape) && next.dtype == first.dtype, "the inputs");
  }
  Shape shape = first.shape;
  const std::size_t axis = op.axis(op.integer("axis"), shape.size() + 1);
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis),
               static_cast<std::int64_t>(op.count("X")));
  op.give(op.outputs("Y") > 0 ? "Y" : "Out", shape, first.dtype);
}

void infer_split(OperatorView& op) {
  const Value& x = op.in("X");
  const std::size_t axis = op.axis(op.integer("axis"), x.shape.size());
  Integers sections = op.integers("sections", Integers());
  const std::size_t parts = op.outputs("Out");
  const std::int64_t size = x.shape[axis];
  op.require(size > 0, "the size");
  if (sections.empty()) {
    const auto count = static_cast<std::int64_t>(parts);
    op.require(op.integer("num") == count && size % count == 0, "the number of parts");
    sections.assign(parts, size / count);
  }
  const auto open = std::find(sections.begin(), sections.end(), kUnknown);  // takes what is left
  std::int64_t left = size;
  for (auto section = sections.begin(); section != sections.end(); ++section) {
    if (section == open) continue;
    op.require(*section >= 1 && *section <= left, "the sections");
    left -= *section;
  }
  const bool complete = open == sections.end() ? left == 0 : left >= 1;
  op.require(complete && sections.size() == parts, "the sections");
  if (open != sections.end()) *open = left;
  for (std::size_t i = 0; i < parts; ++i) {
    Shape shape = x.shape;
    shape[axis] = sections[i];
    op.give("Out", shape, x.dtype, i);
  }
}

void infer_unbind(OperatorView& op) {
  const Value& x = op.in("X");
  const std::size_t axis = op.axis(op.integer("axis"), x.shape.size());
  const std::size_t parts = op.outputs("Out");
  op.require(x.shape[axis] == static_cast<std::int64_t>(parts), "the number of parts");
  Shape shape = x.shape;
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  for (std::size_t i = 0; i < parts; ++i) op.give("Out", shape, x.dtype, i);
}

/// With constant bounds, with strides or without.
void infer_slice(OperatorView& op) {
  const Value& x = op.in(op.present({"Input", "X"}));
  const std::vector<std::size_t> axes = distinct_axes(op, op.integers("axes"), x.shape.size());
  const Integers starts = op.integers("starts");
  const Integers ends = op.integers("ends");
  const Integers ones(axes.size(), 1);
  const Integers strides = op.integers("strides", ones);
  const Integers flags = op.integers("infer_flags", Integers());
  op.require(!axes.empty() && starts.size() == axes.size() && ends.size() == axes.size() &&
                 strides.size() == axes.size(),
             "the bounds");
  op.require(flags.empty() || flags == ones, "bounds that are not known");
  Shape shape = x.shape;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    std::int64_t& size = shape[axes[i]];
    op.require(size > 0, "a size that is not known");
    op.require(strides[i] >= 1 && strides[i] <= kMaxStep, "strides");
    const auto [begin, end] = slice_bounds(starts[i], ends[i], size);
    op.require(begin < end, "the bounds");
    size = (end - begin + strides[i] - 1) / strides[i];
  }
  std::vector<std::size_t> gone =
      distinct_axes(op, op.integers("decrease_axis", Integers()), x.shape.size());
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

/// The list that an operator takes parts of; no other tensors are taken apart.
Integers constant_list(const OperatorView& op) {
  op.supports(op.is_constant() && op.in("X").shape.size() == 1, "kernel for this operator");
  return op.integers("X");
}

void infer_onnx_gather(OperatorView& op) {
  const Integers values = constant_list(op);
  op.axis(op.integer("axis", 0), 1);
  Integers found;
  for (const std::int64_t index : op.integers("Indices")) {
    found.push_back(values[op.axis(index, values.size())]);
  }
  op.give("Out", op.in("Indices").shape, kInt64);
  op.give_contents("Out", found);
}

void infer_onnx_slice(OperatorView& op) {
  const Integers values = constant_list(op);
  const Integers starts = op.integers("starts");
  const Integers ends = op.integers("ends");
  op.supports(starts.size() == 1 && ends.size() == 1 && op.axis(op.integer("axes", 0), 1) == 0 &&
                  op.integer("steps", 1) == 1,
              "such slice");
  const auto [begin, end] =
      slice_bounds(starts[0], ends[0], static_cast<std::int64_t>(values.size()));
  give_list(op, {values.begin() + begin, values.begin() + end});
}

constexpr OperatorRule kRules[] = {
    {kPaddle, "concat", "X* AxisTensor!/axis", "Out", "axis:int/", infer_concat},
    {kOnnx, "Concat", "X*", "Out", "axis:long", infer_onnx_concat},
    {kOnnx, "Gather", "X Indices", "Out", "axis:long?", infer_onnx_gather},
    {kOnnx, "Slice", "X /starts /ends /axes? /steps?", "Out",
     "axes:longs?/ ends:longs/ starts:longs/", infer_onnx_slice, 10},
    {kPaddle, "stack", "X*", "Y/Out", "axis:int", infer_stack},
    {kPaddle, "split", "X AxisTensor!/sections SectionsTensorList!/axis", "Out*",
     "axis:int/ num:int/ sections:ints/", infer_split},
    {kPir, "split_with_num", "X axis", "Out*", "num:int", infer_split},
    {kPaddle, "unbind", "X", "Out*", "axis:int", infer_unbind},
    {kPaddle, "slice",
     "Input/X StartsTensor!/starts EndsTensor!/ends StartsTensorList!/ EndsTensorList!/", "Out",
     "axes:ints/axes:longs starts:ints/ ends:ints/ infer_flags:ints/infer_flags:longs "
     "decrease_axis:ints/decrease_axis:longs|empty",
     infer_slice},
    {kPaddle, "strided_slice",
     "Input/X StartsTensor!/starts EndsTensor!/ends StridesTensor!/strides StartsTensorList!/ "
     "EndsTensorList!/ StridesTensorList!/",
     "Out", "axes:ints starts:ints/ ends:ints/ strides:ints/ infer_flags:ints/ decrease_axis:ints/",
     infer_slice},
};

}  // namespace

RuleRows parts_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet

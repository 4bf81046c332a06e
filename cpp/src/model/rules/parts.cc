// Rules of operators that join tensors, and of those that give parts of one.

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <optional>

#include "model/graph.h"
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
  op.give_shape(shape);
}

/// \param sections empty: parts of one size
void give_parts(OperatorView& op, std::size_t axis, Integers sections) {
  const Value& x = op.in("X");
  const std::size_t parts = op.outputs("Out");
  const std::int64_t size = x.shape[axis];
  if (sections.empty()) {
    const auto count = static_cast<std::int64_t>(parts);
    op.require(size % count == 0, "the number of parts");
    sections.assign(parts, size / count);
  }
  const auto open = std::find(sections.begin(), sections.end(), kUnknown);  // takes what is left
  std::int64_t left = size;
  for (auto section = sections.begin(); section != sections.end(); ++section) {
    if (section == open) continue;
    op.require(*section >= 0 && *section <= left, "the sections");
    left -= *section;
  }
  op.require((left == 0 || open != sections.end()) && sections.size() == parts, "the sections");
  if (open != sections.end()) *open = left;
  for (std::size_t i = 0; i < parts; ++i) {
    Shape shape = x.shape;
    shape[axis] = sections[i];
    op.give("Out", shape, x.dtype, i);
  }
}

void infer_split(OperatorView& op) {
  const Shape& shape = op.in("X").shape;
  const std::size_t axis = op.axis(op.integer("axis"), shape.size());
  const Integers sections = op.integers("sections", Integers());
  if (shape[axis] == kUnknown) op.not_fixed("a size");
  op.require(shape[axis] > 0, "the size");
  const auto parts = static_cast<std::int64_t>(op.outputs("Out"));
  op.require(!sections.empty() || op.integer("num") == parts, "the number of parts");
  give_parts(op, axis, sections);
}

void infer_unbind(OperatorView& op) {
  const Value& x = op.in("X");
  const std::size_t axis = op.axis(op.integer("axis"), x.shape.size());
  const std::size_t parts = op.outputs("Out");
  if (x.shape[axis] == kUnknown) op.not_fixed("a size");
  op.require(x.shape[axis] == static_cast<std::int64_t>(parts), "the number of parts");
  Shape shape = x.shape;
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  for (std::size_t i = 0; i < parts; ++i) op.give("Out", shape, x.dtype, i);
}

/// A slice has constant bounds, may have strides, and may go backwards.
void infer_slice(OperatorView& op) {
  const bool names_axes = op.flag("names_axes", false);
  const Value& x = op.in("X");
  const Integers starts = op.integers("starts");
  const Integers ends = op.integers("ends");
  Integers all(starts.size());
  std::iota(all.begin(), all.end(), 0);
  const std::vector<std::size_t> axes = distinct_axes(op, op.integers("axes", all), x.shape.size());
  const Integers ones(axes.size(), 1);
  const Integers steps = op.integers("steps", ones);
  const Integers flags = op.integers("infer_flags", Integers());
  op.require(
      starts.size() == axes.size() && ends.size() == axes.size() && steps.size() == axes.size(),
      "the bounds");
  if (!flags.empty() && flags != ones) op.not_fixed("bounds");
  Shape shape = x.shape;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    std::int64_t& size = shape[axes[i]];
    op.require(steps[i] != 0, "a step of 0");
    if (names_axes && (steps[i] > kMaxStep || steps[i] < -kMaxStep))
      op.not_checked("takes steps that are too wide");
    if (size == kUnknown) op.not_fixed("a size");
    // Engines disagree on what a slice backwards gives that begins before the first value.
    op.supports(steps[i] > 0 || starts[i] >= -size, "such slice");
    const StridedSlice part = strided_slice(starts[i], ends[i], steps[i], size);
    size = std::max<std::int64_t>(part.count, 0);
  }
  std::vector<std::size_t> gone =
      distinct_axes(op, op.integers("decrease_axis", Integers()), x.shape.size());
  std::sort(gone.rbegin(), gone.rend());
  for (const std::size_t axis : gone) {
    op.require(std::count(axes.begin(), axes.end(), axis) == 1 && shape[axis] == 1,
               "decrease_axis");
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  const bool backwards =
      std::any_of(steps.begin(), steps.end(), [](auto step) { return step < 0; });
  const Value& declared = op.declared("Out");
  if (backwards && op.has_attribute("ends") && declared.has_shape && !fits(declared.shape, shape)) {
    // To 2.6 an end of -1 was before the first value, as Python has no number for.
    op.unsupported("slices backwards to an end that Paddle before 3.0 understood in another way: " +
                   to_string(declared.shape) + " is declared, Paddle 3 gives " + to_string(shape) +
                   "; export the model again with Paddle 3, or use paddle.flip");
  }
  op.give("Out", shape, x.dtype);
}

/// Parts of an axis, in any order; Paddle looks whether they are there when it runs.
void infer_selection(OperatorView& op) {
  Shape shape = op.in("X").shape;
  const Shape& index = op.in("Indices").shape;
  if (index.size() != 1) op.not_checked("takes parts by places that are no list");
  const std::size_t axis = op.axis(op.integer("axis"), shape.size());
  shape[axis] = index[0];
  op.give_shape(shape);
}

/// Writes over a part with constant bounds: values that are computed, or in `values`.
void infer_set_value(OperatorView& op) {
  Shape part = op.in("X").shape;
  const bool computed = op.has("Values");
  const Shape values = computed ? op.in("Values").shape : op.integers("shape");
  for (const std::int64_t size : values) op.require(computed || size >= 1, "shape");
  // Paddle does not count them.
  op.require(computed || volume(values) == static_cast<double>(op.numbers("values").size()),
             "the number of values");
  if (op.in("X").parameter) op.not_checked("writes over a parameter");
  if (!op.integers("none_axes").empty()) op.not_checked("writes over a part of a higher rank");
  const int dtype = computed ? op.in("Values").dtype : op.in("X").dtype;
  const Integers starts = op.integers("starts");
  const Integers ends = op.integers("ends");
  const Integers steps = op.integers("steps");
  const std::vector<std::size_t> axes = distinct_axes(op, op.integers("axes"), part.size());
  op.require(
      starts.size() == axes.size() && ends.size() == axes.size() && steps.size() == axes.size(),
      "the bounds");
  op.require(dtype == op.in("X").dtype, "element types that do not match");
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (part[axes[i]] == kUnknown) op.not_fixed("a size");
    op.require(steps[i] >= 1 && steps[i] <= kMaxStep, "steps");
    std::int64_t& size = part[axes[i]];
    size = std::max<std::int64_t>(strided_slice(starts[i], ends[i], steps[i], size).count, 0);
  }
  std::vector<std::size_t> dropped = distinct_axes(op, op.integers("decrease_axes"), part.size());
  std::sort(dropped.rbegin(), dropped.rend());
  for (const std::size_t axis : dropped) {
    op.require(part[axis] == 1, "an axis of several values that is left out");
    part.erase(part.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  if (part.empty()) op.not_checked("writes over a single value");
  op.require(broadcast(op, part, values) == part, "shapes that do not match");
  infer_same(op);
}

/// The largest or smallest along an axis, in order, and where they are.
void infer_topk(OperatorView& op) {
  Shape shape = op.in("X").shape;
  std::int64_t& size = shape[op.axis(op.integer("axis", -1), shape.size())];
  const std::int64_t count = op.integer("k");
  op.require(count >= 0 && (size == kUnknown || count <= size), "k");
  size = count;
  op.give_shape(shape);
  op.give("Indices", shape, kInt64);
}

void infer_paddle_topk(OperatorView& op) {
  op.require(op.integer("k") >= 1, "k");
  infer_topk(op);
}

/// Where the largest along an axis is.
void infer_argmax(OperatorView& op) {
  Shape shape = op.in("X").shape;
  if (op.flag("flatten", false)) op.not_checked("looks for the largest of all images together");
  const std::size_t axis = op.axis(op.integer("axis"), shape.size());
  if (op.flag("keepdims", false)) {
    shape[axis] = 1;
  } else {
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  const int dtype = op.has("axis") ? dtype_named(op, op.text("dtype"))
                                   : static_cast<int>(op.integer("dtype", kInt64));
  op.give("Out", shape, dtype == -1 ? kInt64 : dtype);
}

// ---- of ONNX

void infer_onnx_gather(OperatorView& op) {
  const Value& x = op.in("X");
  const Shape& places = op.in("Indices").shape;
  const std::size_t axis = op.axis(op.integer("axis", 0), x.shape.size());
  const auto indices = op.open_list("Indices");
  const bool known = indices && x.shape[axis] != kUnknown;
  for (const std::optional<std::int64_t>& index : known ? *indices : OpenIntegers()) {
    if (!index) op.not_fixed("a place");
    op.axis(*index, static_cast<std::size_t>(x.shape[axis]));
  }
  Shape shape = x.shape;
  const auto at = shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  shape.insert(at, places.begin(), places.end());
  op.give("Out", shape, x.dtype);
}

/// Parts of one size but for the last, which may be smaller where their number is said.
void infer_onnx_split(OperatorView& op) {
  const Shape& shape = op.in("X").shape;
  const std::size_t axis = op.axis(op.integer("axis", 0), shape.size());
  const auto parts = static_cast<std::int64_t>(op.outputs("Out"));
  if (shape[axis] == kUnknown) op.not_fixed("a size");
  Integers sections = op.integers("split", Integers());
  for (const std::int64_t section : sections) op.require(section >= 0, "the sections");
  if (op.has_attribute("num_outputs")) {
    op.require(sections.empty() && op.integer("num_outputs") == parts, "the number of parts");
    sections.assign(static_cast<std::size_t>(parts), (shape[axis] + parts - 1) / parts);
    sections.back() = shape[axis] - sections[0] * (parts - 1);
    op.supports(sections.back() >= 0, "kernel for more parts than values");
  }
  give_parts(op, axis, std::move(sections));
}

/// One value for each place, along an axis; of a scatter, written there.
void infer_elements(OperatorView& op) {
  const Value& x = op.in("X");
  const Shape& places = op.in("Indices").shape;
  op.require(places.size() == x.shape.size(), "the rank");
  op.axis(op.integer("axis"), x.shape.size());
  if (!op.has("Updates")) return op.give_shape(places);
  op.require(fits(op.in("Updates").shape, places), "shapes that do not match");
  infer_same(op);
}

/// Parts by places whose last axis counts the first axes of X; of a scatter, written there.
void infer_onnx_parts(OperatorView& op) {
  const Value& x = op.in("X");
  Shape shape = op.in("Indices").shape;
  const auto apart = static_cast<std::size_t>(op.integer("batch_dims", 0));
  op.require(!shape.empty() && apart < std::min(shape.size(), x.shape.size()), "the rank");
  if (shape.back() == kUnknown) op.not_fixed("a size");
  const std::int64_t first = shape.back() + static_cast<std::int64_t>(apart);
  op.require(first >= 1 && first <= static_cast<std::int64_t>(x.shape.size()), "the indices");
  shape.pop_back();
  shape.insert(shape.end(), x.shape.begin() + first, x.shape.end());
  if (!op.has("Updates")) return op.give_shape(shape);
  const Shape& updates = op.in("Updates").shape;
  op.require(updates.size() == shape.size() && fits(updates, shape), "shapes that do not match");
  infer_same(op);
}

/// For each value a row of numbers, one of which is another; so many are a `depth`.
void infer_one_hot(OperatorView& op) {
  Shape shape = op.in("X").shape;
  const std::size_t axis = op.axis(op.integer("place", -1), shape.size() + 1);
  const std::int64_t depth = op.integer("depth");
  op.require(depth >= 0 && op.in("Values").shape == Shape{2}, "depth");
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), depth);
  op.give("Out", shape, op.in("Values").dtype);
  const auto place = op.list("X");
  const auto values = op.list("Values");
  if (!place || place->size() != 1 || !values || depth > static_cast<std::int64_t>(kMaxListed))
    return;
  Integers row(static_cast<std::size_t>(depth), values->front());
  const std::int64_t at = place->front() < 0 ? place->front() + depth : place->front();
  if (at >= 0 && at < depth) row[static_cast<std::size_t>(at)] = values->back();
  op.give_contents("Out", row);
}

constexpr OperatorRule kRules[] = {
    {kPaddle, "concat", "Concat", "X* AxisTensor!/axis", "Out", "axis:int/", infer_concat},
    {kOnnx, "Concat", "", "X*", "Out", "axis:long", infer_concat},
    {kOnnx, "Gather", "", "X Indices", "Out", "axis:long=0", infer_onnx_gather},
    {kOnnx, "GatherElements", "", "X Indices", "Out", "axis:long=0", infer_elements},
    {kOnnx, "ScatterElements", "", "X Indices Updates", "Out", "axis:long=0 reduction:str?",
     infer_elements},
    {kOnnx, "GatherND", "", "X Indices", "Out", "batch_dims:long?", infer_onnx_parts},
    {kOnnx, "ScatterND", "", "X Indices Updates", "Out", "reduction:str?", infer_onnx_parts},
    {kOnnx, "OneHot", "", "X depth Values", "Out", "axis>place:long?", infer_one_hot},
    {kOnnx, "TopK", "", "X /k", "Out Indices", "axis:long=-1 k:long/ largest:long? sorted:long?",
     infer_topk, 10},
    {kOnnx, "ArgMax ArgMin", "", "X", "Out", "axis:long=0 keepdims:long=1 select_last_index:long?",
     infer_argmax},
    {kOnnx, "Split", "", "X /split?", "Out*", "axis:long? split:longs?/ /num_outputs:long?",
     infer_onnx_split, 13},
    {kOnnx, "Slice", "", "X /starts /ends /axes? /steps?", "Out",
     "axes:longs?/ ends:longs/ starts:longs/", infer_slice, 10},
    {kPaddle, "stack", "Stack", "X*", "Y>Out/Out", "axis:int", infer_stack},
    {kPaddle, "split", "Split", "X AxisTensor!/sections SectionsTensorList!/axis", "Out*",
     "axis:int/ num:int/ sections:ints/", infer_split},
    {kPir, "split_with_num", "Split", "X axis", "Out*", "num:int", infer_split},
    {kPaddle, "index_select", "Gather", "X Index>Indices", "Out", "dim>axis:int/axis:int",
     infer_selection},
    {kPaddle, "gather", "Gather", "X Index>Indices Axis!/axis", "Out",
     "axis:int=0/ overwrite:bool?/", infer_selection},
    {kPir, "set_value_ set_value", "SetValue", "X starts ends steps", "Out",
     "axes:longs decrease_axes:longs none_axes:longs shape:longs values:doubles|longs",
     infer_set_value},
    {kPir, "set_value_with_tensor_ set_value_with_tensor", "SetValue", "X Values starts ends steps",
     "Out", "axes:longs decrease_axes:longs none_axes:longs", infer_set_value},
    {kDesc, "top_k", "TopK", "X K!", "Out Indices", "k:int", infer_paddle_topk},
    {kPaddle, "top_k_v2/topk", "TopK", "X K!/k", "Out Indices",
     "axis:int=-1/axis:int k:int/ largest:bool=true/largest:bool sorted:bool=true/sorted:bool",
     infer_paddle_topk},
    {kPaddle, "arg_max/argmax arg_min/argmin", "ArgMax ArgMin", "X /axis", "Out",
     "axis:long/ keepdims:bool? flatten:bool? dtype:int?/dtype:dtype", infer_argmax},
    {kPaddle, "unbind", "Unbind", "X", "Out*", "axis:int", infer_unbind},
    {kPaddle, "unstack", "Unbind", "X", "Y>Out*/Out*", "axis:int num:int", infer_unbind},
    {kPaddle, "slice", "Slice",
     "Input>X/X StartsTensor!/starts EndsTensor!/ends StartsTensorList!/ EndsTensorList!/", "Out",
     "axes:ints/axes:longs starts:ints/ ends:ints/ infer_flags:ints/infer_flags:longs "
     "decrease_axis:ints/decrease_axis:longs +names_axes",
     infer_slice},
    {kPaddle, "strided_slice", "Slice",
     "Input>X/X StartsTensor!/starts EndsTensor!/ends StridesTensor!/steps StartsTensorList!/ "
     "EndsTensorList!/ StridesTensorList!/",
     "Out",
     "axes:ints starts:ints/ ends:ints/ strides>steps:ints/ infer_flags:ints/ decrease_axis:ints/ "
     "+names_axes",
     infer_slice},
};

}  // namespace

RuleRows parts_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet

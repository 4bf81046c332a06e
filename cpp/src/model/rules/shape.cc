// Rules of operators that change shapes or the order of axes, or repeat values.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/graph.h"
#include "model/rules/rules.h"

namespace lenet {
namespace {

/// The sizes that Paddle's operators take as an attribute, as one tensor or as several, which come
/// first; nothing where a tensor is not known, or where there are more than any tensor has. Sizes
/// that are computed may be open.
/// \param whole of the attribute and of the one tensor
std::optional<OpenIntegers> given_sizes(const OperatorView& op, std::string_view whole) {
  const std::string_view name = op.has("sizes") ? "sizes" : whole;
  if (!op.has(name)) return op.open_list(name);
  OpenIntegers sizes;
  for (std::size_t i = 0; i < op.count(name); ++i) {
    const auto list = op.open_list(name, i);
    if (!list) return std::nullopt;
    sizes.insert(sizes.end(), list->begin(), list->end());
    if (sizes.size() > kMaxRank) return std::nullopt;
  }
  return sizes;
}

/// What Paddle reshapes to, where that is known; an open size as one that is copied or left over.
std::optional<Integers> wanted_sizes(const OperatorView& op, const Shape& from) {
  const std::optional<OpenIntegers> given = given_sizes(op, "shape");
  if (!given) return std::nullopt;
  op.require(std::count(given->begin(), given->end(), kUnknown) <= 1, "two open dimensions");
  Integers sizes;
  for (std::size_t i = 0; i < given->size(); ++i) {
    const bool stays = i < from.size() && from[i] == kUnknown;
    sizes.push_back((*given)[i].value_or(stays ? 0 : kUnknown));
  }
  if (std::count(sizes.begin(), sizes.end(), kUnknown) > 1) return std::nullopt;
  return sizes;
}

/// Gives the size that is left open, if all others are known, and compares the numbers of values.
void settle(const OperatorView& op, const Shape& from, Shape& shape) {
  const auto open = std::find(shape.begin(), shape.end(), kUnknown);
  if (std::count(from.begin(), from.end(), kUnknown) > 0) return;  // Paddle compares when it runs
  if (is_empty(from)) {
    if (open != shape.end()) *open = 0;
    return op.require(is_empty(shape), "a size that does not match");
  }
  const double before = volume(from);
  const double after = volume(shape);
  const bool matches = open == shape.end() ? before == after : std::fmod(before, after) == 0;
  op.require(matches, "a size that does not match");
  if (open != shape.end()) *open = static_cast<std::int64_t>(before / after);
}

void infer_reshape(OperatorView& op) {
  const Value& x = op.in("X");
  const std::optional<Integers> wanted = wanted_sizes(op, x.shape);
  if (!wanted) {  // known when it runs; Paddle then compares the sizes
    return op.give_shape(op.declared("Out").shape);
  }
  Shape shape = *wanted;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) {
      op.require(i < x.shape.size(), "shape");
      shape[i] = x.shape[i];
    }
    op.require(shape[i] >= kUnknown && shape[i] <= std::numeric_limits<std::int32_t>::max(),
               "shape");
  }
  settle(op, x.shape, shape);
  give_rearranged(op, shape);
}

void infer_flatten(OperatorView& op) {
  const Value& x = op.in("X");
  if (x.shape.empty()) op.not_checked("flattens a single number");
  const std::size_t start = op.axis(op.integer("start_axis"), x.shape.size());
  const std::size_t stop = op.axis(op.integer("stop_axis"), x.shape.size());
  op.require(start <= stop, "the axes");
  const auto at = [&](std::size_t i) { return x.shape.begin() + static_cast<std::ptrdiff_t>(i); };
  Shape shape(x.shape.begin(), at(start));
  shape.push_back(product(x.shape, start, stop + 1));
  shape.insert(shape.end(), at(stop + 1), x.shape.end());
  give_rearranged(op, shape);
}

void infer_transpose(OperatorView& op) {
  const Value& x = op.in("X");
  Integers reversed(x.shape.size());  // what ONNX leaves out
  std::iota(reversed.rbegin(), reversed.rend(), 0);
  const Integers order = op.integers("perm", reversed);
  op.require(order.size() == x.shape.size(), "the axes");
  Shape shape;
  for (const std::size_t axis : distinct_axes(op, order, order.size())) {
    shape.push_back(x.shape[axis]);
  }
  op.give_shape(shape);
}

/// Without axes all dimensions of 1 are taken out, of one image that of the images too. Where
/// others stay (Paddle's), an axis may be named twice; but Paddle takes sizes that it does not know
/// while it exports for 1.
void infer_squeeze(OperatorView& op) {
  const Shape& from = op.in("X").shape;
  Integers ones;
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (from[i] == 1) ones.push_back(static_cast<std::int64_t>(i));
  }
  const bool others_stay = op.flag("others_stay", false);
  Integers axes = op.integers("axes", ones);
  const bool all = others_stay && axes.empty();
  if (all) axes = ones;
  if (!others_stay) distinct_axes(op, axes, from.size());
  std::vector<bool> gone(from.size());
  for (const std::int64_t given : axes) {
    const std::size_t axis = op.axis(given, from.size());
    op.require(others_stay || from[axis] == 1, "a size that is squeezed is not 1");
    gone[axis] = from[axis] == 1;
  }
  Shape shape;
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (!gone[i]) shape.push_back(from[i]);
  }
  if (all && op.declared("Out").shape.size() > shape.size()) {
    op.not_fixed("a rank (it squeezes every size that is 1, as the number of images may be)");
  }
  // What Paddle declares then, and gave further operators to make their parameters by, is wrong.
  if (others_stay && op.declared("Out").shape.size() < shape.size()) {
    op.unsupported(
        "squeezes a size that Paddle took for 1 when it exported the model: declared is " +
        to_string(op.declared("Out").shape) + ", where it gives " + to_string(shape) +
        "; leave the squeeze out, or export with all sizes but the images' known");
  }
  give_rearranged(op, shape);
}

void infer_unsqueeze(OperatorView& op) {
  Shape shape = op.in("X").shape;
  Integers axes = op.integers("axes");
  if (!op.flag("in_turn", false)) {  // they count in the result
    const std::size_t rank = shape.size() + axes.size();
    op.supports(rank <= kMaxRank, "tensor of so many dimensions");
    const std::vector<std::size_t> added = distinct_axes(op, axes, rank);
    axes.assign(added.begin(), added.end());
    std::sort(axes.begin(), axes.end());
  }
  for (const std::int64_t given : axes) {
    const std::size_t axis = op.axis(given, shape.size() + 1);
    shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), 1);
    op.require(shape.size() <= kMaxRank, "the rank");
  }
  give_rearranged(op, shape);
}

/// The sizes of a tensor, or some of them, as a list that shapes are computed from.
void infer_shape(OperatorView& op) {
  const Shape& shape = op.in("X").shape;
  const auto rank = static_cast<std::int64_t>(shape.size());
  const auto [begin, count, step] =
      strided_slice(op.integer("start", 0), op.integer("end", rank), 1, rank);
  OpenIntegers sizes;
  for (std::int64_t i = begin; i < begin + count; ++i) {
    const std::int64_t size = shape[static_cast<std::size_t>(i)];
    sizes.push_back(size == kUnknown ? std::nullopt : std::optional(size));
  }
  const bool narrow = op.flag("narrow", false) && op.declared("Out").dtype == kInt32;
  op.give("Out", {static_cast<std::int64_t>(sizes.size())}, narrow ? kInt32 : kInt64);
  op.give_contents("Out", sizes);
}

/// How many values there are.
void infer_size(OperatorView& op) {
  const Shape& shape = op.in("X").shape;
  const std::int64_t count = product(shape, 0, shape.size());
  op.give("Out", {}, kInt64);
  op.give_contents("Out", OpenIntegers{count == kUnknown ? std::nullopt : std::optional(count)});
}

void infer_expand(OperatorView& op) {
  const Value& x = op.in("X");
  const std::optional<OpenIntegers> given = given_sizes(op, "shape");
  if (!given) op.not_fixed("a size");
  Shape shape(given->size());
  op.require(shape.size() >= x.shape.size() && shape.size() <= kMaxRank, "shape");
  const std::size_t added = shape.size() - x.shape.size();
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const std::int64_t size = i < added ? 1 : x.shape[i - added];
    const std::optional<std::int64_t> wanted = (*given)[i];
    const bool stays = i >= added && wanted == kUnknown;
    if (!wanted || (size == kUnknown && !stays)) op.not_fixed("a size");
    shape[i] = stays ? size : *wanted;
    op.require(shape[i] == size || (size == 1 && shape[i] >= 1), "shape");
  }
  op.give_shape(shape);
}

/// To the sizes of Y, which the program has as a list where it knows them.
void infer_expand_as(OperatorView& op) {
  const Shape& from = op.in("X").shape;
  Shape shape = op.integers("target_shape");
  if (op.has("Y")) {
    op.require(fits(shape, op.in("Y").shape), "target_shape");
    const bool open = std::count(shape.begin(), shape.end(), kUnknown) > 0;
    if (open) shape = op.in("Y").shape;
  }
  op.require(shape.size() >= from.size() && shape.size() <= kMaxRank, "target_shape");
  op.require(broadcast(op, shape, from) == shape, "target_shape");
  op.give_shape(shape);
}

void infer_tile(OperatorView& op) {
  Shape shape = op.in("X").shape;
  const std::optional<OpenIntegers> given = given_sizes(op, "repeat_times");
  if (!given) op.not_fixed("a number of times");
  op.require(given->size() <= kMaxRank, "the rank");
  Integers times;
  for (const std::optional<std::int64_t>& each : *given) {
    if (!each) op.not_fixed("a number of times");
    op.require(*each >= 1, "repeat_times");
    op.supports(*each <= kMaxStep, "kernel for so many times");
    times.push_back(*each);
  }
  const std::size_t rank = std::max(shape.size(), times.size());
  shape.insert(shape.begin(), rank - shape.size(), 1);
  times.insert(times.begin(), rank - times.size(), 1);
  for (std::size_t i = 0; i < rank; ++i) {
    if (shape[i] == kUnknown && times[i] != 1) op.not_fixed("a size");
    if (shape[i] == kUnknown) continue;
    op.supports(shape[i] <= kMaxValuesPerImage / times[i], "kernel for so many times");
    shape[i] *= times[i];
  }
  op.give_shape(shape);
}

void infer_flip(OperatorView& op) {
  distinct_axes(op, op.integers("axis"), op.in("X").shape.size());
  infer_same(op);
}

void infer_roll(OperatorView& op) {
  const Value& x = op.in("X");
  const Integers shifts = op.integers("shifts");
  const Integers axes = op.integers("axis");
  if (axes.empty()) op.not_checked("rolls all values as one list");
  op.require(shifts.size() == axes.size(), "shifts");
  for (const std::size_t axis : distinct_axes(op, axes, x.shape.size())) {
    if (x.shape[axis] == kUnknown) op.not_fixed("a size");
  }
  infer_same(op);
}

// ---- of ONNX

void infer_onnx_reshape(OperatorView& op) {
  const Shape& from = op.in("X").shape;
  Shape shape = op.integers("shape");
  op.supports(shape.size() <= kMaxRank, "tensor of so many dimensions");
  op.require(std::count(shape.begin(), shape.end(), kUnknown) <= 1, "two open dimensions");
  const bool copies = !op.flag("allowzero", false);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0 && copies) {
      op.require(i < from.size(), "its shape copies a size that is not there");
      shape[i] = from[i];
      continue;
    }
    op.supports(shape[i] > 0 || shape[i] == kUnknown || (shape[i] == 0 && is_empty(from)),
                "change of shape but of each image");
  }
  settle(op, from, shape);
  give_rearranged(op, shape);
}

void infer_onnx_flatten(OperatorView& op) {
  const Shape& shape = op.in("X").shape;
  const auto rank = static_cast<std::int64_t>(shape.size());
  const std::int64_t given = op.integer("axis", 1);
  op.supports(given >= -rank && given <= rank, "flattening but of each image");
  const auto axis = static_cast<std::size_t>(given < 0 ? given + rank : given);
  give_rearranged(op, {product(shape, 0, axis), product(shape, axis, shape.size())});
}

/// Both may be repeated.
void infer_onnx_expand(OperatorView& op) {
  Shape shape = op.integers("shape");
  op.supports(shape.size() <= kMaxRank, "tensor of so many dimensions");
  for (const std::int64_t size : shape) op.supports(size > 0, "kernel for a tensor without values");
  op.give_shape(broadcast(op, op.in("X").shape, shape));
}

/// None at all is a number of times, unlike in Paddle.
void infer_onnx_tile(OperatorView& op) {
  for (const std::int64_t times : op.integers("repeat_times")) {
    op.supports(times != 0, "kernel for a tensor without values");
  }
  infer_tile(op);
}

constexpr OperatorRule kRules[] = {
    {kPaddle, "reshape2/reshape", "Reshape", "X Shape>shape?/shape* ShapeTensor>sizes*?/",
     "Out XShape?/", "shape:ints/", infer_reshape},
    {kPaddle, "flatten_contiguous_range/flatten", "FlattenRange", "X", "Out XShape?/",
     "start_axis:int stop_axis:int", infer_flatten},
    {kDesc, "flatten2", "Flatten", "X", "Out XShape?", "axis:int", infer_onnx_flatten},
    {kDesc, "reshape", "Reshape", "X Shape>shape? ShapeTensor>sizes*?", "Out", "shape:ints",
     infer_reshape},
    {kDesc, "expand", "Tile", "X ExpandTimes! expand_times_tensor*!", "Out",
     "expand_times>repeat_times:ints", infer_tile},
    {kPaddle, "transpose2/transpose", "Transpose", "X", "Out XShape?/", "axis>perm:ints/perm:ints",
     infer_transpose},
    {kPaddle, "squeeze2/squeeze", "Squeeze", "X /axes", "Out XShape?/", "axes:ints/ +others_stay",
     infer_squeeze},
    {kPaddle, "unsqueeze2/unsqueeze", "Unsqueeze", "X AxesTensor!/axes AxesTensorList!/",
     "Out XShape?/", "axes:ints/ +in_turn", infer_unsqueeze},
    {kPaddle, "shape /shape64", "Shape", "Input>X/X", "Out", "+narrow", infer_shape},  // at times
    {kOnnx, "Reshape", "", "X shape", "Out", "allowzero:long?", infer_onnx_reshape},
    {kOnnx, "Flatten", "", "X", "Out", "axis:long?", infer_onnx_flatten},
    {kOnnx, "Squeeze", "", "X /axes?", "Out", "axes:longs?/", infer_squeeze, 13},
    {kOnnx, "Unsqueeze", "", "X /axes", "Out", "axes:longs/", infer_unsqueeze, 13},
    {kOnnx, "Transpose", "", "X", "Out", "perm:longs?", infer_transpose},
    {kOnnx, "Size", "", "X", "Out", "", infer_size},
    {kOnnx, "Shape", "", "X", "Out", "end:long? start:long?", infer_shape},
    {kPaddle, "expand_v2/expand", "Expand", "X Shape>shape?/shape* expand_shapes_tensor>sizes*?/",
     "Out", "shape:ints/", infer_expand},
    {kPaddle, "expand_as_v2/expand_as", "Expand", "X Y?", "Out",
     "target_shape:ints/target_shape:longs", infer_expand_as},
    {kPaddle, "size/numel", "Size", "Input>X/X", "Out", "", infer_size},
    {kPaddle, "tile", "Tile",
     "X RepeatTimes>repeat_times?/repeat_times* repeat_times_tensor>sizes*?/", "Out",
     "repeat_times:ints/", infer_tile},
    {kOnnx, "Expand", "", "X shape", "Out", "", infer_onnx_expand},
    {kOnnx, "Tile", "", "X repeat_times", "Out", "", infer_onnx_tile},
    {kPaddle, "flip", "Flip", "X", "Out", "axis:ints?/axis:ints dims>axis:ints?/", infer_flip},
    {kDesc, "reverse", "Flip", "X", "Out", "axis:ints", infer_flip},
    {kPir, "roll", "Roll", "X shifts", "Out", "axis:longs", infer_roll},
};

}  // namespace

RuleRows shape_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet

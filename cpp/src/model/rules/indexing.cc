// Rules of Paddle's operators that look values up by indices, and of those that put values in
// order. Indices that a program computes may be out of range. The kernels of Paddle 3.3.1 for the
// processor refuse those, but for an embedding's (tests/models/test_operators.py).

#include <algorithm>
#include <utility>

#include "model/graph.h"
#include "model/rules/rules.h"

namespace lenet {
namespace {

void require_indices(const OperatorView& op, std::string_view name) {
  const int dtype = op.in(name).dtype;
  op.require(dtype == kInt32 || dtype == kInt64, "the element type of ", name);
}

/// Parts by places whose last axis counts the first axes of X.
void infer_gather_nd(OperatorView& op) {
  require_indices(op, "Indices");
  const Shape& x = op.in("X").shape;
  Shape shape = op.in("Indices").shape;
  op.require(!shape.empty(), "the rank");
  if (shape.back() == kUnknown) op.not_fixed("a size");
  op.require(shape.back() >= 1 && shape.back() <= static_cast<std::int64_t>(x.size()),
             "the indices");
  const std::int64_t axes = shape.back();
  shape.pop_back();
  shape.insert(shape.end(), x.begin() + axes, x.end());
  op.give_shape(shape);
}

/// One value for each index along an axis. Paddle's kernel trusts that the other sizes are alike.
void infer_take_along_axis(OperatorView& op) {
  require_indices(op, "Indices");
  const Shape& x = op.in("X").shape;
  const Shape& index = op.in("Indices").shape;
  const std::size_t axis = op.axis(op.integer("axis"), x.size());
  op.require(index.size() == x.size(), "the rank");
  for (std::size_t i = 0; i < x.size(); ++i) {
    op.checks(i == axis || fits(x[i], index[i]), "takes values along some of the rows");
  }
  op.give_shape(index);
}

/// Gives the values of each row that its row of indices names.
void infer_index_sample(OperatorView& op) {
  require_indices(op, "Indices");
  const Shape& x = op.in("X").shape;
  const Shape& index = op.in("Indices").shape;
  op.require(x.size() == 2 && index.size() == 2 && fits(x[0], index[0]), "the shapes");
  op.give_shape(index);
}

/// A row of a table for each index. Paddle's kernel reads where an index says, also outside of it.
/// A row that `padding_idx` names counts as zeros; -1: none does.
void infer_embedding(OperatorView& op) {
  require_indices(op, "Indices");
  const Value& table = op.in("X");
  op.require(table.shape.size() == 2, "the rank");
  const auto is_row = [&](std::int64_t index) { return index >= 0 && index < table.shape[0]; };
  op.checks(are_known(op.in("Indices"), is_row),
            "embeds numbers that it computes, or has no row for");
  Shape shape = op.in("Indices").shape;
  shape.push_back(table.shape[1]);
  op.give("Out", shape, table.dtype);
}

/// For each index as many numbers as there are classes, one of which is 1.
void infer_paddle_one_hot(OperatorView& op) {
  require_indices(op, "X");
  const std::int64_t depth = op.integer("depth");
  op.require(depth >= 1, "depth");
  Shape shape = op.in("X").shape;
  shape.push_back(depth);
  op.give("Out", shape, static_cast<int>(op.integer("dtype", kFloat32)));
}

/// All values along an axis in order, and where they were.
void infer_argsort(OperatorView& op) {
  const Value& x = op.in("X");
  if (!x.shape.empty()) op.axis(op.integer("axis"), x.shape.size());
  op.give("Indices", x.shape, kInt64);
  infer_same(op);
}

/// One value along an axis, and where it was: the k-th smallest, or the most frequent.
void infer_chosen(OperatorView& op) {
  const Value& x = op.in("X");
  Shape shape = x.shape;
  const std::size_t axis = op.axis(op.integer("axis"), shape.size());
  const std::int64_t k = op.integer("k", 1);
  op.require(k >= 1 && (shape[axis] == kUnknown || k <= shape[axis]), "k");
  if (op.flag("keepdims")) {
    shape[axis] = 1;
  } else {
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  }
  // Paddle 2.6 declares them so, and no Paddle then runs what takes them.
  if (op.declared("Indices").dtype == kFloat32) {
    op.unsupported(
        "has indices that Paddle 2.6 declared as float32; export the model again with Paddle 3");
  }
  op.give("Indices", shape, kInt64);
  op.give_shape(shape);
}

/// Two axes that differ, and where they end: what their diagonal has.
std::pair<std::size_t, std::size_t> two_axes(const OperatorView& op, std::size_t rank) {
  const std::vector<std::size_t> axes =
      distinct_axes(op, {op.integer("axis1"), op.integer("axis2")}, rank);
  return {std::min(axes[0], axes[1]), std::max(axes[0], axes[1])};
}

/// The values on a diagonal of two axes, which becomes the last axis; of a trace their sum.
void infer_diagonal(OperatorView& op) {
  Shape shape = op.in("X").shape;
  const auto [low, high] = two_axes(op, shape.size());
  const std::int64_t first = shape[op.axis(op.integer("axis1"), shape.size())];
  const std::int64_t second = shape[op.axis(op.integer("axis2"), shape.size())];
  if (first == kUnknown || second == kUnknown) op.not_fixed("a size");
  const std::int64_t offset = op.integer("offset");
  op.checks(offset > -first && offset < second, "takes a diagonal without values");
  const std::int64_t count =
      offset >= 0 ? std::min(first, second - offset) : std::min(first + offset, second);
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(high));
  shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(low));
  if (op.kind() == "diagonal") shape.push_back(count);
  op.give_shape(shape);
}

/// Each part of an axis several times.
void infer_repeat_interleave(OperatorView& op) {
  Shape shape = op.in("X").shape;
  const std::size_t axis = op.axis(op.integer("axis"), shape.size());
  const std::int64_t times = op.integer("repeats");
  op.require(times >= 1 && times <= kMaxStep, "repeats");
  op.checks(op.integer("output_size", -1) == -1, "says how large its output is");
  if (shape[axis] != kUnknown) {
    op.require(shape[axis] <= kMaxValuesPerImage / times, "repeats");
    shape[axis] *= times;
  }
  op.give_shape(shape);
}

/// Pixels at places that a grid names, between -1 and 1; what lies outside is computed too.
void infer_grid_sample(OperatorView& op) {
  const Value& x = op.in("X");
  const Shape& grid = op.in("Grid").shape;
  op.checks(x.shape.size() == 4, "samples but in two dimensions");
  op.require(grid.size() == 4 && fits(grid[0], x.shape[0]) && grid[3] == 2, "the grid");
  op.require(x.dtype == op.in("Grid").dtype, "the element type");
  op.require(has_word("bilinear nearest", op.text("mode")), "mode");
  op.require(has_word("zeros border reflection", op.text("padding_mode")), "padding_mode");
  op.give_shape({x.shape[0], x.shape[1], grid[1], grid[2]});
}

/// The grid that each image's matrix makes.
void infer_affine_grid(OperatorView& op) {
  const Shape& theta = op.in("X").shape;
  op.checks(theta.size() == 3, "samples but in two dimensions");
  op.require(fits(theta, {kUnknown, 2, 3}), "the matrices");
  // Paddle 3 declares a volume's where it does not know the sizes, and its kernel gives nothing.
  if (op.declared("Out").shape.size() != 4) {
    op.unsupported(
        "has a grid whose sizes Paddle did not know when it exported the model; give "
        "affine_grid a list of integers and export the model again");
  }
  const auto given = op.open_list(op.has("output_size") ? "output_size" : "output_shape");
  op.checks(given.has_value(), "makes a grid of a size that is computed");
  const OpenIntegers& sizes = *given;
  op.require(sizes.size() == 4, "output_shape");
  op.require(fits(sizes[0].value_or(kUnknown), theta[0]), "output_shape");
  if (!sizes[2] || !sizes[3]) op.not_fixed("a size");
  op.require(*sizes[2] >= 1 && *sizes[3] >= 1, "output_shape");
  op.give_shape({theta[0], *sizes[2], *sizes[3], 2});
}

constexpr OperatorRule kRules[] = {
    {kPaddle, "gather_nd", "GatherND", "X Index>Indices", "Out", "", infer_gather_nd},
    {kPaddle, "take_along_axis", "GatherElements", "Input>X/X Index>Indices", "Result>Out/Out",
     "Axis>axis:int/axis:int", infer_take_along_axis},
    {kPaddle, "index_sample", "GatherElements", "X Index>Indices", "Out", "+axis=1",
     infer_index_sample},
    {kPaddle, "lookup_table_v2/embedding", "Gather", "Ids>Indices/X>Indices W>X", "Out",
     "padding_idx:long is_sparse:bool?/sparse:bool", infer_embedding},
    // Without Values: 0 and 1.
    {kPaddle, "one_hot_v2/one_hot", "OneHot", "X depth_tensor!/depth", "Out",
     "depth:int/ dtype:int/ allow_out_of_range:bool?/", infer_paddle_one_hot},
    {kPaddle, "argsort", "", "X", "Out Indices", "axis:int descending:bool stable:bool?",
     infer_argsort},
    {kPaddle, "kthvalue", "", "X", "Out Indices", "k:int/k:int|long axis:int keepdim>keepdims:bool",
     infer_chosen},
    {kPaddle, "mode", "", "X", "Out Indices", "axis:int keepdim>keepdims:bool", infer_chosen},
    {kPaddle, "diagonal trace", "", "Input>X/X", "Out", "offset:int axis1:int axis2:int",
     infer_diagonal},
    {kPaddle, "repeat_interleave", "", "X RepeatsTensor!/", "Out",
     "Repeats>repeats:int/repeats:int dim>axis:int/axis:int /output_size:long?",
     infer_repeat_interleave},
    {kPaddle, "grid_sampler/grid_sample", "", "X Grid", "Output>Out/Out",
     "mode:str padding_mode:str align_corners:bool", infer_grid_sample},
    {kPaddle, "affine_grid", "", "Theta>X/X OutputShape>output_size?/output_size", "Output>Out/Out",
     "output_shape:ints/ align_corners:bool", infer_affine_grid},
};

}  // namespace

RuleRows indexing_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet

#include "model/image_rules.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <unordered_map>

#include "model/rules/einsum.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

using Axis = std::optional<std::size_t>;

Axis stay(std::size_t axis) { return axis; }

/// The axis of X that an attribute or an input names. ONNX leaves out a 0, and -1 of a TopK.
std::size_t named_axis(const ImageFollower& images) {
  const OperatorView& op = images.op();
  const std::int64_t otherwise = images.kind() == "TopK" ? -1 : 0;
  return op.axis(op.integer("axis", otherwise), op.in("X").shape.size());
}

/// Where axes go when some are taken out.
AxisMap without(std::vector<bool> gone) {
  return [gone = std::move(gone)](std::size_t axis) -> Axis {
    if (gone[axis]) return std::nullopt;
    const auto end = gone.begin() + static_cast<std::ptrdiff_t>(axis);
    return axis - static_cast<std::size_t>(std::count(gone.begin(), end, true));
  };
}

/// Where axes go when one is added.
AxisMap with(std::size_t added) {
  return [added](std::size_t axis) -> Axis { return axis < added ? axis : axis + 1; };
}

// ---- operators that compute each value from those at its place

void follow_values(ImageFollower& images) { images.take("X", stay); }

void follow_cast(ImageFollower& images) {
  images.ignore("Like");
  images.take("X", stay);
}

/// Operators whose inputs are repeated along each other.
void follow_repeated(ImageFollower& images) {
  const std::int64_t axis = images.op().integer("axis", -1);
  for (const char* name : {"Condition", "X", "Y", "Weight"}) images.take_repeated(name, axis);
}

void follow_prelu(ImageFollower& images) {
  images.take_repeated("X");
  if (!images.op().has_attribute("mode")) return images.take_repeated("Alpha");
  const bool alike = images.op().text("mode") == "all";
  images.lose_if(!alike && images.axis() != 0);
}

/// The axis of a quantization is that of its scales.
void follow_quantization(ImageFollower& images) {
  images.take("X", stay);
  const OperatorView& op = images.op();
  if (volume(op.in("Scale").shape) == 1) return;
  const bool by_range = op.has_attribute("quant_axis");
  const std::int64_t axis = by_range ? op.integer("quant_axis") : op.integer("axis", 1);
  images.lose_if(op.axis(axis, images.rank()) == images.axis());
}

/// What depends on the shape of X alone.
void follow_shape(ImageFollower& images) { images.ignore("X"); }

// ---- operators whose other axes than the first are those of an image

void follow_first(ImageFollower& images) {
  for (const char* name : {"X", "Grid", "Offset", "Mask"}) images.take(name, stay);
  images.lose_if(images.axis() != 0);
}

/// Normalizes each channel by constants.
void follow_channels(ImageFollower& images) {
  const OperatorView& op = images.op();
  if (images.name() != "Out") return images.ignore("X");  // the statistics stay as they are
  images.take("X", stay);
  const std::size_t channel = channels_last(op, "data_format") ? images.rank() - 1 : 1;
  images.lose_if(images.axis() == channel || op.flag("training_mode", false));
}

// ---- operators that go along axes, which stay

void follow_softmax(ImageFollower& images) {
  images.take("X", stay);
  const OperatorView& op = images.op();
  const std::size_t axis = op.axis(softmax_axis(op), images.rank());
  images.lose_if(images.axis() == axis);
  images.lose_if(images.axis() > axis && op.opset() < 13);  // the axes behind it too
}

void follow_along_axis(ImageFollower& images) {
  images.take("X", stay);
  images.lose_if(images.axis() == named_axis(images));
}

void follow_along_axes(ImageFollower& images) {
  images.take("X", stay);
  const OperatorView& op = images.op();
  for (const std::int64_t axis : op.integers(op.has_attribute("axes") ? "axes" : "axis")) {
    images.lose_if(images.axis() == op.axis(axis, op.in("X").shape.size()));
  }
}

/// Normalizes all values from an axis on.
void follow_trailing_norm(ImageFollower& images) {
  images.take("X", stay);
  images.take_repeated("Scale");
  images.take_repeated("Bias");
  images.lose_if(images.axis() >= named_axis(images));
}

/// Operators on the last two axes.
void follow_matrices(ImageFollower& images) {
  images.take("X", stay);
  images.lose_if(images.axis() + 2 >= images.rank());
}

void follow_concat(ImageFollower& images) {
  images.take("X", stay);
  images.lose_if(images.axis() == images.op().axis(images.op().integer("axis"), images.rank()));
}

/// A slice that has all images, in their order. Its sizes say that it has all.
void follow_slice(ImageFollower& images) {
  const OperatorView& op = images.op();
  const Value& x = op.in("X");
  std::vector<bool> gone(x.shape.size());
  for (const std::int64_t axis : op.integers("decrease_axis", Integers())) {
    gone[op.axis(axis, gone.size())] = true;
  }
  images.take("X", without(gone));
  const Integers steps = op.integers("steps", Integers());
  const Integers axes = op.integers("axes", Integers());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const std::size_t axis = axes.empty() ? i : op.axis(axes[i], x.shape.size());
    images.lose_if(axis == x.images.axis && steps[i] != 1);
  }
}

/// Pads, and takes values away. What is added behind the images shows in the size.
void follow_pad(ImageFollower& images) {
  images.take("X", stay);
  const std::size_t axis = images.axis();
  images.lose_if(axis != kNone && read_paddings(images.op()).before[axis] != 0);
}

/// Repeats values. Repeated images show in the size.
void follow_tile(ImageFollower& images) { images.take_repeated("X"); }

// ---- operators that change the axes

void follow_reduction(ImageFollower& images) {
  const OperatorView& op = images.op();
  const std::size_t rank = op.in("X").shape.size();
  const Integers axes = op.integers("axes", Integers());
  if (axes.empty() && op.flag("noop_with_empty_axes", false)) return images.take("X", stay);
  std::vector<bool> gone(rank, axes.empty() || op.flag("reduce_all", false));
  for (const std::int64_t axis : axes) {
    if (rank > 0) gone[op.axis(axis, rank)] = true;
  }
  const bool keeps = op.flag("keepdims", true);
  const AxisMap left = without(gone);
  images.take("X", [&](std::size_t axis) { return keeps && !gone[axis] ? axis : left(axis); });
}

/// Operators that give one value along an axis, or each value of it as an output.
void follow_without_axis(ImageFollower& images) {
  const std::size_t axis = named_axis(images);
  std::vector<bool> gone(images.op().in("X").shape.size());
  gone[axis] = true;
  if (!images.op().flag("keepdims", false)) return images.take("X", without(gone));
  images.take("X", [axis](std::size_t at) { return at == axis ? Axis() : at; });
}

/// A diagonal of two axes, which becomes the last one, or its sum.
void follow_diagonal(ImageFollower& images) {
  const OperatorView& op = images.op();
  std::vector<bool> gone(op.in("X").shape.size());
  for (const char* name : {"axis1", "axis2"}) gone[op.axis(op.integer(name), gone.size())] = true;
  images.take("X", without(gone));
}

void follow_stack(ImageFollower& images) {
  images.take("X", with(images.op().axis(images.op().integer("axis"), images.rank())));
}

void follow_one_hot(ImageFollower& images) {
  images.take("X", with(images.op().axis(images.op().integer("place", -1), images.rank())));
}

void follow_transpose(ImageFollower& images) {
  const OperatorView& op = images.op();
  Integers order(images.rank());  // what ONNX leaves out
  std::iota(order.rbegin(), order.rend(), 0);
  order = op.integers("perm", order);
  images.take("X", [&](std::size_t axis) -> Axis {
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (op.axis(order[i], order.size()) == axis) return i;
    }
    return std::nullopt;
  });
}

/// Operators that give the values of X in the same order, in another shape. Before the first value
/// of the second image lie as many values of the first image as before.
void follow_reshape(ImageFollower& images) {
  const Value& x = images.op().in("X");
  if (x.images.axis == kNone) return images.take("X", stay);
  const std::int64_t before = product(x.shape, 0, x.images.axis) * x.images.before;
  const Value& output = images.output();
  for (std::size_t axis = 0; axis < images.rank(); ++axis) {
    const std::int64_t outer = product(output.shape, 0, axis);
    if (before < 1 || outer < 1) return images.lose();  // a size is not known
    const bool open = images.fixed() < 2;
    const std::int64_t size = output.shape[axis];
    const bool has_all = open ? axis == output.images.axis : size > 0 && size % images.fixed() == 0;
    const std::int64_t of_one = open ? output.images.per_image : size / images.fixed();
    if (!has_all || of_one < 1 || before % outer != 0) continue;
    if (of_one % (before / outer) == 0) return images.place("X", {axis, of_one, before / outer});
  }
  images.lose();
}

// ---- operators with indices

void follow_gather(ImageFollower& images) {
  const std::size_t gathered = named_axis(images);
  const std::size_t places = images.op().in("Indices").shape.size();
  images.take("X", [&](std::size_t axis) -> Axis {
    if (axis == gathered) return std::nullopt;
    return axis < gathered ? axis : axis + places - 1;
  });
  images.take("Indices", [&](std::size_t axis) { return gathered + axis; });
}

void follow_gather_elements(ImageFollower& images) {
  const std::size_t gathered = named_axis(images);
  images.take("X", [&](std::size_t axis) { return axis == gathered ? Axis() : axis; });
  images.take("Indices", stay);
}

/// Whether a constant has one number alone, as the indices of x[:, 2] = y.
bool is_alike(const Value& value) {
  if (!is_known(value) || count_values(value) == 0) return false;
  const auto first = number_as<std::int64_t>(value, 0);
  return are_known(value, [first](std::int64_t number) { return number == first; });
}

/// What is written must be so for all images.
void follow_scatter_elements(ImageFollower& images) {
  const OperatorView& op = images.op();
  images.take("X", stay);
  images.take("Updates", stay);
  if (is_alike(op.in("Indices"))) {
    images.ignore("Indices");
  } else {
    images.take("Indices", stay);
  }
  const std::size_t axis = images.axis();
  if (axis == kNone) return;
  const bool all = op.in("Indices").shape[axis] == op.in("X").shape[axis];
  images.lose_if(axis == named_axis(images) || !all);
}

void follow_gather_parts(ImageFollower& images) {
  const OperatorView& op = images.op();
  const Shape& indices = op.in("Indices").shape;
  const std::size_t places = indices.size() - 1;
  const auto apart = static_cast<std::size_t>(op.integer("batch_dims", 0));
  const std::size_t parts = apart + static_cast<std::size_t>(indices.back());
  images.take("X", [&](std::size_t axis) -> Axis {
    if (axis < apart) return axis;
    return axis < parts ? Axis() : axis - parts + places;
  });
  images.take("Indices", [&](std::size_t axis) { return axis < places ? Axis(axis) : Axis(); });
}

void follow_scatter_parts(ImageFollower& images) {
  images.take("X", stay);
  images.take("Updates", stay);
  images.ignore("Indices");
  images.lose_if(!images.indices_are_slices());
}

/// Writes values over a part of X: of all images where none of its axes is theirs.
void follow_set_value(ImageFollower& images) {
  const OperatorView& op = images.op();
  images.take("X", stay);
  for (const std::int64_t axis : op.integers("axes")) {
    images.lose_if(op.in("X").images.axis == op.axis(axis, images.rank()));
  }
  if (!op.has("Values")) return;
  std::vector<std::size_t> left(images.rank());
  std::iota(left.begin(), left.end(), std::size_t{0});
  for (const std::int64_t axis : op.integers("decrease_axes")) {
    left.erase(std::remove(left.begin(), left.end(), op.axis(axis, images.rank())), left.end());
  }
  const std::size_t rank = op.in("Values").shape.size();
  if (rank > left.size()) return images.lose();
  images.take("Values", [&](std::size_t axis) { return left[left.size() - rank + axis]; });
}

// ---- operators that add up products

/// A product of matrices, with leading axes that are repeated along each other. A vector is a
/// matrix of one row before the product, and of one column behind it.
void follow_product(ImageFollower& images) {
  const OperatorView& op = images.op();
  const std::size_t left = op.in("X").shape.size();
  const std::size_t right = op.in("Y").shape.size();
  const std::size_t leading = std::max({left, right, std::size_t{2}}) - 2;
  images.take("X", [&](std::size_t axis) -> Axis {
    if (left == 1) return std::nullopt;
    if (axis + 2 < left) return axis + leading + 2 - left;
    const bool is_row = axis + (op.flag("transA", false) ? 1 : 2) == left;
    return is_row ? Axis(leading) : Axis();
  });
  images.take("Y", [&](std::size_t axis) -> Axis {
    if (right == 1) return std::nullopt;
    if (axis + 2 < right) return axis + leading + 2 - right;
    const bool is_column = axis + (op.flag("transB", false) ? 2 : 1) == right;
    return is_column ? Axis(left == 1 ? leading : leading + 1) : Axis();
  });
  images.take_repeated("Bias");
  images.take_repeated("Input");  // what Paddle adds
}

/// The product of two matrices: of X's first axes and of those behind them, of Y's likewise.
void follow_flat_product(ImageFollower& images) {
  const OperatorView& op = images.op();
  const auto rows = static_cast<std::size_t>(op.integer("x_num_col_dims"));
  const auto sums = static_cast<std::size_t>(op.integer("y_num_col_dims"));
  images.take("X", [&](std::size_t axis) { return axis < rows ? Axis(axis) : Axis(); });
  images.take("Y", [&](std::size_t axis) { return axis < sums ? Axis() : rows + axis - sums; });
}

void follow_einsum(ImageFollower& images) {
  const Einsum einsum = read_equation(images.op());
  const std::string& to = einsum.output->letters;
  for (std::size_t i = 0; i < einsum.terms.size(); ++i) {
    images.take("X", i, [&](std::size_t axis) -> Axis {
      const std::size_t found = to.find(einsum.terms[i].letters[axis]);
      return found == std::string::npos ? Axis() : found;
    });
  }
}

/// Recurrent layers. X is [steps, images, values], and a state [directions, images, values]; what
/// ONNX gives has another axis for the directions.
void follow_recurrent(ImageFollower& images) {
  const std::size_t place = images.rank() == 4 ? 2 : 1;
  const auto second = [place](std::size_t axis) { return axis == 1 ? Axis(place) : Axis(); };
  for (const char* name : {"X", "h", "c", "PreState"}) images.take(name, second);
  images.take("lengths", [place](std::size_t) { return place; });
}

/// Operators that compute of all images together, or of none.
void follow_none(ImageFollower& images) { images.lose(); }

struct Row {
  std::string_view kinds;  ///< words separated by blanks
  ImageRule rule;
};

constexpr Row kRows[] = {
    {"Abs Acos Acosh Asin Asinh Atan Atanh Ceil Celu Clip Cos Cosh Dropout Elu Erf Exp Expm1 Floor "
     "Gelu HardSigmoid HardSwish Identity IsFinite IsInf IsNaN LeakyRelu Log Log10 Log1p Log2 "
     "LogSigmoid Logit Mish Neg Not Reciprocal Relu Relu6 Round Rsqrt Scale ScaledTanh Selu Shrink "
     "Sigmoid Sign Sin Sinh SoftShrink Softplus Softsign Sqrt Square Swish Tan Tanh TanhShrink "
     "ThresholdedRelu Trunc Feed Fetch FillLike",
     follow_values},
    {"angle as_complex as_real bitwise_not conj digamma erfinv gammaln i0 i0e i1 i1e imag lgamma "
     "real rrelu",
     follow_values},
    {"Cast", follow_cast},
    {"Add And Div Equal Expand FloorDiv Greater GreaterOrEqual Less LessOrEqual Max Maximum Mean "
     "Min Minimum Mod Mul NotEqual Or Pow Sub Sum Where Xor",
     follow_repeated},
    {"atan2 bitwise_and bitwise_or bitwise_xor complex elementwise_fmax elementwise_fmin "
     "elementwise_heaviside fmax fmin heaviside lerp",
     follow_repeated},
    {"PRelu", follow_prelu},
    {"QuantizeLinear DequantizeLinear QuantizeByRange DequantizeByRange", follow_quantization},
    {"Shape Size", follow_shape},
    {"Conv ConvTranspose MaxPool AveragePool GlobalMaxPool GlobalAveragePool AdaptiveMaxPool "
     "AdaptiveAveragePool Resize LRN InstanceNormalization GroupNormalization DepthToSpace "
     "SpaceToDepth ChannelShuffle Unfold Col2Im",
     follow_first},
    {"affine_grid conv3d deformable_conv grid_sample grid_sampler lp_pool2d max_pool3d_with_index "
     "pool3d",
     follow_first},
    {"BatchNormalization ChannelAffine", follow_channels},
    {"Softmax LogSoftmax Hardmax", follow_softmax},
    {"CumSum LpNormalization Split TopK argsort cummax cummin cumprod logcumsumexp maxout",
     follow_along_axis},
    {"Flip Roll fft_c2c fft_c2r fft_r2c", follow_along_axes},
    {"LayerNormalization RMSNormalization", follow_trailing_norm},
    {"Trilu", follow_matrices},
    {"Concat", follow_concat},
    {"Slice", follow_slice},
    {"Pad", follow_pad},
    {"Tile repeat_interleave", follow_tile},
    {"ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLp "
     "ReduceSumSquare ReduceLogSum ReduceLogSumExp all any reduce_all reduce_any",
     follow_reduction},
    {"ArgMax ArgMin Unbind kthvalue mode", follow_without_axis},
    {"diagonal trace", follow_diagonal},
    {"Stack", follow_stack},
    {"OneHot", follow_one_hot},
    {"Transpose", follow_transpose},
    {"Reshape Flatten FlattenRange Squeeze Unsqueeze", follow_reshape},
    {"Gather", follow_gather},
    {"GatherElements", follow_gather_elements},
    {"ScatterElements", follow_scatter_elements},
    {"GatherND", follow_gather_parts},
    {"ScatterND", follow_scatter_parts},
    {"SetValue", follow_set_value},
    {"MatMul Gemm addmm", follow_product},
    {"FlatMatMul", follow_flat_product},
    {"Einsum", follow_einsum},
    {"LSTM GRU rnn", follow_recurrent},
    {"If While LoopVariables Branch Choice Meshgrid mean mean_all spectral_norm", follow_none},
    {"Constant ConstantOfShape Eye Fill Linspace Range", follow_none},
};

}  // namespace

ImageRule find_image_rule(std::string_view kind) {
  static const std::unordered_map<std::string_view, ImageRule> rules = [] {
    std::unordered_map<std::string_view, ImageRule> made;
    for (const auto& [kinds, rule] : kRows) {
      std::string_view words = kinds;
      while (!words.empty()) {
        const std::string_view word = words.substr(0, words.find(' '));
        made.emplace(word, rule);
        words.remove_prefix(std::min(word.size() + 1, words.size()));
      }
    }
    return made;
  }();
  const auto found = rules.find(kind);
  return found == rules.end() ? nullptr : found->second;
}

}  // namespace lenet

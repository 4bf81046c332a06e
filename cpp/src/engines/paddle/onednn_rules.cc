#include <algorithm>
#include <array>
#include <cstddef>
#include <string>

#include "engines/paddle/accelerator_rules.h"

namespace lenet {
namespace {

// Each refuse_ function describes a fault of oneDNN: a wrong result or a crash.

/// Returns whether there are `count` sizes that can be added and multiplied without overflow. A
/// graph that was not checked may have others.
bool are_small(const Integers& sizes, std::size_t count) {
  constexpr std::int64_t kSmall = std::int64_t{1} << 30;
  return sizes.size() == count && std::all_of(sizes.begin(), sizes.end(), [](std::int64_t size) {
           return size >= -kSmall && size <= kSmall;
         });
}

/// Returns the paddings of the top, bottom, left and right. A program that makes no sense gives
/// another number of them.
Integers paddings_of(const OperatorInProgram& op) {
  Integers paddings = op.integers("paddings");
  if (paddings.size() == 2) paddings = {paddings[0], paddings[0], paddings[1], paddings[1]};
  return paddings;
}

/// oneDNN reads wrong memory, except in int8, if an image has one channel and the stride along its
/// width is larger than along its height. It sometimes crashes if the padding is a whole window.
std::string refuse_convolution_for_onednn(const OperatorInProgram& op) {
  const Value* filter = op.input("Filter", 1);
  const Integers strides = op.integers("strides");
  const Integers dilations = op.integers("dilations");
  const Integers paddings = paddings_of(op);
  if (filter == nullptr || !are_small(filter->shape, 4)) return op.with_shape("Filter", 1);
  if (strides.size() != 2) return op.with("strides");
  if (!are_small(dilations, 2)) return op.with("dilations");
  if (paddings.size() != 4) return op.with("paddings");
  if (op.is("groups=1") && filter->parameter && filter->shape[1] == 1 && strides[1] > strides[0]) {
    return op.with("strides") + " and one channel";
  }
  if (!op.is("padding_algorithm=EXPLICIT")) return "";
  for (std::size_t i = 0; i < 4; ++i) {
    const std::int64_t window = dilations[i / 2] * (filter->shape[i / 2 + 2] - 1) + 1;
    if (paddings[i] >= window) return op.with("paddings") + ", as wide as the window";
  }
  return "";
}

/// oneDNN treats a tensor that is added to a convolution as a bias of the channels, or fails if it
/// has another number of values. A sum with a fully connected layer keeps the shape of the layer,
/// even if that should be broadcast.
bool is_wrong_sum(const OperatorInProgram& op, const Shape* x, const Shape* y) {
  if (x->size() < y->size()) std::swap(x, y);
  if (*x == *y) return false;
  if (x->size() != 4) return x->size() == y->size() && x->back() != y->back();
  Shape shape = *y;
  const auto* axis = op.attribute<std::int64_t>("axis");
  if (axis != nullptr && *axis >= 1 && *axis < 4) {
    shape.resize(static_cast<std::size_t>(4 - *axis), 1);
  }
  shape.insert(shape.begin(), 4 - shape.size(), 1);
  const std::int64_t channels = std::max(shape[1], x->at(1));
  const auto spreads = [&](std::size_t i) { return x->at(i) == 1 && shape[i] != 1; };
  const Shape& smaller = spreads(2) || spreads(3) ? *x : shape;
  return smaller[1] != channels || smaller[2] != 1 || smaller[3] != 1;
}

/// oneDNN swaps the operands if the first one must be broadcast: always for a quotient, and for
/// other operators if it has fewer dimensions.
bool repeats_first(const Shape& x, const Shape& y, bool quotient) {
  if (x.size() < y.size() || !quotient) return x.size() < y.size();
  return !std::equal(y.begin(), y.end(), x.end() - static_cast<std::ptrdiff_t>(y.size()),
                     [](auto to, auto from) { return from != 1 || to == 1; });
}

std::string refuse_pair(const OperatorInProgram& op) {
  const Value* x = op.input("X", 0);
  const Value* y = op.input("Y", 1);
  if (x == nullptr || y == nullptr) return op.with_shape(x == nullptr ? "X" : "Y");
  if (op.is_one_of("elementwise_add add")) {
    return is_wrong_sum(op, &x->shape, &y->shape) ? op.with_shape("Y", 1) : "";
  }
  const bool quotient = op.is_one_of("elementwise_div divide");
  return repeats_first(x->shape, y->shape, quotient) ? op.with_shape("X", 0) : "";
}

/// When oneDNN averages the zeros around an image too, it counts as many of them as Paddle only if
/// the padding is the same on both sides and no window is larger than the padded image. It fails if
/// the last window, which ceil_mode adds, begins after the image.
std::string refuse_pool_for_onednn(const OperatorInProgram& op) {
  const bool ceil = op.is("ceil_mode=1");
  const bool counts_zeros = op.is("pooling_type=avg exclusive=0");
  const bool valid = op.is("padding_algorithm=VALID");
  if (op.is("adaptive=1") || op.is("global_pooling=1")) return "";
  if (!counts_zeros && !(ceil && op.is("padding_algorithm=EXPLICIT"))) return "";
  const std::string also = counts_zeros ? ", exclusive=0" : "";
  if (op.is("padding_algorithm=SAME")) return op.with("padding_algorithm") + also;
  if (counts_zeros && ceil && !valid) return op.with("ceil_mode") + also;
  const Value* image = op.input("X");
  const Integers kernel = op.integers("ksize", 1);
  const Integers strides = op.integers("strides");
  const Integers paddings = valid ? Integers(4) : paddings_of(op);
  if (image == nullptr || !are_small(image->shape, 4)) return op.with_shape("X") + also;
  if (!counts_zeros && kernel.empty()) return "";  // of PIR, where nothing checks the program
  if (!are_small(kernel, 2)) return op.with("ksize") + also;
  if (!are_small(paddings, 4)) return op.with("paddings") + also;
  if (!are_small(strides, 2) || strides[0] < 1 || strides[1] < 1) return op.with("strides") + also;
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t size = image->shape[i + 2];  // channels that come last are refused before
    const std::int64_t before = paddings[2 * i];
    const std::int64_t room = size + before + paddings[2 * i + 1] - kernel[i];
    if (counts_zeros && before != paddings[2 * i + 1]) return op.with("paddings") + also;
    if (counts_zeros && room < 0) {
      return printable(op.type()) + " with a window larger than the image" + also;
    }
    const std::int64_t last = (room + strides[i] - 1) / strides[i] * strides[i] - before;
    if (!counts_zeros && size > 0 && last >= size) return op.with("ceil_mode");
  }
  return "";
}

/// oneDNN misreads a matrix whose dimensions are stored in another order: a matrix of images, a
/// transposed matrix, and a transposed matrix with one column, whose strides do not show the order.
std::string refuse_matrices(const OperatorInProgram& op) {
  constexpr std::array<const char*, 2> kNames = {"X", "Y"};
  // The names in a .pdmodel, in files of Paddle 1, and in a .json.
  const std::array<std::string, 2> transposed = {
      op.named({"trans_x", "transpose_X", "transpose_x"}),
      op.named({"trans_y", "transpose_Y", "transpose_y"})};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    const Value* value = op.input(kNames[i], i);
    if (value == nullptr || value->shape.size() < 2 || value->shape.size() > 3) {
      return op.with_shape(kNames[i], i);
    }
    if (op.is(transposed[i] + "=0")) continue;
    const Shape& shape = value->shape;
    // The terms of a sum: rows of a transposed X, columns of a transposed Y.
    const std::int64_t terms = i == 0 ? shape[shape.size() - 2] : shape.back();
    if (terms < 2) return op.with(transposed[i]) + " and one term in each sum";
  }
  return "";
}

/// oneDNN selects another pixel as the nearest one, unless each pixel is repeated the same number
/// of times. It writes past the end of the memory if a slice left one pixel.
std::string refuse_nearest(const OperatorInProgram& op) {
  const Value* x = op.input("X");
  const Value* out = op.output("Out");
  if (x == nullptr || out == nullptr || x->shape.size() != 4 || out->shape.size() != 4) {
    return op.with_shape("X");
  }
  if (x->shape[2] == 1 && x->shape[3] == 1) return op.type() + " of one pixel";
  for (std::size_t i = 2; i < 4; ++i) {
    const bool repeats = x->shape[i] > 0 && out->shape[i] > 0 && out->shape[i] % x->shape[i] == 0;
    if (!repeats) return printable(op.type()) + " to a size that is no multiple of the image's";
  }
  return "";
}

/// oneDNN writes past the end of the memory.
std::string refuse_pad(const OperatorInProgram& op) { return op.with("paddings"); }

/// If the scale or the bias is missing, oneDNN ignores the other one too.
std::string refuse_layer_norm(const OperatorInProgram& op) {
  const bool scaled = op.input("Scale", 1) != nullptr;
  const bool biased = op.input("Bias", 2) != nullptr;
  return scaled == biased ? "" : op.type() + " without " + (scaled ? "bias" : "scale");
}

/// oneDNN ignores the threshold, above which Paddle returns the argument itself. Above the default
/// threshold the two differ by only 2e-9.
std::string refuse_softplus(const OperatorInProgram& op) {
  constexpr double kDefaultThreshold = 20;
  const auto* threshold = op.attribute<double>("threshold");
  const bool fits = threshold != nullptr && *threshold >= kDefaultThreshold;
  return fits ? "" : op.with("threshold");
}

/// After a flatten, oneDNN reads wrong memory instead of the single weight of all channels.
std::string refuse_prelu(const OperatorInProgram& op) {
  const Value* input = op.input("X", 0);
  const Value* weight = op.input("Alpha", 1);
  const bool images = input != nullptr && input->shape.size() == 4;
  const bool of_all = weight != nullptr && weight->shape == Shape{1};
  return of_all && !images ? op.type() + " of vectors with one weight" : "";
}

std::string refuse_any(const OperatorInProgram& op) { return op.type(); }

/// Operators for which oneDNN has a kernel with a fault.
struct Faulty {
  /// The names in both formats, as OperatorInProgram::type gives them. A test goes through all
  /// names of the rules, so that a fault that is known in one format is refused in the other too.
  std::string_view types;
  std::string (*refuse)(const OperatorInProgram&);
  unsigned dialects = kPaddle;  ///< fewer where the other format was seen to be right
};

constexpr Faulty kFaulty[] = {
    {"conv2d depthwise_conv2d", refuse_convolution_for_onednn},
    {"elementwise_add elementwise_sub elementwise_mul elementwise_div", refuse_pair},
    {"add subtract multiply divide", refuse_pair},
    {"pool2d", refuse_pool_for_onednn},
    {"matmul_v2 matmul", refuse_matrices},
    {"pad", refuse_pad},
    {"batch_norm", refuse_plain_normalization},  // crashes where one of them is missing
    {"layer_norm", refuse_layer_norm},
    {"softplus", refuse_softplus},
    {"prelu", refuse_prelu},
    // A matmul behind one whose few channels are averaged or reduced misreads the layout.
    {"conv2d_transpose", refuse_any, kPir},
    // In PIR the scales are stored as doubles, of which the arguments of oneDNN's kernels know no
    // arrays.
    {"bilinear_interp nearest_interp", refuse_any, kPir},
    {"nearest_interp_v2", refuse_nearest},
    {"if while conditional_block", refuse_any},  // its passes do not look into the blocks
};

}  // namespace

bool has_channels_last(const OperatorInProgram& op) {
  for (const char* name : {"data_format", "data_layout"}) {
    const auto* layout = op.attribute<std::string>(name);
    if (layout != nullptr && *layout == "NHWC") return true;
  }
  return false;
}

std::string refuse_plain_normalization(const OperatorInProgram& op) {
  const bool whole = op.input("Scale", 3) != nullptr && op.input("Bias", 4) != nullptr;
  return whole ? "" : printable(op.type()) + " without scale or bias";
}

std::string refuse_for_onednn(const OperatorInProgram& op, bool channels_last) {
  // oneDNN mixes up the channels after operators of the other layout. Without such an operator, it
  // gives wrong shapes.
  if (channels_last) return printable(op.type()) + " of channels that come last (NHWC)";
  for (const Faulty& row : kFaulty) {
    const bool meant = (row.dialects & bit(op.dialect())) != 0 && op.is_one_of(row.types);
    if (!meant) continue;
    std::string refusal = row.refuse(op);
    if (!refusal.empty()) return refusal;
  }
  return "";
}

std::string refuse_convolution_in_int8(const OperatorInProgram& op) {
  const Value* filter = op.input("Filter", 1);
  const Value* image = op.input("Input", 0);
  const auto* groups = op.attribute<std::int64_t>("groups");
  const Integers strides = op.integers("strides");
  const Integers paddings = paddings_of(op);
  if (!op.is_one_of("conv2d depthwise_conv2d") || filter == nullptr || image == nullptr ||
      filter->parameter || !are_small(filter->shape, 4) || !are_small(image->shape, 4) ||
      !are_small(strides, 2) || !are_small(paddings, 4)) {
    return "";  // with a parameter, it stays in float32
  }
  const bool one =
      filter->shape[1] == 1 && (groups == nullptr || *groups == 1 || filter->shape[0] > *groups);
  const bool strided = strides[0] > 0 && strides[1] > 0;
  if (!one || !strided || filter->shape[2] == 1 || !op.is("dilations=[1,1]")) return "";
  const bool same = op.is("padding_algorithm=SAME");
  if (!same && (paddings[0] != 0 || !op.is("padding_algorithm=EXPLICIT"))) return "";
  // Returns how far the windows extend beyond the last row or column.
  const auto beyond = [&](std::size_t axis, std::int64_t padding) {
    const std::int64_t size = image->shape[2 + axis];
    const std::int64_t step = strides[axis];
    const std::int64_t kernel = filter->shape[2 + axis];
    const std::int64_t steps = same ? (size - 1) / step : (size + padding - kernel) / step;
    return steps * step + kernel - size;
  };
  const bool open = image->shape[2] < 1;
  const bool ends = open ? (same ? filter->shape[2] <= strides[0] : paddings[1] < strides[0])
                         : beyond(0, paddings[1]) == 0;
  const bool sides = !same                 ? paddings[2] + paddings[3] > 0
                     : image->shape[3] < 1 ? filter->shape[3] > 1
                                           : beyond(1, 0) > 0;
  const char* const named = same ? "padding_algorithm" : "paddings";
  return ends && sides ? op.with(named) + ", at the sides alone" : "";
}

std::string StackedActivations::refuse(const Operator& op, const OperatorInProgram& view) {
  constexpr std::string_view kActivations =
      "relu relu6 sigmoid tanh gelu swish mish leaky_relu abs clip hard_swish hardswish "
      "hard_sigmoid sqrt hardsigmoid";
  int depth = view.is_one_of("elementwise_add add") ? 1 : 0;
  if (view.is_one_of(kActivations)) {
    each_value(op.inputs, [&](std::size_t value) {
      const auto found = depths_.find(value);
      if (found != depths_.end()) depth = std::max(depth, found->second + 1);
      found_ = found_ || activated_.count(value) > 0;
    });
    each_value(op.outputs, [&](std::size_t value) { activated_.insert(value); });
  }
  if (depth > 2) return printable(view.type()) + " behind another activation";
  const Value* input = view.input("X");
  const bool vectors = input != nullptr && input->shape.size() != 4;
  if (!vectors || depth == 0) return "";
  each_value(op.outputs, [&](std::size_t value) { depths_[value] = depth; });
  return "";
}

std::string TransposedMatrices::refuse(const Operator& op, const OperatorInProgram& view) {
  const auto takes_one_of = [&](const std::set<std::size_t>& values) {
    bool found = false;
    each_value(op.inputs, [&](std::size_t value) { found = found || values.count(value) > 0; });
    return found;
  };
  const auto note = [&](std::set<std::size_t>& values) {
    each_value(op.outputs, [&](std::size_t value) { values.insert(value); });
  };
  if (view.is_one_of("reshape reshape2")) {
    note(reshaped_);
  } else if (view.is_one_of("transpose transpose2") && takes_one_of(reshaped_)) {
    note(transposed_);
  } else if (view.is_one_of("matmul matmul_v2") && takes_one_of(transposed_)) {
    return printable(view.type()) + " of values that were reshaped and then transposed";
  }
  return "";
}
}  // namespace lenet

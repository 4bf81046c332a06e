#include "model/operators.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "model/rule_support.h"
#include "model/rules.h"

namespace lenet {
namespace {

// ---- windows: convolution and pooling

struct Window {
  Integers kernel;
  Integers strides;
  Integers dilations;
  Integers paddings;
  std::string algorithm;
  bool ceil = false;
};

/// The size of one spatial dimension of the output. Of a pool, Paddle divides towards zero, so that
/// a window may be larger than the image by less than the stride; and with SAME it rounds up where
/// ceil_mode is set, for which a window shorter than the stride leaves something to round.
std::int64_t windowed(const Step& step, std::int64_t size, const Window& window, std::size_t i,
                      bool pool) {
  const std::int64_t extent = window.dilations[i] * (window.kernel[i] - 1) + 1;
  const std::int64_t stride = window.strides[i];
  const bool pairs = window.paddings.size() == 4;
  const std::int64_t before = pairs ? window.paddings[2 * i] : window.paddings[i];
  const std::int64_t after = pairs ? window.paddings[2 * i + 1] : window.paddings[i];
  if (size == kUnknown) return kUnknown;
  std::int64_t pad = window.algorithm == "VALID" ? 0 : before + after;
  if (window.algorithm == "SAME") {
    const std::int64_t outputs = (size + stride - 1) / stride;
    if (!pool) return outputs;
    pad = std::max<std::int64_t>((outputs - 1) * stride + extent - size, 0);
  }
  const std::int64_t room = size + pad - extent + (window.ceil ? stride - 1 : 0);
  const std::int64_t outputs = room / stride + 1;
  if (pool && outputs == 0) step.unsupported("pools to an empty tensor; use a larger image");
  step.require(room >= 0 || (pool && outputs > 0), "a window larger than the image");
  return outputs;
}

void require_window(const Step& step, Window& window) {
  require_range(step, window.kernel, 2, 1, kMaxStep, "kernel sizes");
  require_range(step, window.strides, 2, 1, kMaxStep, "strides");
  require_range(step, window.dilations, 2, 1, kMaxStep, "dilations");
  require_range(step, window.paddings, window.paddings.size() == 4 ? 4 : 2, 0, kMaxStep,
                "paddings");
  window.algorithm = step.text("padding_algorithm");
  step.require(
      window.algorithm == "EXPLICIT" || window.algorithm == "SAME" || window.algorithm == "VALID",
      "padding_algorithm");
}

void infer_conv(Step& step) {
  const Value& input = step.in("Input");
  const Value& filter = step.in("Filter");
  step.require(input.shape.size() == 4 && filter.shape.size() == 4, "the rank");
  step.require(input.dtype == filter.dtype, "the element type");
  for (const std::int64_t size : filter.shape) step.require(size > 0, "the filter");
  const bool last = channels_last(step, "data_format");
  const std::size_t channel = last ? 3 : 1;
  const std::size_t image = last ? 1 : 2;
  const std::int64_t channels = input.shape[channel];
  const std::int64_t groups = step.integer("groups");
  step.require(groups >= 1 && filter.shape[0] % groups == 0 && channels > 0 &&
                   channels % groups == 0 && filter.shape[1] == channels / groups,
               "groups and channels");
  Window window{{filter.shape[2], filter.shape[3]},
                step.integers("strides"),
                step.integers("dilations"),
                step.integers("paddings"),
                {}};
  require_window(step, window);
  Shape shape = input.shape;
  shape[channel] = filter.shape[0];
  for (std::size_t i = 0; i < 2; ++i) {
    shape[image + i] = windowed(step, input.shape[image + i], window, i, false);
  }
  step.count_work(volume(shape) * volume(filter.shape) / static_cast<double>(filter.shape[0]));
  step.give("Output", shape, input.dtype);
}

void infer_pool(Step& step) {
  const Value& input = step.in("X");
  step.require(input.shape.size() == 4, "the rank");
  const bool last = channels_last(step, "data_format");
  const std::size_t image = last ? 1 : 2;
  const std::string& kind = step.text("pooling_type");
  step.require(kind == "max" || kind == "avg", "pooling_type");
  Window window{
      step.integers("ksize"), step.integers("strides"), {1, 1}, step.integers("paddings"), {},
      step.flag("ceil_mode")};
  Shape shape = input.shape;
  if (window.kernel.size() == 1) window.kernel.push_back(window.kernel[0]);
  const bool global = step.flag("global_pooling");
  if (step.flag("adaptive") || global) {
    if (global) window.kernel = {1, 1};
    require_window(step, window);
    for (std::size_t i = 0; i < 2; ++i) shape[image + i] = window.kernel[i];
  } else {
    require_window(step, window);
    for (std::size_t i = 0; i < 2; ++i) {
      shape[image + i] = windowed(step, input.shape[image + i], window, i, true);
    }
  }
  // An adaptive or global window covers the image once.
  step.count_work(volume(shape) * static_cast<double>(window.kernel[0] * window.kernel[1]));
  step.give("Out", shape, input.dtype);
}

// ---- algebra

void infer_elementwise(Step& step) {
  const Value& x = step.in("X");
  const Value& y = step.in("Y");
  step.require(x.dtype == y.dtype, "the element type");
  Shape other = y.shape;
  const std::int64_t axis = step.has_attribute("axis") ? step.integer("axis") : -1;
  if (axis != -1) {  // where the dimensions of Y begin in X
    step.require(axis >= 0 && static_cast<std::size_t>(axis) + other.size() <= x.shape.size(),
                 "axis");
    other.resize(x.shape.size() - static_cast<std::size_t>(axis), 1);
  }
  step.give("Out", broadcast(step, x.shape, other), x.dtype);
}

void infer_matmul(Step& step) {
  const Value& x = step.in("X");
  const Value& y = step.in("Y");
  step.require(x.dtype == y.dtype, "the element type");
  step.require(x.shape.size() >= 2 && y.shape.size() >= 2, "the rank");
  const auto matrix = [&](const Value& value, const std::string& transposed) {
    std::array<std::int64_t, 2> sizes = {value.shape[value.shape.size() - 2], value.shape.back()};
    if (step.flag(transposed)) std::swap(sizes[0], sizes[1]);
    return sizes;
  };
  const auto left = matrix(x, either(step, "trans_x", "transpose_x"));
  const auto right = matrix(y, either(step, "trans_y", "transpose_y"));
  step.require(fits(left[1], right[0]), "matrices that do not match");
  Shape shape = broadcast(step, Shape(x.shape.begin(), x.shape.end() - 2),
                          Shape(y.shape.begin(), y.shape.end() - 2));
  shape.push_back(left[0]);
  shape.push_back(right[1]);
  step.count_work(volume(shape) * static_cast<double>(std::max(left[1], right[0])));
  step.give("Out", shape, x.dtype);
}

void infer_same(Step& step) { step.give_like("Out", step.in("X")); }

void infer_dropout(Step& step) {
  step.require(step.flag("is_test"), "dropout while not testing");
  step.require(!step.has("Seed"), "a seed");
  const std::string& mode = step.text(either(step, "dropout_implementation", "mode"));
  step.require(mode == "upscale_in_train" || mode == "downgrade_in_infer", "the mode");
  infer_same(step);
  step.give("Mask", step.in("X").shape, kUint8);
}

void infer_scale(Step& step) {
  step.require(!step.has("ScaleTensor") && !step.has("BiasTensor"), "a scale that is a tensor");
  infer_same(step);
}

void infer_clip(Step& step) {
  step.require(!step.has("Min") && !step.has("Max"), "a bound that is a tensor");
  infer_same(step);
}

void infer_softmax(Step& step) {
  const Value& x = step.in("X");
  step.axis(step.integer("axis"), x.shape.size());
  infer_same(step);
}

void infer_batch_norm(Step& step) {
  const Value& x = step.in("X");
  const bool last = channels_last(step, either(step, "data_layout", "data_format"));
  step.require(x.shape.size() >= 2 && x.shape.size() <= 5, "the rank");
  const std::int64_t channels = last ? x.shape.back() : x.shape[1];
  for (const char* name : {"Scale", "Bias", "Mean", "Variance"}) {
    step.require(step.has(name), name);
    require_vector(step, name, channels);
  }
  step.require(step.flag("is_test") || step.flag("use_global_stats"),
               "normalization while not testing");
  step.require(!step.flag("trainable_statistics"), "trainable_statistics");
  step.give_like("Y", x);
  step.give("MeanOut", {channels}, step.in("Mean").dtype);
  step.give("VarianceOut", {channels}, step.in("Variance").dtype);
  // Of training only; Paddle leaves them undeclared in some programs.
  for (const char* name : {"SavedMean", "SavedVariance"}) step.give_unused(name, {channels});
  if (step.outputs("ReserveSpace") > 0) {
    step.give_unused("ReserveSpace", step.declared("ReserveSpace").shape);
  }
}

void infer_layer_norm(Step& step) {
  const Value& x = step.in("X");
  const std::int64_t begin = step.integer("begin_norm_axis");
  step.require(begin >= 1 && static_cast<std::size_t>(begin) < x.shape.size(), "begin_norm_axis");
  const auto from = static_cast<std::size_t>(begin);
  const std::int64_t size = product(x.shape, from, x.shape.size());
  require_vector(step, "Scale", size);
  require_vector(step, "Bias", size);
  step.give_like("Y", x);
  // The format before PIR has the leading dimensions flattened.
  for (const char* name : {"Mean", "Variance"}) {
    if (step.outputs(name) == 0) continue;
    const bool flat = step.declared(name).shape.size() == 1;
    step.give(
        name,
        flat ? Shape{product(x.shape, 0, from)} : Shape(x.shape.begin(), x.shape.begin() + begin),
        x.dtype);
  }
}

// ---- shapes

void infer_reshape(Step& step) {
  const Value& x = step.in("X");
  std::optional<Integers> wanted;
  if (!step.has("Shape") && !step.has("ShapeTensor")) wanted = step.known_integers("shape");
  if (!wanted) {  // from other inputs, known when it runs; Paddle then compares the sizes
    give_rearranged(step, step.declared("Out").shape);
    return;
  }
  Shape shape = *wanted;
  std::optional<std::size_t> open;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) {
      step.require(i < x.shape.size(), "shape");
      shape[i] = x.shape[i];
    } else if (shape[i] == kUnknown) {
      step.require(!open, "two open dimensions");
      open = i;
    }
    step.require(shape[i] >= kUnknown && shape[i] <= std::numeric_limits<std::int32_t>::max(),
                 "shape");
  }
  // A free batch dimension is taken for 1: it is the same on both sides, or the open one.
  const double before = volume(x.shape);
  const double after = volume(shape);
  const bool batch = std::count(x.shape.begin(), x.shape.end(), kUnknown) > 0;
  const auto unknown = std::count(shape.begin(), shape.end(), kUnknown);
  if (open && unknown == 1 && !batch) shape[*open] = static_cast<std::int64_t>(before / after);
  if (open && unknown == 2 && batch) {
    // The batch is kept elsewhere; the open dimension is what is left.
    step.require(std::fmod(before, after) == 0, "a size that does not match");
    shape[*open] = static_cast<std::int64_t>(before / after);
  }
  const bool settled = std::count(shape.begin(), shape.end(), kUnknown) ==
                       std::count(x.shape.begin(), x.shape.end(), kUnknown);
  step.require(!settled || volume(shape) == before, "a size that does not match");
  give_rearranged(step, shape);
}

void infer_flatten(Step& step) {
  const Value& x = step.in("X");
  step.require(!x.shape.empty(), "the rank");
  const std::size_t start = step.axis(step.integer("start_axis"), x.shape.size());
  const std::size_t stop = step.axis(step.integer("stop_axis"), x.shape.size());
  step.require(start <= stop, "the axes");
  const auto at = [&](std::size_t i) { return x.shape.begin() + static_cast<std::ptrdiff_t>(i); };
  Shape shape(x.shape.begin(), at(start));
  shape.push_back(product(x.shape, start, stop + 1));
  shape.insert(shape.end(), at(stop + 1), x.shape.end());
  give_rearranged(step, shape);
}

void infer_transpose(Step& step) {
  const Value& x = step.in("X");
  const Integers order = step.integers(either(step, "perm", "axis"));
  step.require(order.size() == x.shape.size(), "the axes");
  Shape shape;
  std::vector<bool> used(order.size());
  for (const std::int64_t given : order) {
    const std::size_t axis = step.axis(given, order.size());
    step.require(!used[axis], "the axes");
    used[axis] = true;
    shape.push_back(x.shape[axis]);
  }
  give_rearranged(step, shape);
}

void infer_squeeze(Step& step) {
  const Value& x = step.in("X");
  step.require(!step.has("AxesTensor") && !step.has("AxesTensorList"), "axes that are a tensor");
  const Integers axes = step.integers("axes");
  step.require(!axes.empty(), "the axes");
  Shape shape = x.shape;
  for (const std::int64_t given : axes) shape[step.axis(given, x.shape.size())] = 0;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    // Paddle leaves dimensions other than 1 as they are.
    if (shape[i] == 0 && x.shape[i] != 1) shape[i] = x.shape[i];
  }
  shape.erase(std::remove(shape.begin(), shape.end(), 0), shape.end());
  give_rearranged(step, shape);
}

void infer_unsqueeze(Step& step) {
  step.require(!step.has("AxesTensor") && !step.has("AxesTensorList"), "axes that are a tensor");
  Shape shape = step.in("X").shape;
  for (const std::int64_t given : step.integers("axes")) {
    const std::size_t axis = step.axis(given, shape.size() + 1);
    shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), 1);
    step.require(shape.size() <= 9, "the rank");
  }
  give_rearranged(step, shape);
}

void infer_concat(Step& step) {
  step.require(!step.has("AxisTensor"), "an axis that is a tensor");
  const Value& first = step.in("X");
  const Integers given = step.integers("axis");
  step.require(given.size() == 1, "axis");
  const std::size_t axis = step.axis(given[0], first.shape.size());
  Shape shape = first.shape;
  for (std::size_t i = 1; i < step.count("X"); ++i) {
    const Value& next = step.in("X", i);
    step.require(next.shape.size() == shape.size() && next.dtype == first.dtype, "the inputs");
    for (std::size_t k = 0; k < shape.size(); ++k) {
      if (k == axis) {
        const bool known = shape[k] != kUnknown && next.shape[k] != kUnknown;
        shape[k] = known ? shape[k] + next.shape[k] : kUnknown;
      } else {
        step.require(fits(shape[k], next.shape[k]), "the inputs");
        shape[k] = std::max(shape[k], next.shape[k]);
      }
    }
  }
  step.give("Out", shape, first.dtype);
}

void infer_stack(Step& step) {
  const Value& first = step.in("X");
  for (std::size_t i = 1; i < step.count("X"); ++i) {
    const Value& next = step.in("X", i);
    step.require(next.shape.size() == first.shape.size() && next.dtype == first.dtype,
                 "the inputs");
    for (std::size_t k = 0; k < first.shape.size(); ++k) {
      step.require(fits(first.shape[k], next.shape[k]), "the inputs");
    }
  }
  Shape shape = first.shape;
  const std::size_t axis = step.axis(step.integer("axis"), shape.size() + 1);
  shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis),
               static_cast<std::int64_t>(step.count("X")));
  step.give(either(step, "Y", "Out") == "Y" || step.outputs("Y") > 0 ? "Y" : "Out", shape,
            first.dtype);
}

void infer_split(Step& step) {
  step.require(!step.has("AxisTensor") && !step.has("SectionsTensorList"),
               "sections that are tensors");
  const Value& x = step.in("X");
  const Integers given = step.integers("axis");
  step.require(given.size() == 1, "axis");
  const std::size_t axis = step.axis(given[0], x.shape.size());
  Integers sections;
  if (step.has_attribute("sections") || step.has("sections")) sections = step.integers("sections");
  const std::size_t parts = step.outputs("Out");
  const std::int64_t size = x.shape[axis];
  step.require(size > 0 && parts > 0, "the size");
  if (sections.empty()) {
    const auto count = static_cast<std::int64_t>(parts);
    const bool even = step.integer("num") == count && size % count == 0;
    step.require(even, "the number of parts");
    sections.assign(parts, size / count);
  }
  std::int64_t left = size;
  std::optional<std::size_t> open;
  for (std::size_t i = 0; i < sections.size(); ++i) {
    if (sections[i] == kUnknown) {
      step.require(!open, "the sections");
      open = i;
      continue;
    }
    step.require(sections[i] >= 1 && sections[i] <= left, "the sections");
    left -= sections[i];
  }
  if (open) {
    sections[*open] = left;
    left = 0;
    step.require(sections[*open] >= 1, "the sections");
  }
  step.require(left == 0 && sections.size() == parts, "the sections");
  for (std::size_t i = 0; i < parts; ++i) {
    Shape shape = x.shape;
    shape[axis] = sections[i];
    step.give("Out", shape, x.dtype, i);
  }
}

void infer_reduce(Step& step) {
  const Value& x = step.in("X");
  step.require(!x.shape.empty(), "the rank");
  step.require(!step.has("AxisTensor") && !step.has("AxisTensorList"), "axes that are a tensor");
  const bool keep = step.flag(either(step, "keep_dim", "keepdim"));
  const Integers axes = step.integers(either(step, "dim", "axis"));
  const bool all = axes.empty() || (step.has_attribute("reduce_all") && step.flag("reduce_all"));
  std::vector<bool> gone(x.shape.size(), all);
  for (const std::int64_t given : axes) gone[step.axis(given, x.shape.size())] = true;
  Shape shape;
  for (std::size_t i = 0; i < gone.size(); ++i) {
    if (!gone[i]) shape.push_back(x.shape[i]);
    if (gone[i] && keep) shape.push_back(1);
  }
  step.give("Out", shape, x.dtype);
}

void infer_shape(Step& step) {
  const std::string name = either(step, "Input", "X");
  step.give("Out", {static_cast<std::int64_t>(step.in(name).shape.size())},
            step.declared("Out").dtype);
  const int dtype = step.declared("Out").dtype;
  step.require(dtype == kInt32 || dtype == kInt64, "the element type");
}

// ---- constants, inputs and outputs

constexpr std::size_t kMaxConstants = 64;

void infer_full(Step& step) {
  const Shape shape = step.integers("shape");
  for (const std::int64_t size : shape) step.require(size >= 1, "shape");
  step.require(volume(shape) <= kMaxConstants, "shape");
  step.give("Out", shape, dtype_named(step, step.text("dtype")));
  const double value = step.number("value");
  if (value == std::floor(value) && std::abs(value) < 1e15) {
    step.give_constant(
        "Out", Integers(static_cast<std::size_t>(volume(shape)), static_cast<std::int64_t>(value)));
  }
}

/// The constant of the format before PIR; its value is not followed.
void infer_fill_constant(Step& step) {
  for (const char* name : {"ValueTensor", "ShapeTensor", "ShapeTensorList"}) {
    step.require(!step.has(name), "a tensor");
  }
  const Shape shape = step.integers("shape");
  for (const std::int64_t size : shape) step.require(size >= 1, "shape");
  step.require(volume(shape) <= kMaxConstants, "shape");
  step.give("Out", shape, static_cast<int>(step.integer("dtype")));
}

void infer_full_int_array(Step& step) {
  const Integers values = step.integers("value");  // none, for an optional list left out
  step.require(values.size() <= kMaxConstants, "value");
  step.give("Out", {static_cast<std::int64_t>(values.size())},
            dtype_named(step, step.text("dtype")));
  step.give_constant("Out", values);
}

void infer_data(Step& step) {
  const Value& out = step.declared("Out");
  step.require(out.shape == step.integers("shape"), "shape");
  step.require(out.dtype == dtype_named(step, step.text("dtype")), "dtype");
  step.give("Out", out.shape, out.dtype);
}

void infer_feed(Step& step) {
  const Value& out = step.declared("Out");
  step.require(step.integer("col") == 0, "col");
  step.give("Out", out.shape, out.dtype);
}

void infer_nothing(Step& /*step*/) {}

// The attributes are stored as Paddle 3.1 to 3.3 store them; the kernels and passes take that on
// trust.
constexpr std::string_view kConvProgram =
    "strides:ints paddings:ints padding_algorithm:str dilations:ints groups:int data_format:str";
constexpr std::string_view kPoolProgram =
    "ksize:ints strides:ints paddings:ints ceil_mode:bool exclusive:bool data_format:str "
    "pooling_type:str global_pooling:bool adaptive:bool padding_algorithm:str";
constexpr std::string_view kReduceProgram =
    "dim:ints keep_dim:bool reduce_all:bool in_dtype:int? out_dtype:int?";
constexpr std::string_view kExtremeInputs = "X AxisTensor? AxisTensorList*?";
constexpr std::string_view kExtremeProgram =
    "dim:longs keep_dim:bool reduce_all:bool in_dtype:int? out_dtype:int?";

constexpr std::string_view kConvTransposeProgram =
    "strides:ints paddings:ints output_padding:ints output_size:ints padding_algorithm:str "
    "dilations:ints groups:int data_format:str";
constexpr std::string_view kInterpolateInputs = "X OutSize? SizeTensor*? Scale?";
constexpr std::string_view kInterpolateProgram =
    "data_layout:str out_d:int out_h:int out_w:int scale:floats interp_method:str "
    "align_corners:bool align_mode:int";
constexpr std::string_view kCompareProgram = "axis:int force_cpu:bool?";
// The optional ones are of training.
constexpr std::string_view kQuantizeInputs = "X Scale ZeroPoint InAccum? InState?";
constexpr std::string_view kQuantizeOutputs = "Y OutScale? OutAccum? OutState?";
constexpr std::string_view kQuantizeProgram =
    "bit_length:int quant_axis:int is_test:bool? only_observer:bool? round_type:int? qmin:int? "
    "qmax:int?";

constexpr OperatorRule kProgramOperators[] = {
    {"feed", "X", "Out", "col:int", infer_feed},
    {"fetch", "X", "Out", "col:int", infer_nothing},
    {"conv2d", "Input Filter", "Output", kConvProgram, infer_conv},
    {"depthwise_conv2d", "Input Filter", "Output", kConvProgram, infer_conv},
    {"pool2d", "X", "Out", kPoolProgram, infer_pool},
    {"matmul_v2", "X Y", "Out", "trans_x:bool trans_y:bool", infer_matmul},
    {"elementwise_add", "X Y", "Out", "axis:int", infer_elementwise},
    {"elementwise_sub", "X Y", "Out", "axis:int", infer_elementwise},
    {"elementwise_mul", "X Y", "Out", "axis:int", infer_elementwise},
    {"elementwise_div", "X Y", "Out", "axis:int", infer_elementwise},
    {"elementwise_max", "X Y", "Out", "axis:int", infer_elementwise},
    {"elementwise_min", "X Y", "Out", "axis:int", infer_elementwise},
    {"batch_norm", "X Scale Bias Mean Variance MomentumTensor?",
     "Y MeanOut VarianceOut SavedMean SavedVariance ReserveSpace?",
     "is_test:bool momentum:float epsilon:float data_layout:str use_global_stats:bool "
     "trainable_statistics:bool",
     infer_batch_norm},
    {"layer_norm", "X Scale? Bias?", "Y Mean Variance", "epsilon:float begin_norm_axis:int",
     infer_layer_norm},
    {"softmax", "X", "Out", "axis:int", infer_softmax},
    {"log_softmax", "X", "Out", "axis:int", infer_softmax},
    {"dropout", "X Seed?", "Out Mask?",
     "dropout_prob:float is_test:bool dropout_implementation:str fix_seed:bool? seed:int?",
     infer_dropout},
    {"scale", "X ScaleTensor? BiasTensor?", "Out", "scale:float bias:float bias_after_scale:bool",
     infer_scale},
    {"clip", "X Min? Max?", "Out", "min:float max:float", infer_clip},
    {"reshape2", "X Shape? ShapeTensor*?", "Out XShape?", "shape:ints", infer_reshape},
    {"flatten_contiguous_range", "X", "Out XShape?", "start_axis:int stop_axis:int", infer_flatten},
    {"transpose2", "X", "Out XShape?", "axis:ints", infer_transpose},
    {"squeeze2", "X", "Out XShape?", "axes:ints", infer_squeeze},
    {"unsqueeze2", "X AxesTensor? AxesTensorList*?", "Out XShape?", "axes:ints", infer_unsqueeze},
    {"concat", "X* AxisTensor?", "Out", "axis:int", infer_concat},
    {"stack", "X*", "Y", "axis:int", infer_stack},
    {"split", "X AxisTensor? SectionsTensorList*?", "Out*", "axis:int num:int sections:ints",
     infer_split},
    {"reduce_mean", "X", "Out", kReduceProgram, infer_reduce},
    {"reduce_sum", "X", "Out", kReduceProgram, infer_reduce},
    {"reduce_max", "X", "Out", kReduceProgram, infer_reduce},
    {"reduce_min", "X", "Out", kReduceProgram, infer_reduce},
    {"fill_constant", "ValueTensor? ShapeTensor? ShapeTensorList*?", "Out",
     "shape:longs value:float dtype:int str_value:str? force_cpu:bool? place_type:int?",
     infer_fill_constant},
    {"shape", "Input", "Out", "", infer_shape},
    {"slice", "Input StartsTensor? EndsTensor? StartsTensorList*? EndsTensorList*?", "Out",
     "axes:ints starts:ints ends:ints infer_flags:ints decrease_axis:ints", infer_slice},
    {"relu", "X", "Out", "", infer_same},
    {"relu6", "X", "Out", "threshold:float?", infer_same},
    {"sigmoid", "X", "Out", "", infer_same},
    {"tanh", "X", "Out", "", infer_same},
    {"silu", "X", "Out", "", infer_same},
    {"swish", "X", "Out", "beta:float?", infer_same},
    {"mish", "X", "Out", "threshold:float?", infer_same},
    {"gelu", "X", "Out", "approximate:bool", infer_same},
    {"elu", "X", "Out", "alpha:float", infer_same},
    {"leaky_relu", "X", "Out", "alpha:float", infer_same},
    {"hard_swish", "X", "Out", "threshold:float scale:float offset:float", infer_same},
    {"hard_sigmoid", "X", "Out", "slope:float offset:float", infer_same},
    {"softplus", "X", "Out", "beta:float|double threshold:float|double", infer_same},
    {"exp", "X", "Out", "", infer_same},
    {"sqrt", "X", "Out", "", infer_same},
    {"rsqrt", "X", "Out", "", infer_same},
    {"abs", "X", "Out", "", infer_same},
    {"square", "X", "Out", "", infer_same},
    {"conv2d_transpose", "Input Filter Bias?", "Output", kConvTransposeProgram,
     infer_conv_transpose},
    {"depthwise_conv2d_transpose", "Input Filter Bias?", "Output", kConvTransposeProgram,
     infer_conv_transpose},
    {"max_pool2d_with_index", "X", "Out Mask",
     "ksize:ints strides:ints paddings:ints global_pooling:bool adaptive:bool ceil_mode:bool?",
     infer_adaptive_max_pool},
    {"group_norm", "X Scale? Bias?", "Y Mean Variance", "epsilon:float groups:int data_layout:str",
     infer_group_norm},
    {"prelu", "X Alpha", "Out", "mode:str data_format:str", infer_prelu},
    {"nearest_interp_v2", kInterpolateInputs, "Out", kInterpolateProgram, infer_interpolate},
    {"bilinear_interp_v2", kInterpolateInputs, "Out", kInterpolateProgram, infer_interpolate},
    {"bicubic_interp_v2", kInterpolateInputs, "Out", kInterpolateProgram, infer_interpolate},
    {"pad3d", "X Paddings?", "Out", "paddings:ints mode:str value:float data_format:str",
     infer_pad},
    {"pixel_shuffle", "X", "Out", "upscale_factor:int data_format:str", infer_pixel_shuffle},
    {"pixel_unshuffle", "X", "Out", "downscale_factor:int data_format:str", infer_pixel_unshuffle},
    {"channel_shuffle", "X", "Out", "groups:int data_format:str", infer_channel_shuffle},
    {"maxout", "X", "Out", "groups:int axis:int", infer_maxout},
    {"bmm", "X Y", "Out", "", infer_bmm},
    {"p_norm", "X", "Out", "porder:float axis:int epsilon:float keepdim:bool asvector:bool",
     infer_p_norm},
    {"elementwise_pow", "X Y", "Out", "axis:int", infer_elementwise},
    {"pow", "X FactorTensor?", "Out", "factor:float", infer_pow},
    {"greater_than", "X Y", "Out", kCompareProgram, infer_compare},
    {"greater_equal", "X Y", "Out", kCompareProgram, infer_compare},
    {"less_than", "X Y", "Out", kCompareProgram, infer_compare},
    {"less_equal", "X Y", "Out", kCompareProgram, infer_compare},
    {"equal", "X Y", "Out", kCompareProgram, infer_compare},
    {"not_equal", "X Y", "Out", kCompareProgram, infer_compare},
    {"where", "Condition X Y", "Out", "", infer_where},
    {"cast", "X", "Out", "in_dtype:int out_dtype:int", infer_cast},
    {"assign", "X", "Out", "", infer_same},
    {"expand_v2", "X Shape? expand_shapes_tensor*?", "Out", "shape:ints", infer_expand},
    {"tile", "X RepeatTimes? repeat_times_tensor*?", "Out", "repeat_times:ints", infer_tile},
    {"flip", "X", "Out", "axis:ints", infer_flip},
    {"unbind", "X", "Out*", "axis:int", infer_unbind},
    {"strided_slice",
     "Input StartsTensor? EndsTensor? StridesTensor? StartsTensorList*? EndsTensorList*? "
     "StridesTensorList*?",
     "Out", "axes:ints starts:ints ends:ints strides:ints infer_flags:ints decrease_axis:ints",
     infer_slice},
    {"reduce_amax", kExtremeInputs, "Out", kExtremeProgram, infer_reduce},
    {"reduce_amin", kExtremeInputs, "Out", kExtremeProgram, infer_reduce},
    {"logsumexp", "X", "Out", "axis:ints|longs keepdim:bool reduce_all:bool", infer_reduce},
    {"selu", "X", "Out", "scale:float alpha:float", infer_same},
    {"celu", "X", "Out", "alpha:float", infer_same},
    {"brelu", "X", "Out", "t_min:float t_max:float", infer_same},
    {"softsign", "X", "Out", "", infer_same},
    {"softshrink", "X", "Out", "lambda:float", infer_same},
    {"hard_shrink", "X", "Out", "threshold:float", infer_same},
    {"tanh_shrink", "X", "Out", "", infer_same},
    {"thresholded_relu", "X", "Out", "threshold:float value:float?", infer_same},
    {"logsigmoid", "X", "Out", "", infer_same},
    {"erf", "X", "Out", "", infer_same},
    {"log", "X", "Out", "", infer_same},
    {"log1p", "X", "Out", "", infer_same},
    {"sin", "X", "Out", "", infer_same},
    {"cos", "X", "Out", "", infer_same},
    {"floor", "X", "Out", "", infer_same},
    {"ceil", "X", "Out", "", infer_same},
    {"reciprocal", "X", "Out", "", infer_same},
    {"quantize_linear", kQuantizeInputs, kQuantizeOutputs, kQuantizeProgram, infer_quantize},
    {"dequantize_linear", kQuantizeInputs, kQuantizeOutputs, kQuantizeProgram, infer_dequantize},
};

constexpr std::string_view kConvPir =
    "strides:ints paddings:ints padding_algorithm:str dilations:ints groups:int data_format:str";

constexpr std::string_view kConvTransposePir =
    "strides:ints paddings:ints output_padding:ints|empty padding_algorithm:str groups:int "
    "dilations:ints data_format:str";
constexpr std::string_view kInterpolatePir =
    "data_format:str out_d:int out_h:int out_w:int scale:doubles|floats|empty interp_method:str "
    "align_corners:bool align_mode:int";

constexpr OperatorRule kPirOperators[] = {
    {"1.data", "", "Out", "name:str shape:dims dtype:dtype place:place", infer_data},
    {"1.fetch", "X", "Out", "name:str col:int", infer_same},
    {"1.full", "", "Out", "shape:dims value:double dtype:dtype place:place", infer_full},
    {"1.full_int_array", "", "Out", "value:longs|empty dtype:dtype place:place",
     infer_full_int_array},
    {"1.conv2d", "Input Filter", "Output", kConvPir, infer_conv},
    {"1.depthwise_conv2d", "Input Filter", "Output", kConvPir, infer_conv},
    {"1.pool2d", "X ksize", "Out",
     "strides:longs paddings:longs ceil_mode:bool exclusive:bool data_format:str pooling_type:str "
     "global_pooling:bool adaptive:bool padding_algorithm:str",
     infer_pool},
    {"1.matmul", "X Y", "Out", "transpose_x:bool transpose_y:bool", infer_matmul},
    {"1.add", "X Y", "Out", "", infer_elementwise},
    {"1.subtract", "X Y", "Out", "", infer_elementwise},
    {"1.multiply", "X Y", "Out", "", infer_elementwise},
    {"1.divide", "X Y", "Out", "", infer_elementwise},
    {"1.maximum", "X Y", "Out", "", infer_elementwise},
    {"1.minimum", "X Y", "Out", "", infer_elementwise},
    {"1.batch_norm_", "X Mean Variance Scale Bias",
     "Y MeanOut VarianceOut SavedMean SavedVariance ReserveSpace?",
     "is_test:bool momentum:float epsilon:float data_format:str use_global_stats:bool "
     "trainable_statistics:bool",
     infer_batch_norm},
    {"1.layer_norm", "X Scale? Bias?", "Y Mean Variance",
     "epsilon:float|double begin_norm_axis:int", infer_layer_norm},
    {"1.softmax", "X", "Out", "axis:int", infer_softmax},
    {"1.log_softmax", "X", "Out", "axis:int", infer_softmax},
    {"1.dropout", "X Seed? p", "Out Mask?", "is_test:bool mode:str seed:int fix_seed:bool",
     infer_dropout},
    {"1.scale", "X scale", "Out", "bias:float|double bias_after_scale:bool", infer_same},
    {"1.clip", "X min max", "Out", "", infer_same},
    {"1.reshape", "X shape*", "Out", "", infer_reshape},
    {"1.flatten", "X", "Out", "start_axis:int stop_axis:int", infer_flatten},
    {"1.transpose", "X", "Out", "perm:ints", infer_transpose},
    {"1.squeeze", "X axes", "Out", "", infer_squeeze},
    {"1.unsqueeze", "X axes", "Out", "", infer_unsqueeze},
    {"1.concat", "X* axis", "Out", "", infer_concat},
    {"1.stack", "X*", "Out", "axis:int", infer_stack},
    {"1.split", "X sections axis", "Out*", "", infer_split},
    {"1.mean", "X axis", "Out", "keepdim:bool", infer_reduce},
    {"1.sum", "X axis", "Out", "dtype:dtype keepdim:bool", infer_reduce},
    {"1.max", "X axis", "Out", "keepdim:bool", infer_reduce},
    {"1.min", "X axis", "Out", "keepdim:bool", infer_reduce},
    {"1.shape64", "X", "Out", "", infer_shape},
    {"1.shape", "X", "Out", "", infer_shape},
    {"1.slice", "X starts ends", "Out", "axes:longs infer_flags:longs decrease_axis:longs|empty",
     infer_slice},
    {"1.relu", "X", "Out", "", infer_same},
    {"1.relu6", "X", "Out", "", infer_same},
    {"1.sigmoid", "X", "Out", "", infer_same},
    {"1.tanh", "X", "Out", "", infer_same},
    {"1.silu", "X", "Out", "", infer_same},
    {"1.swish", "X", "Out", "", infer_same},
    {"1.mish", "X", "Out", "lambda:float", infer_same},
    {"1.gelu", "X", "Out", "approximate:bool", infer_same},
    {"1.elu", "X", "Out", "alpha:float", infer_same},
    {"1.leaky_relu", "X", "Out", "negative_slope:float|double", infer_same},
    {"1.hardswish", "X", "Out", "", infer_same},
    {"1.hardsigmoid", "X", "Out", "slope:float offset:float", infer_same},
    {"1.softplus", "X", "Out", "beta:float|double threshold:float|double", infer_same},
    {"1.exp", "X", "Out", "", infer_same},
    {"1.sqrt", "X", "Out", "", infer_same},
    {"1.rsqrt", "X", "Out", "", infer_same},
    {"1.abs", "X", "Out", "", infer_same},
    {"1.square", "X", "Out", "", infer_same},
    {"1.conv2d_transpose", "Input Filter output_size", "Output", kConvTransposePir,
     infer_conv_transpose},
    {"1.depthwise_conv2d_transpose", "Input Filter output_size", "Output", kConvTransposePir,
     infer_conv_transpose},
    {"1.max_pool2d_with_index", "X", "Out Mask",
     "kernel_size:ints strides:ints paddings:ints global_pooling:bool adaptive:bool "
     "ceil_mode:bool",
     infer_adaptive_max_pool},
    {"1.group_norm", "X Scale? Bias?", "Y Mean Variance",
     "epsilon:float|double groups:int data_format:str", infer_group_norm},
    {"1.prelu", "X Alpha", "Out", "data_format:str mode:str", infer_prelu},
    {"1.nearest_interp", kInterpolateInputs, "Out", kInterpolatePir, infer_interpolate},
    {"1.bilinear_interp", kInterpolateInputs, "Out", kInterpolatePir, infer_interpolate},
    {"1.bicubic_interp", kInterpolateInputs, "Out", kInterpolatePir, infer_interpolate},
    {"1.pad3d", "X paddings", "Out", "mode:str pad_value:float|double data_format:str", infer_pad},
    {"1.pixel_shuffle", "X", "Out", "upscale_factor:int data_format:str", infer_pixel_shuffle},
    {"1.pixel_unshuffle", "X", "Out", "downscale_factor:int data_format:str",
     infer_pixel_unshuffle},
    {"1.channel_shuffle", "X", "Out", "groups:int data_format:str", infer_channel_shuffle},
    {"1.maxout", "X", "Out", "groups:int axis:int", infer_maxout},
    {"1.bmm", "X Y", "Out", "", infer_bmm},
    {"1.p_norm", "X", "Out", "porder:float axis:int epsilon:float keepdim:bool asvector:bool",
     infer_p_norm},
    {"1.elementwise_pow", "X Y", "Out", "", infer_elementwise},
    {"1.pow", "X", "Out", "y:float", infer_same},
    {"1.greater_than", "X Y", "Out", "", infer_compare},
    {"1.greater_equal", "X Y", "Out", "", infer_compare},
    {"1.less_than", "X Y", "Out", "", infer_compare},
    {"1.less_equal", "X Y", "Out", "", infer_compare},
    {"1.equal", "X Y", "Out", "", infer_compare},
    {"1.not_equal", "X Y", "Out", "", infer_compare},
    {"1.where", "Condition X Y", "Out", "", infer_where},
    {"1.cast", "X", "Out", "dtype:dtype", infer_cast},
    {"1.assign", "X", "Out", "", infer_same},
    {"1.expand", "X shape", "Out", "", infer_expand},
    {"1.tile", "X repeat_times", "Out", "", infer_tile},
    {"1.flip", "X", "Out", "axis:ints", infer_flip},
    {"1.roll", "X shifts", "Out", "axis:longs", infer_roll},
    {"1.unbind", "X", "Out*", "axis:int", infer_unbind},
    {"1.split_with_num", "X axis", "Out*", "num:int", infer_split},
    {"1.strided_slice", "X starts ends strides", "Out", "axes:ints", infer_slice},
    {"1.amax", "X", "Out", "axis:longs|empty keepdim:bool", infer_reduce},
    {"1.amin", "X", "Out", "axis:longs|empty keepdim:bool", infer_reduce},
    {"1.logsumexp", "X", "Out", "axis:ints|longs|empty keepdim:bool reduce_all:bool", infer_reduce},
    {"1.selu", "X", "Out", "scale:float alpha:float", infer_same},
    {"1.celu", "X", "Out", "alpha:float", infer_same},
    {"1.hardtanh", "X", "Out", "t_min:float t_max:float", infer_same},
    {"1.softsign", "X", "Out", "", infer_same},
    {"1.softshrink", "X", "Out", "threshold:float", infer_same},
    {"1.hardshrink", "X", "Out", "threshold:float", infer_same},
    {"1.tanh_shrink", "X", "Out", "", infer_same},
    {"1.thresholded_relu", "X", "Out", "threshold:float value:float?", infer_same},
    {"1.logsigmoid", "X", "Out", "", infer_same},
    {"1.erf", "X", "Out", "", infer_same},
    {"1.log", "X", "Out", "", infer_same},
    {"1.log1p", "X", "Out", "", infer_same},
    {"1.sin", "X", "Out", "", infer_same},
    {"1.cos", "X", "Out", "", infer_same},
    {"1.floor", "X", "Out", "", infer_same},
    {"1.ceil", "X", "Out", "", infer_same},
    {"1.reciprocal", "X", "Out", "", infer_same},
};

}  // namespace

const OperatorRule* find_operator(const std::string& type, bool pir) {
  const auto find = [&](const auto& rules) -> const OperatorRule* {
    for (const OperatorRule& rule : rules) {
      if (rule.type == type) return &rule;
    }
    return nullptr;
  };
  return pir ? find(kPirOperators) : find(kProgramOperators);
}

std::string_view common_attributes(bool pir) {
  return pir ? "struct_name:str? op_role:int? chunk_id:int? op_callstack:strs|empty?"
             : "op_role:int? op_role_var:strs? op_namescope:str? op_callstack:strs? "
               "op_device:str? with_quant_attr:bool? use_mkldnn:bool? use_onednn:bool? "
               "use_cudnn:bool? use_quantizer:bool? mkldnn_data_type:str? "
               "onednn_data_type:str? is_test:bool? use_addto:bool? force_fp32_output:bool? "
               "exhaustive_search:bool? workspace_size_MB:int? Scale_out:float? Scale_x:float? "
               "Scale_y:float? Scale_in:float? Scale_in_eltwise:float? Scale_weights:floats? "
               "fuse_relu:bool? fuse_with_relu:bool? fuse_brelu:bool? fuse_brelu_threshold:float? "
               "fuse_activation:str? fuse_alpha:float? fuse_beta:float? "
               "fuse_residual_connection:bool? fuse_relu_before_depthwise_conv:bool? "
               "data_format:str? x_data_format:str? y_data_format:str? moving_rate:float? "
               "quantization_type:str? out_threshold:float? skip_quant:bool|int?";
}

// ---- Step

std::size_t Step::count(const std::string& name) const {
  const auto found = op_.inputs.find(name);
  return found == op_.inputs.end() ? 0 : found->second.size();
}

std::size_t Step::outputs(const std::string& name) const {
  const auto found = op_.outputs.find(name);
  return found == op_.outputs.end() ? 0 : found->second.size();
}

std::size_t Step::index_of(const std::map<std::string, Argument>& arguments,
                           const std::string& name, std::size_t index) const {
  const auto found = arguments.find(name);
  if (found == arguments.end() || index >= found->second.size()) fail("the argument " + name);
  return found->second[index];
}

const Value& Step::in(const std::string& name, std::size_t index) const {
  return graph_.values[index_of(op_.inputs, name, index)];
}

const Value& Step::declared(const std::string& name, std::size_t index) const {
  return graph_.values[index_of(op_.outputs, name, index)];
}

const Attribute* Step::attribute(const std::string& name) const {
  const auto found = op_.attributes.find(name);
  return found == op_.attributes.end() ? nullptr : &found->second;
}

std::optional<Integers> Step::known_integers(const std::string& name) const {
  if (const Attribute* found = attribute(name)) {
    if (const auto* one = std::get_if<std::int64_t>(&found->value)) return Integers{*one};
    if (const auto* many = std::get_if<Integers>(&found->value)) return *many;
    fail(name);
  }
  if (count(name) != 1) return std::nullopt;  // a list of tensors
  return in(name).constant;
}

Integers Step::integers(const std::string& name) const {
  auto values = known_integers(name);
  if (!values) fail(name + ", which is not constant");
  return *values;
}

std::int64_t Step::integer(const std::string& name) const {
  const Integers values = integers(name);
  require(values.size() == 1, name);
  return values[0];
}

double Step::number(const std::string& name) const {
  const Attribute* found = attribute(name);
  const double* value = found == nullptr ? nullptr : std::get_if<double>(&found->value);
  if (value == nullptr) fail(name);
  return *value;
}

Numbers Step::numbers(const std::string& name) const {
  const Attribute* found = attribute(name);
  if (found == nullptr) fail(name);
  const auto* values = std::get_if<Numbers>(&found->value);
  if (values != nullptr) return *values;
  const auto* none = std::get_if<Integers>(&found->value);
  if (none == nullptr || !none->empty()) fail(name);
  return {};
}

const std::string& Step::text(const std::string& name) const {
  const Attribute* found = attribute(name);
  const auto* value = found == nullptr ? nullptr : std::get_if<std::string>(&found->value);
  if (value == nullptr) fail(name);
  return *value;
}

std::size_t Step::axis(std::int64_t given, std::size_t rank) const {
  const auto size = static_cast<std::int64_t>(rank);
  require(given >= -size && given < size, "an axis");
  return static_cast<std::size_t>(given < 0 ? given + size : given);
}

void Step::give(const std::string& name, const Shape& shape, int dtype, std::size_t index) {
  if (outputs(name) == 0) return;
  Value& value = graph_.values[index_of(op_.outputs, name, index)];
  bool same = value.shape.size() == shape.size() && value.dtype == dtype;
  for (std::size_t i = 0; same && i < shape.size(); ++i) same = fits(value.shape[i], shape[i]);
  if (!same) {
    fail("the shape or type of its output '" + value.name + "': " + to_string(value.shape) +
         " where it gives " + to_string(shape));
  }
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != kUnknown) value.shape[i] = shape[i];
  }
}

void Step::give_unused(const std::string& name, const Shape& shape) {
  if (outputs(name) == 0) return;
  const Value& value = declared(name);
  give(name, value.shape.empty() ? Shape() : shape, value.dtype);
}

void Step::give_constant(const std::string& name, Integers values) {
  graph_.values[index_of(op_.outputs, name, 0)].constant = std::move(values);
}

void Step::unsupported(const std::string& what) const {
  throw Error(ErrorCode::Unsupported, "'" + path_ + "' " + where_ + " " + what);
}

void Step::fail(const std::string& what) const {
  refuse_program(path_, where_ + " is damaged: " + what);
}

}  // namespace lenet

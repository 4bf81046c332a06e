// Rules of operators that scale channels: normalizations, and quantization.

#include <algorithm>

#include "model/rules/rules.h"

namespace lenet {
namespace {

void infer_batch_norm(OperatorView& op) {
  const Value& x = op.in("X");
  op.supports(x.shape.size() >= 2, "normalization without channels");
  const std::int64_t channels = channels_of(op, x.shape);
  for (const char* name : {"Scale", "Bias", "Mean", "Variance"}) require_vector(op, name, channels);
  op.give_like("Out", x);
  const bool tests = op.has_attribute("is_test");
  const bool trains = !op.flag("is_test", true) && !op.flag("use_global_stats");
  if (trains || op.flag("trainable_statistics", false)) {
    op.unsupported("normalizes by the batch, as in training; " + std::string(kEvalRemedy));
  }
  // Exporters standardize weights, whose sizes are known, by this operator. The engine that finds
  // an image here refuses it.
  const bool is_weight = std::count(x.shape.begin(), x.shape.end(), kUnknown) == 0;
  for (const char* name : {"MeanOut", "VarianceOut", "SavedMean", "SavedVariance"}) {
    // Before operator set 14 of ONNX more outputs than one said it.
    op.supports(tests || is_weight || op.outputs(name) == 0,
                "normalization while training, as its outputs ask for");
  }
  for (const char* name : {"MeanOut", "VarianceOut"}) op.give(name, {channels}, x.dtype);
  op.supports(is_weight || !op.flag("training_mode", false), "training");
  op.supports(op.flag("spatial", true), "normalization of each value");
  if (tests && x.shape.size() > 5) op.not_checked("normalizes more than five dimensions");
}

/// Each value is divided by what the channels around it add up to.
void infer_lrn(OperatorView& op) {
  op.supports(op.in("X").shape.size() >= 3, "normalization without an image");
  require_range(op, {op.integer("size")}, 1, 1, kMaxStep, "size");
  if (op.has_attribute("data_format")) layout_of(op, op.in("X").shape);
  infer_same(op);
}

void infer_affine_channel(OperatorView& op) {
  const std::int64_t channels = channels_of(op, op.in("X").shape);
  for (const char* name : {"Scale", "Bias"}) require_vector(op, name, channels);
  infer_same(op);
}

/// Over the pixels of each channel of each image.
void infer_instance_norm(OperatorView& op) {
  const Value& x = op.in("X");
  op.require(x.shape.size() >= 3, "the rank");
  if (is_empty(x.shape)) op.too_small(ErrorCode::Unsupported, "gets a tensor without values");
  for (const char* name : {"Scale", "Bias"}) require_vector(op, name, x.shape[1]);
  op.give_like("Out", x);
}

void infer_paddle_instance_norm(OperatorView& op) {
  if (op.in("X").shape.size() > 5) op.not_checked("normalizes more than five axes");
  infer_instance_norm(op);
}

/// Divides by the norm along an axis, which `Norm` holds. Paddle's has an `epsilon`, which is added
/// to the sum of squares.
void infer_norm(OperatorView& op) {
  const Value& x = op.in("X");
  Shape shape = x.shape;
  shape[op.axis(op.integer("axis"), shape.size())] = 1;
  op.give("Norm", shape, x.dtype);
  infer_same(op);
}

/// Divides weights by their largest singular value, estimated from the vectors U and V.
void infer_spectral_norm(OperatorView& op) {
  const Shape& weight = op.in("Weight").shape;
  op.require(weight.size() >= 2, "the rank");
  const std::size_t dim = op.axis(op.integer("dim"), weight.size());
  require_range(op, {op.integer("power_iters")}, 1, 0, kMaxStep, "power_iters");
  require_vector(op, "U", weight[dim]);
  require_vector(op, "V", product(weight, 0, dim) * product(weight, dim + 1, weight.size()));
  op.give_like("Out", op.in("Weight"));
}

/// Of Paddle, whose Scale and Bias are vectors of the values that are normalized together (`flat`).
void infer_layer_norm(OperatorView& op) {
  const Value& x = op.in("X");
  const std::int64_t begin = op.integer("axis");
  op.require(begin >= 0 && static_cast<std::size_t>(begin) < x.shape.size(), "begin_norm_axis");
  if (begin == 0) op.not_checked("normalizes all images together");
  const auto from = static_cast<std::size_t>(begin);
  const std::int64_t size = product(x.shape, from, x.shape.size());
  require_vector(op, "Scale", size);
  require_vector(op, "Bias", size);
  op.give_like("Out", x);
}

/// LayerNormalization and RMSNormalization of ONNX: over the values from an axis on.
void infer_trailing_norm(OperatorView& op) {
  const Value& x = op.in("X");
  op.supports(op.integer("stash_type", 1) == 1, "kernel for such a stash_type");
  const std::size_t from = op.axis(op.integer("axis"), x.shape.size());
  for (const char* name : {"Scale", "Bias"}) {
    op.require(!op.has(name) || broadcast(op, x.shape, op.in(name).shape) == x.shape,
               "the shape of ", name);
  }
  Shape statistics = x.shape;
  std::fill(statistics.begin() + static_cast<std::ptrdiff_t>(from), statistics.end(), 1);
  for (const char* name : {"MeanOut", "InvStdDevOut"}) op.give(name, statistics, kFloat32);
  op.give_like("Out", x);
}

/// Before operator set 21 ONNX scales groups, not channels.
void infer_group_norm(OperatorView& op) {
  const Value& x = op.in("X");
  const std::int64_t channels = channels_of(op, x.shape);
  const std::int64_t groups = groups_of(op, channels);
  for (const char* name : {"Scale", "Bias"}) {
    require_vector(op, name, op.opset() < 21 ? groups : channels);
  }
  op.supports(op.integer("stash_type", 1) == 1, "kernel for such a stash_type");
  op.give_like("Out", x);
}

// ---- quantization: Paddle's kernels, and the passes that make int8 of these two, index scales by
// channel without looking at how many there are

/// Scales and zero points: one, or one for each channel.
void require_scales(const OperatorView& op, const Value& x) {
  const std::int64_t axis = op.integer("quant_axis");
  op.require(axis >= -1 && axis <= 1 && axis < static_cast<std::int64_t>(x.shape.size()),
             "quant_axis");
  for (const char* name : {"Scale", "ZeroPoint"}) {
    const Value& value = op.in(name);
    const Shape& shape = value.shape;
    if (!value.parameter) op.not_checked("quantizes by a scale that is no parameter");
    const bool fits = axis < 0 ? shape.empty() || shape == Shape{1}
                               : shape == Shape{x.shape[static_cast<std::size_t>(axis)]};
    op.require(fits, "the shape of ", name);
  }
  op.require(op.in("Scale").dtype == kFloat32, "the type of Scale");
  const int zero = op.in("ZeroPoint").dtype;
  op.require(zero == kFloat32 || zero == kInt32 || zero == kInt8, "the type of ZeroPoint");
}

/// What it gives is float32 in a program. That of a QuantizeByRange holds integers.
void infer_quantization(OperatorView& op) {
  const Value& x = op.in("X");
  const std::size_t rank = x.shape.size();
  const bool dequantizes = op.kind() == "DequantizeByRange";
  const bool weights = dequantizes && x.parameter;
  op.require((x.dtype == kFloat32 || (dequantizes && x.dtype == kInt8)) && rank > 0, "its input");
  if (op.integer("bit_length") != 8) op.not_checked("has another bit_length than 8");
  if (!op.flag("is_test", true))
    op.unsupported("quantizes as in training; " + std::string(kEvalRemedy));
  require_range(op, {op.integer("round_type", 0)}, 1, 0, 1, "round_type");
  require_range(op, {op.integer("qmin", 0)}, 1, -128, 0, "qmin");
  require_range(op, {op.integer("qmax", 0)}, 1, 0, 127, "qmax");
  op.require(weights ? rank == 2 || rank == 4 : op.integer("quant_axis") == -1,
             "the rank, or quant_axis");
  // It lets values through as they are: what was observed in calibration, but not int8.
  op.require(!weights || !op.flag("only_observer", false), "only_observer");
  require_scales(op, x);
  op.give("Out", x.shape, kFloat32);
}

/// QuantizeLinear and DequantizeLinear of ONNX: one scale, or one for each index of an axis.
void infer_linear(OperatorView& op) {
  const Value& x = op.in("X");
  const bool dequantizes = op.kind() == "DequantizeLinear";
  op.supports(op.integer("block_size", 0) == 0, "kernel for quantization in blocks");
  op.supports(op.in("Scale").dtype == kFloat32, "kernel for scales but float32");
  const Shape& scale = op.in("Scale").shape;
  if (!scale.empty() && scale != Shape{1}) {
    const std::size_t axis = op.axis(op.integer("axis", 1), x.shape.size());
    op.require(scale.size() == 1 && fits(scale[0], x.shape[axis]), "the shape of Scale");
  }
  if (op.has("ZeroPoint")) {
    const Shape& zero = op.in("ZeroPoint").shape;
    const auto is_one = [](const Shape& shape) { return shape.empty() || shape == Shape{1}; };
    op.require(zero == scale || (is_one(zero) && is_one(scale)), "the shape of ZeroPoint");
  }
  const int zero = op.has("ZeroPoint") ? op.in("ZeroPoint").dtype : dequantizes ? x.dtype : kUint8;
  op.require(dequantizes ? zero == x.dtype : x.dtype == kFloat32, "the element type");
  op.supports(zero == kUint8 || zero == kInt8 || (dequantizes && zero == kInt32),
              "kernel for quantization but to int8 and uint8");
  op.give("Out", x.shape, dequantizes ? kFloat32 : zero);
}

constexpr OperatorRule kRules[] = {
    {kPaddle, "batch_norm/batch_norm_", "BatchNormalization",
     "X Mean Variance Scale? Bias? MomentumTensor?/",
     "Y>Out MeanOut VarianceOut SavedMean SavedVariance ReserveSpace?",
     "is_test:bool momentum:float epsilon:float data_layout>data_format:str/data_format:str "
     "use_global_stats:bool trainable_statistics:bool",
     infer_batch_norm},
    {kOnnx, "BatchNormalization", "", "X Scale Bias Mean Variance",
     "Out MeanOut? VarianceOut? SavedMean? SavedVariance?",
     "epsilon:float? momentum:float? spatial:long? training_mode:long?", infer_batch_norm},
    // The sum of squares is multiplied by alpha as it is, not divided by the size.
    {kDesc, "lrn", "LRN", "X", "Out MidOut?",
     "n>size:int k>bias:float alpha:float beta:float data_format:str=NCHW +of_sum", infer_lrn},
    {kDesc, "affine_channel", "ChannelAffine", "X Scale Bias", "Out", "data_layout>data_format:str",
     infer_affine_channel},
    {kPaddle, "instance_norm", "InstanceNormalization", "X Scale? Bias?",
     "Y>Out SavedMean? SavedVariance?", "epsilon:float/epsilon:float|double",
     infer_paddle_instance_norm},
    {kDesc, "norm", "LpNormalization", "X", "Out Norm", "axis:int epsilon:float is_test:bool?",
     infer_norm},
    {kPaddle, "spectral_norm", "", "Weight U V", "Out", "dim:int power_iters:int eps:float",
     infer_spectral_norm},
    {kOnnx, "LRN", "", "X", "Out", "alpha:float? beta:float? bias:float? size:long", infer_lrn},
    {kPaddle, "layer_norm", "LayerNormalization", "X Scale? Bias?", "Y>Out Mean Variance",
     "epsilon:float/epsilon:float|double begin_norm_axis>axis:int +flat", infer_layer_norm},
    {kPaddle, "group_norm", "GroupNormalization", "X Scale? Bias?", "Y>Out Mean Variance",
     "epsilon:float/epsilon:float|double groups>group:int "
     "data_layout>data_format:str/data_format:str",
     infer_group_norm},
    {kOnnx, "LayerNormalization", "", "X Scale Bias?", "Out MeanOut? InvStdDevOut?",
     "axis:long=-1 epsilon:float? stash_type:long?", infer_trailing_norm},
    {kOnnx, "RMSNormalization", "", "X Scale", "Out",
     "axis:long=-1 epsilon:float? stash_type:long?", infer_trailing_norm},
    {kOnnx, "InstanceNormalization", "", "X Scale Bias", "Out", "epsilon:float?",
     infer_instance_norm},
    {kOnnx, "GroupNormalization", "", "X Scale Bias", "Out",
     "epsilon:float? num_groups>group:long stash_type:long?", infer_group_norm},
    {kOnnx, "LpNormalization", "", "X", "Out", "axis:long=-1 p:long?", infer_norm},
    // What must be left out is of training.
    // Scales are what 127 stands for, and ONNX's what 1 does.
    {kDesc, "quantize_linear dequantize_linear", "QuantizeByRange DequantizeByRange",
     "X Scale ZeroPoint InAccum! InState!", "Y>Out OutScale! OutAccum! OutState!",
     "bit_length:int quant_axis:int is_test:bool? only_observer:bool? round_type:int? qmin:int? "
     "qmax:int?",
     infer_quantization},
    {kOnnx, "QuantizeLinear DequantizeLinear", "", "X Scale ZeroPoint?", "Out",
     "axis:long? block_size:long? saturate:long?", infer_linear},
};

}  // namespace

RuleRows normalization_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet

// Rules of quantized models. Paddle's kernels, and the passes that make int8 of these two, index
// scales by channel without looking at how many there are.

#include "model/rules/rules.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

/// Scales and zero points: one, or one for each channel.
void require_scales(const OperatorView& op, const Value& x) {
  const std::int64_t axis = op.integer("quant_axis");
  op.require(axis >= -1 && axis <= 1 && axis < static_cast<std::int64_t>(x.shape.size()),
             "quant_axis");
  for (const char* name : {"Scale", "ZeroPoint"}) {
    const Value& value = op.in(name);
    const Shape& shape = value.shape;
    op.require(value.parameter, std::string(name) + ", which is no parameter");
    const bool single = shape.empty() || shape == Shape{1};
    const bool fits_channels = axis >= 0 && shape == Shape{x.shape[static_cast<std::size_t>(axis)]};
    op.require(axis < 0 ? single : fits_channels, std::string("the shape of ") + name);
  }
  op.require(op.in("Scale").dtype == kFloat32, "the type of Scale");
  const int zero = op.in("ZeroPoint").dtype;
  op.require(zero == kFloat32 || zero == kInt32 || zero == kInt8, "the type of ZeroPoint");
}

/// What it gives is float32 in a program. That of quantize_linear holds integers.
void infer_quantization(OperatorView& op) {
  const Value& x = op.in("X");
  const std::size_t rank = x.shape.size();
  const bool dequantizes = op.type() == "dequantize_linear";
  const bool weights = dequantizes && x.parameter;
  op.require((x.dtype == kFloat32 || (dequantizes && x.dtype == kInt8)) && rank > 0, "its input");
  op.require(op.integer("bit_length") == 8, "bit_length; 8 is supported");
  op.require(op.flag("is_test", true), "quantization while not testing");
  require_range(op, {op.integer("round_type", 0)}, 1, 0, 1, "round_type");
  require_range(op, {op.integer("qmin", 0)}, 1, -128, 0, "qmin");
  require_range(op, {op.integer("qmax", 0)}, 1, 0, 127, "qmax");
  op.require(weights ? rank == 2 || rank == 4 : op.integer("quant_axis") == -1,
             "the rank, or quant_axis");
  // It lets values through as they are: what was observed in calibration, but not int8.
  op.require(!weights || !op.flag("only_observer", false), "only_observer");
  require_scales(op, x);
  op.give("Y", x.shape, kFloat32);
}

constexpr OperatorRule kRules[] = {
    // What must be left out is of training.
    {kDesc, "quantize_linear dequantize_linear", "X Scale ZeroPoint InAccum! InState!",
     "Y OutScale! OutAccum! OutState!",
     "bit_length:int quant_axis:int is_test:bool? only_observer:bool? round_type:int? qmin:int? "
     "qmax:int?",
     infer_quantization},
};

}  // namespace

RuleRows quantization_rules() { return kRules; }

}  // namespace lenet

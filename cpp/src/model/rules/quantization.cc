// Rules of quantized models. Paddle's kernels, and the passes that make int8 of these two, index
// scales by channel without looking at how many there are.

#include "model/rules/rules.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

constexpr std::int64_t kBits = 8;
constexpr std::int64_t kLeast = -128;
constexpr std::int64_t kMost = 127;

void require_optional(const OperatorView& op, const char* name, std::int64_t least,
                      std::int64_t most) {
  if (!op.has_attribute(name)) return;
  const std::int64_t value = op.integer(name);
  op.require(value >= least && value <= most, name);
}

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

void require_settings(const OperatorView& op) {
  op.require(op.integer("bit_length") == kBits, "bit_length; 8 is supported");
  op.require(!op.has_attribute("is_test") || op.flag("is_test"), "quantization while not testing");
  require_optional(op, "round_type", 0, 1);
  require_optional(op, "qmin", kLeast, 0);
  require_optional(op, "qmax", 0, kMost);
}

/// Its result is float32 in a program, and holds integers.
void infer_quantize(OperatorView& op) {
  const Value& x = op.in("X");
  op.require(x.dtype == kFloat32 && !x.shape.empty(), "its input");
  require_settings(op);
  op.require(op.integer("quant_axis") == -1, "quant_axis");
  require_scales(op, x);
  op.give("Y", x.shape, kFloat32);
}

void infer_dequantize(OperatorView& op) {
  const Value& x = op.in("X");
  op.require((x.dtype == kFloat32 || x.dtype == kInt8) && !x.shape.empty(), "its input");
  require_settings(op);
  const std::size_t rank = x.shape.size();
  op.require(x.parameter ? rank == 2 || rank == 4 : op.integer("quant_axis") == -1,
             "the rank, or quant_axis");
  // It lets values through as they are: what was observed in calibration, but not int8.
  op.require(!x.parameter || !op.has_attribute("only_observer") || !op.flag("only_observer"),
             "only_observer");
  require_scales(op, x);
  op.give("Y", x.shape, kFloat32);
}

// What must be left out is of training.
constexpr std::string_view kInputs = "X Scale ZeroPoint InAccum! InState!";
constexpr std::string_view kOutputs = "Y OutScale! OutAccum! OutState!";
constexpr std::string_view kAttributes =
    "bit_length:int quant_axis:int is_test:bool? only_observer:bool? round_type:int? qmin:int? "
    "qmax:int?";

constexpr OperatorRule kRules[] = {
    {kDesc, "quantize_linear", kInputs, kOutputs, kAttributes, infer_quantize},
    {kDesc, "dequantize_linear", kInputs, kOutputs, kAttributes, infer_dequantize},
};

}  // namespace

RuleRows quantization_rules() { return kRules; }

}  // namespace lenet

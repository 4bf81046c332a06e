#include <algorithm>

#include "model/rule_support.h"
#include "model/rules.h"

// Paddle's kernels, and the passes that make int8 of these two, index scales by channel without
// looking at how many there are.
namespace lenet {
namespace {

constexpr std::int64_t kBits = 8;
constexpr std::int64_t kLeast = -128;
constexpr std::int64_t kMost = 127;

void require_optional(const Step& step, const char* name, std::int64_t least, std::int64_t most) {
  if (!step.has_attribute(name)) return;
  const std::int64_t value = step.integer(name);
  step.require(value >= least && value <= most, name);
}

/// Scales and zero points: one, or one for each channel.
void require_scales(const Step& step, const Value& x) {
  const std::int64_t axis = step.integer("quant_axis");
  step.require(axis >= -1 && axis <= 1 && axis < static_cast<std::int64_t>(x.shape.size()),
               "quant_axis");
  for (const char* name : {"Scale", "ZeroPoint"}) {
    const Value& value = step.in(name);
    const Shape& shape = value.shape;
    step.require(value.parameter, std::string(name) + ", which is no parameter");
    const bool single = shape.empty() || shape == Shape{1};
    const bool fits_channels = axis >= 0 && shape == Shape{x.shape[static_cast<std::size_t>(axis)]};
    step.require(axis < 0 ? single : fits_channels, std::string("the shape of ") + name);
  }
  step.require(step.in("Scale").dtype == kFloat32, "the type of Scale");
  const int zero = step.in("ZeroPoint").dtype;
  step.require(zero == kFloat32 || zero == kInt32 || zero == kInt8, "the type of ZeroPoint");
}

void require_settings(const Step& step) {
  for (const char* name : {"InAccum", "InState"}) step.require(!step.has(name), name);
  for (const char* name : {"OutScale", "OutAccum", "OutState"}) {
    step.require(step.outputs(name) == 0, name);
  }
  step.require(step.integer("bit_length") == kBits, "bit_length; 8 is supported");
  step.require(!step.has_attribute("is_test") || step.flag("is_test"),
               "quantization while not testing");
  require_optional(step, "round_type", 0, 1);
  require_optional(step, "qmin", kLeast, 0);
  require_optional(step, "qmax", 0, kMost);
}

}  // namespace

/// Its result is float32 in a program, and holds integers.
void infer_quantize(Step& step) {
  const Value& x = step.in("X");
  step.require(x.dtype == kFloat32 && !x.shape.empty(), "its input");
  require_settings(step);
  step.require(step.integer("quant_axis") == -1, "quant_axis");
  require_scales(step, x);
  step.give("Y", x.shape, kFloat32);
}

void infer_dequantize(Step& step) {
  const Value& x = step.in("X");
  step.require((x.dtype == kFloat32 || x.dtype == kInt8) && !x.shape.empty(), "its input");
  require_settings(step);
  const std::size_t rank = x.shape.size();
  step.require(x.parameter ? rank == 2 || rank == 4 : step.integer("quant_axis") == -1,
               "the rank, or quant_axis");
  // It lets values through as they are: what was observed in calibration, but not int8.
  step.require(!x.parameter || !step.has_attribute("only_observer") || !step.flag("only_observer"),
               "only_observer");
  require_scales(step, x);
  step.give("Y", x.shape, kFloat32);
}

}  // namespace lenet

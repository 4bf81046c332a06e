// Definitions of operators that quantize values, and of those that dequantize them.

#include <algorithm>
#include <cmath>

#include "engines/plain/call.h"
#include "model/element_types.h"

namespace lenet::plain {
namespace {

/// The integer whose value Paddle's operators store as their scale.
constexpr double kSteps = 127;

/// A scale or zero point for each value, of one or of as many as an axis has values.
class Parameter {
 public:
  /// \param axis -1: there is one for all
  Parameter(const Call& call, const char* name, std::int64_t axis)
      : given_(call.has(name) ? &call.in(name) : nullptr) {
    const Shape& shape = call.in().shape;
    if (given_ == nullptr || given_->count() == 1) return;
    lines_ = lines_of(shape, call.view().axis(axis, shape.size()));
  }
  double at(std::size_t place, double otherwise) const {
    if (given_ == nullptr) return otherwise;
    const std::int64_t channel = static_cast<std::int64_t>(place) / lines_.inner % lines_.count;
    return given_->number(static_cast<std::size_t>(channel));
  }

 private:
  const Array* given_;
  Lines lines_;
};

void quantize(const Call& call) {
  const Array& x = call.in();
  const std::int64_t axis = call.integer("axis", 1);
  const Parameter scale(call, "Scale", axis);
  const Parameter zero(call, "ZeroPoint", axis);
  Array made = call.make();
  const ElementType& type = element_type(made.dtype);
  for (std::size_t i = 0; i < x.count(); ++i) {
    const double steps = std::nearbyint(x.number(i) / scale.at(i, 1)) + zero.at(i, 0);
    made.set(i, std::clamp(steps, static_cast<double>(type.least), static_cast<double>(type.most)));
  }
  call.give(std::move(made));
}

void dequantize(const Call& call) {
  const Array& x = call.in();
  const std::int64_t axis = call.integer("axis", 1);
  const Parameter scale(call, "Scale", axis);
  const Parameter zero(call, "ZeroPoint", axis);
  Array made = call.make();
  for (std::size_t i = 0; i < x.count(); ++i) {
    made.set(i, (x.number(i) - zero.at(i, 0)) * scale.at(i, 1));
  }
  call.give(std::move(made));
}

/// \throws Error Unsupported: zero points other than 0, which versions of Paddle differ in
void require_symmetric(const Call& call) {
  const Array& zeros = call.in("ZeroPoint");
  for (std::size_t i = 0; i < zeros.count(); ++i) {
    call.view().supports(zeros.number(i) == 0, "definition of another zero point than 0");
  }
}

/// Gives integers, as numbers of the program's floating-point type.
void quantize_by_range(const Call& call) {
  if (call.flag("only_observer")) return call.give(call.in());
  require_symmetric(call);
  const Parameter range(call, "Scale", call.integer("quant_axis"));
  const auto least = static_cast<double>(call.integer("qmin", -128));
  const auto most = static_cast<double>(call.integer("qmax", 127));
  const bool to_even = call.integer("round_type", 0) == 0;
  Array made = call.in();
  for (std::size_t i = 0; i < made.count(); ++i) {
    const double steps = made.reals[i] / (range.at(i, 1) / kSteps);
    made.reals[i] = std::clamp(to_even ? std::nearbyint(steps) : std::round(steps), least, most);
  }
  call.give(std::move(made));
}

void dequantize_by_range(const Call& call) {
  if (call.flag("only_observer")) return call.give(call.in());
  require_symmetric(call);
  const Parameter range(call, "Scale", call.integer("quant_axis"));
  const Array& x = call.in();
  Array made = call.make();
  for (std::size_t i = 0; i < x.count(); ++i) made.set(i, x.number(i) * range.at(i, 1) / kSteps);
  call.give(std::move(made));
}

constexpr Definition kDefinitions[] = {
    {"QuantizeLinear", quantize},
    {"DequantizeLinear", dequantize},
    {"QuantizeByRange", quantize_by_range},
    {"DequantizeByRange", dequantize_by_range},
};

}  // namespace

Definitions quantization_definitions() {
  return {std::begin(kDefinitions), std::end(kDefinitions)};
}

}  // namespace lenet::plain

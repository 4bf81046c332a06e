// Rules of constants, inputs and outputs.

#include <cmath>

#include "model/rules/rules.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

constexpr std::size_t kMaxConstants = 64;

void infer_full(OperatorView& op) {
  const Shape shape = op.integers("shape");
  for (const std::int64_t size : shape) op.require(size >= 1, "shape");
  op.require(volume(shape) <= kMaxConstants, "shape");
  op.give("Out", shape, dtype_named(op, op.text("dtype")));
  const double value = op.number("value");
  if (value == std::floor(value) && std::abs(value) < 1e15) {
    op.give_constant(
        "Out", Integers(static_cast<std::size_t>(volume(shape)), static_cast<std::int64_t>(value)));
  }
}

/// The constant of the format before PIR; its value is not followed.
void infer_fill_constant(OperatorView& op) {
  for (const char* name : {"ValueTensor", "ShapeTensor", "ShapeTensorList"}) {
    op.require(!op.has(name), "a tensor");
  }
  const Shape shape = op.integers("shape");
  for (const std::int64_t size : shape) op.require(size >= 1, "shape");
  op.require(volume(shape) <= kMaxConstants, "shape");
  op.give("Out", shape, static_cast<int>(op.integer("dtype")));
}

void infer_full_int_array(OperatorView& op) {
  const Integers values = op.integers("value");  // none, for an optional list left out
  op.require(values.size() <= kMaxConstants, "value");
  op.give("Out", {static_cast<std::int64_t>(values.size())}, dtype_named(op, op.text("dtype")));
  op.give_constant("Out", values);
}

void infer_data(OperatorView& op) {
  const Value& out = op.declared("Out");
  op.require(out.shape == op.integers("shape"), "shape");
  op.require(out.dtype == dtype_named(op, op.text("dtype")), "dtype");
  op.give("Out", out.shape, out.dtype);
}

void infer_feed(OperatorView& op) {
  const Value& out = op.declared("Out");
  op.require(op.integer("col") == 0, "col");
  op.give("Out", out.shape, out.dtype);
}

void infer_nothing(OperatorView& /*op*/) {}

constexpr OperatorRule kRules[] = {
    {kDesc, "feed", "X", "Out", "col:int", infer_feed},
    {kDesc, "fetch", "X", "Out", "col:int", infer_nothing},
    {kPir, "data", "", "Out", "name:str shape:dims dtype:dtype place:place", infer_data},
    {kPir, "fetch", "X", "Out", "name:str col:int", infer_same},
    {kDesc, "fill_constant", "ValueTensor? ShapeTensor? ShapeTensorList*?", "Out",
     "shape:longs value:float dtype:int str_value:str? force_cpu:bool? place_type:int?",
     infer_fill_constant},
    {kPir, "full", "", "Out", "shape:dims value:double dtype:dtype place:place", infer_full},
    {kPir, "full_int_array", "", "Out", "value:longs|empty dtype:dtype place:place",
     infer_full_int_array},
};

}  // namespace

RuleRows constants_rules() { return kRules; }

}  // namespace lenet

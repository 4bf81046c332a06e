// Rules of constants, inputs and outputs.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include "model/rules/rules.h"

namespace lenet {
namespace {

constexpr std::size_t kMaxConstants = 64;

/// The sizes that a constant of the format before PIR has; as an operator gives them, one each.
Shape sizes_of(const OperatorView& op) {
  if (!op.has("sizes")) return op.integers("shape");
  Shape shape;
  for (std::size_t i = 0; i < op.count("sizes"); ++i) {
    const auto size = op.open_list("sizes", i);
    if (!size || size->size() != 1) op.not_fixed("a size");
    op.require(size->front().value_or(0) >= 0, "shape");
    shape.push_back(size->front().value_or(kUnknown));
  }
  return shape;
}

/// Gives the shape of a constant. \returns whether its values are few enough to be followed
bool give_constant(OperatorView& op, int dtype) {
  const Shape shape = sizes_of(op);
  for (const std::int64_t size : shape) {
    const bool known = size != kUnknown || !op.has("sizes");
    op.require(size >= 0 || !known, "shape");
    op.supports(size != 0, "kernel for a tensor without values");
  }
  op.give("Out", shape, dtype);
  return !op.has("sizes") && volume(shape) <= kMaxConstants;
}

/// The shape is a list that may be followed; the value is not.
void infer_full_with_tensor(OperatorView& op) {
  const Shape shape = op.integers("shape");
  for (const std::int64_t size : shape) op.require(size >= 1 || size == kUnknown, "shape");
  op.require(volume(op.in("Value").shape) == 1, "the number of values");
  op.give("Out", shape, dtype_named(op, op.text("dtype")));
}

void infer_full(OperatorView& op) {
  if (!give_constant(op, dtype_named(op, op.text("dtype")))) return;
  const Shape& shape = op.declared("Out").shape;
  const double value = op.number("value");
  const auto count = static_cast<std::size_t>(volume(shape));
  if (is_whole(value)) {
    op.give_contents("Out", Integers(count, static_cast<std::int64_t>(value)));
  } else if (is_real(op.declared("Out").dtype)) {
    op.give_contents("Out", Numbers(count, value));
  }
}

/// The constant of the format before PIR; followed where it is an integer, which is a text there.
void infer_fill_constant(OperatorView& op) {
  const int dtype = dtype_numbered(op, "dtype");
  if (!give_constant(op, dtype)) return;
  const std::string text = op.text("str_value", "");
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (!whole || (dtype != kInt32 && dtype != kInt64)) return;
  const double count = volume(op.declared("Out").shape);
  op.give_contents("Out", Integers(static_cast<std::size_t>(count), value));
}

/// Numbers that the program names, one for each value.
void infer_assign_value(OperatorView& op) {
  const bool pir = op.has_attribute("place");
  const int dtype = pir ? dtype_named(op, op.text("dtype")) : dtype_numbered(op, "dtype");
  if (op.integers("shape") == Integers{0}) {
    op.unsupported(
        "gives a constant without values, as Paddle writes those of isposinf, isneginf "
        "and signbit; compute it in another way");
  }
  const bool followed = give_constant(op, dtype);
  Numbers values;
  for (const char* name :
       {"values", "bool_values", "fp32_values", "int32_values", "int64_values"}) {
    if (!op.has_attribute(name)) continue;
    const Numbers more = op.numbers(name);
    values.insert(values.end(), more.begin(), more.end());
  }
  op.require(static_cast<double>(values.size()) == volume(op.declared("Out").shape),
             "the number of values");
  if (!followed) return;
  if (std::all_of(values.begin(), values.end(), is_whole)) {
    return op.give_contents("Out", Integers(values.begin(), values.end()));
  }
  op.give_contents("Out", values);
}

/// One number for each value of another tensor.
void infer_like(OperatorView& op) {
  const Value& x = op.in("X");
  op.require(!op.has("Value") || volume(op.in("Value").shape) == 1, "the number of values");
  if (op.has_attribute("place")) return op.give("Out", x.shape, dtype_named(op, op.text("dtype")));
  const int dtype = dtype_numbered(op, "dtype");
  op.give("Out", x.shape, dtype == -1 ? x.dtype : dtype);
}

void infer_full_int_array(OperatorView& op) {
  const Integers values = op.integers("value");  // none, for an optional list left out
  op.supports(values.size() <= kMaxConstants, "list of so many numbers");
  op.give("Out", {static_cast<std::int64_t>(values.size())}, dtype_named(op, op.text("dtype")));
  op.give_contents("Out", values);
}

void infer_data(OperatorView& op) {
  const Value& out = op.declared("Out");
  op.require(fits(op.integers("shape"), out.shape), "shape");
  op.require(out.dtype == dtype_named(op, op.text("dtype")), "dtype");
}

/// Of ONNX: exactly one of its attributes says what it holds.
void infer_onnx_constant(OperatorView& op) {
  op.require(op.attributes().size() == 1, "it does not have exactly one value");
  const std::string_view name = op.attributes().front().first;
  if (name == "value") {
    const Value& value = op.tensor(name);
    op.give_like("Out", value);
    return op.give_contents("Out", value);
  }
  const bool real = name == "value_float" || name == "value_floats";
  const Numbers numbers = real ? op.numbers(name) : Numbers();
  const Integers integers = real ? Integers() : op.integers(name);
  const std::size_t count = numbers.size() + integers.size();
  op.supports(count <= kMaxListed, "list of so many numbers");
  const Shape shape = {static_cast<std::int64_t>(count)};
  op.give("Out", name.back() == 's' ? shape : Shape(), real ? kFloat32 : kInt64);
  if (real) return op.give_contents("Out", numbers);
  op.give_contents("Out", integers);
}

/// Of ONNX; followed where it is small, such as the zeros of a pad.
void infer_constant_of_shape(OperatorView& op) {
  const Shape shape = op.integers("shape");
  for (const std::int64_t size : shape) op.require(size >= 0, "shape");
  const Value* const value = op.has_attribute("value") ? &op.tensor("value") : nullptr;
  op.require(value == nullptr || count_values(*value) == 1, "it does not have exactly one value");
  op.give("Out", shape, value == nullptr ? kFloat32 : value->dtype);
  if (volume(shape) > kMaxListed) return;
  const auto count = static_cast<std::size_t>(product(shape, 0, shape.size()));
  const auto whole = value == nullptr ? std::nullopt : known_list(*value);
  if (whole) return op.give_contents("Out", Integers(count, whole->front()));
  op.give_contents("Out", Numbers(count, value == nullptr ? 0 : number_at(*value, 0)));
}

/// ONNX's Range gives numbers from one to before another, at the same distance.
void infer_range(OperatorView& op) {
  const auto number = [&](const char* name) {
    const auto found = known_numbers(op, name);
    if (!found) op.not_fixed("a size");
    op.require(found->size() == 1, name);
    op.supports(is_whole(std::floor(found->front())), "list of such numbers");
    return found->front();
  };
  const double first = number("start");
  const double step = number("delta");
  op.require(step != 0, "a step of 0");
  const double count = std::max(0.0, std::ceil((number("limit") - first) / step));
  op.supports(count <= static_cast<double>(kMaxValuesPerImage), "list of so many numbers");
  const int dtype =
      op.has_attribute("dtype") ? dtype_named(op, op.text("dtype")) : op.in("start").dtype;
  op.give("Out", {static_cast<std::int64_t>(count)}, dtype);
  if (count > kMaxListed || is_real(dtype)) return;
  Integers numbers;
  for (double i = 0; i < count; ++i) numbers.push_back(static_cast<std::int64_t>(first + i * step));
  op.give_contents("Out", numbers);
}

/// The type that a number of Paddle's stands for, or a name.
int given_dtype(const OperatorView& op) {
  return op.has_attribute("dtype_number") ? static_cast<int>(op.integer("dtype_number"))
                                          : dtype_named(op, op.text("dtype"));
}

/// Numbers from one to another, at the same distance.
void infer_linspace(OperatorView& op) {
  const std::int64_t count = op.integer("num");
  op.require(count >= 1, "num");
  for (const char* name : {"start", "limit"}) {
    op.require(volume(op.in(name).shape) == 1, "the number of values");
  }
  op.give("Out", {count}, given_dtype(op));
}

/// Integers from one to before another; Paddle rounds where they are none.
void infer_arange(OperatorView& op) {
  for (const char* name : {"start", "limit", "delta"}) {
    const auto found = known_numbers(op, name);
    if (!found) op.not_fixed("a size");
    op.checks(found->size() == 1 && is_whole(found->front()), "counts in parts of 1");
  }
  infer_range(op);
}

/// 1 where the row is the column.
void infer_eye(OperatorView& op) {
  const std::int64_t rows = op.integer("num_rows");
  const std::int64_t columns = op.integer("num_columns");
  op.checks(rows >= 1 && columns >= 1, "gives a matrix without a size");
  op.give("Out", {rows, columns}, given_dtype(op));
}

/// Tensors of as many axes as there are vectors, each of which gives the values along its axis.
void infer_meshgrid(OperatorView& op) {
  Shape shape;
  op.require(op.count("X") == op.outputs("Out") && op.count("X") <= kMaxRank,
             "the number of vectors");
  for (std::size_t i = 0; i < op.count("X"); ++i) {
    const Shape& vector = op.in("X", i).shape;
    op.require(vector.size() <= 1 && op.in("X", i).dtype == op.in("X").dtype, "the vectors");
    shape.push_back(vector.empty() ? 1 : vector[0]);
  }
  for (std::size_t i = 0; i < op.count("X"); ++i) op.give("Out", shape, op.in("X").dtype, i);
}

constexpr OperatorRule kRules[] = {
    {kDesc, "feed", "Feed", "X", "Out", "col:int",
     [](OperatorView& op) { op.require(op.integer("col") == 0, "col"); }},
    {kDesc, "fetch", "Fetch", "X", "Out", "col:int", [](OperatorView&) {}},
    {kPir, "data", "Feed", "", "Out", "name:str shape:dims dtype:dtype place:place", infer_data},
    {kPir, "fetch", "Fetch", "X", "Out", "name:str col:int", infer_same},
    {kDesc, "fill_constant", "Fill", "ValueTensor! ShapeTensor! ShapeTensorList>sizes*?", "Out",
     "shape:longs value:float dtype:int str_value:str? force_cpu:bool? place_type:int?",
     infer_fill_constant},
    {kPir, "assign_value assign_value_", "Constant", "X?", "Out",
     "shape:ints dtype:dtype values:doubles|longs place:place", infer_assign_value},
    {kDesc, "assign_value", "Constant", "", "Out",
     "shape:ints dtype:int values:doubles? bool_values:ints? fp32_values:floats? "
     "int32_values:ints? int64_values:longs?",
     infer_assign_value},
    {kPaddle, "fill_any_like/full_like", "FillLike", "X /Value", "Out",
     "value:float/ dtype:int/dtype:dtype /place:place", infer_like},
    {kPaddle, "linspace", "Linspace", "Start>start/start Stop>limit/limit Num>num/num", "Out",
     "dtype>dtype_number:int/dtype:dtype /place:place", infer_linspace},
    {kPaddle, "range/arange", "Range", "Start>start/start End>limit/limit Step>delta/delta", "Out",
     "/dtype:dtype /place:place", infer_arange},
    {kPaddle, "eye", "Eye", "/num_rows /num_columns", "Out",
     "num_rows:long/ num_columns:long/ dtype>dtype_number:int/dtype:dtype /place:place", infer_eye},
    {kPaddle, "meshgrid", "Meshgrid", "X*", "Out*", "", infer_meshgrid},
    {kPir, "full", "Fill", "", "Out", "shape:dims value:double dtype:dtype place:place",
     infer_full},
    {kPir, "full_with_tensor", "FillLike", "Value shape", "Out", "dtype:dtype",
     infer_full_with_tensor},
    {kOnnx, "Constant", "", "", "Out",
     "value:tensor? value_float:float? value_floats:floats? value_int:long? value_ints:longs?",
     infer_onnx_constant},
    {kOnnx, "Range", "", "start limit delta", "Out", "", infer_range},
    {kOnnx, "ConstantOfShape", "", "shape", "Out", "value:tensor?", infer_constant_of_shape},
    {kPir, "full_int_array", "Fill", "", "Out", "value:longs dtype:dtype place:place",
     infer_full_int_array},
};

}  // namespace

RuleRows constants_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet

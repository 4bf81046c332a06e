#include "model/rules/operator_view.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "io/printable.h"
#include "model/graph.h"
#include "model/rules/support.h"

namespace lenet {

const Argument& OperatorView::argument(const Arguments& arguments, std::string_view name) {
  static const Argument none;
  const auto found = arguments.find(name);
  return found == arguments.end() ? none : found->second;
}

const Value& OperatorView::value(const Arguments& arguments, std::string_view name,
                                 std::size_t index) const {
  const Argument& values = argument(arguments, name);
  require(index < values.size(), "the argument ", name);
  return graph_.values[values[index]];
}

Value& OperatorView::output(std::string_view name, std::size_t index) {
  const Argument& values = argument(op_.outputs, name);
  require(index < values.size(), "the argument ", name);
  return changed_->values[values[index]];
}

Integers OperatorView::integers(std::string_view name, std::optional<Integers> otherwise) const {
  if (otherwise && !is_given(name)) return *std::move(otherwise);
  if (const auto* one = op_.attribute<std::int64_t>(name)) return {*one};
  if (const auto* many = op_.attribute<Integers>(name)) return *many;
  require(!has_attribute(name), name);
  if (count(name) == 1) {  // not a list of tensors
    if (auto values = list(name)) return *std::move(values);
  }
  not_fixed("a value of " + std::string(name));
}

std::optional<OpenIntegers> OperatorView::open_list(std::string_view name,
                                                    std::size_t index) const {
  if (has(name)) return follows(name, index) ? lenet::open_list(in(name, index)) : std::nullopt;
  const Integers fixed = integers(name);
  return OpenIntegers(fixed.begin(), fixed.end());
}

std::int64_t OperatorView::integer(std::string_view name,
                                   std::optional<std::int64_t> otherwise) const {
  if (otherwise && !is_given(name)) return *otherwise;
  if (const auto* one = op_.attribute<std::int64_t>(name)) return *one;
  const Integers values = integers(name);
  require(values.size() == 1, name);
  return values[0];
}

bool OperatorView::flag(std::string_view name, std::optional<bool> otherwise) const {
  const std::int64_t value = integer(name, otherwise);
  require(value == 0 || value == 1, name, ", which is neither 0 nor 1");
  return value == 1;
}

double OperatorView::number(std::string_view name, std::optional<double> otherwise) const {
  if (const auto* value = op_.attribute<double>(name)) return *value;
  require(!has_attribute(name), name);
  if (otherwise && !has(name)) return *otherwise;
  const Value& value = in(name);
  if (!is_known(value)) no_kernel("operator whose " + std::string(name) + " is not constant");
  require(count_values(value) == 1, name, ", which is not one number");
  if (has_open(value)) not_fixed("a value of " + std::string(name));
  return number_at(value, 0);
}

Numbers OperatorView::numbers(std::string_view name) const {
  if (const auto* one = op_.attribute<double>(name)) return {*one};
  if (const auto* many = op_.attribute<Numbers>(name)) return *many;
  const auto* integers = op_.attribute<Integers>(name);  // as is an array without elements
  require(integers != nullptr, name);
  return {integers->begin(), integers->end()};
}

std::string OperatorView::text(std::string_view name,
                               std::optional<std::string_view> otherwise) const {
  if (otherwise && !has_attribute(name)) return std::string(*otherwise);
  const auto* value = op_.attribute<std::string>(name);
  require(value != nullptr, name);
  return *value;
}

std::size_t OperatorView::axis(std::int64_t given, std::size_t rank) const {
  const auto size = static_cast<std::int64_t>(rank);
  require(given >= -size && given < size, "an axis");
  return static_cast<std::size_t>(given < 0 ? given + size : given);
}

void OperatorView::give(std::string_view name, const Shape& shape, int dtype, std::size_t index) {
  if (outputs(name) == 0) return;
  Value& value = output(name, index);
  const bool unread = has_word(kUnreadOutputs, name);
  if (!value.has_shape || unread) {
    value.shape = shape;
    if (unread || value.dtype < 0) value.dtype = dtype;
    value.has_shape = true;
  }
  // Before 2.5 Paddle had no tensors of rank 0.
  const bool number = shape.empty() && value.shape == Shape{1} && !graph_.declares_loosely;
  if (number) return give(name, {1}, dtype, index);
  const bool matches = fits(value.shape, shape);
  if (!matches && graph_.declares_loosely && value.dtype == dtype) {
    no_kernel("kernel for a tensor of shape " + to_string(shape) + " that is declared as " +
              to_string(value.shape));
  }
  if (value.dtype != dtype || !matches) {
    fail("the shape or type of its output '" + value.name + "': " + to_string(value.shape) +
         " where it gives " + to_string(shape));
  }
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != kUnknown) value.shape[i] = shape[i];
  }
}

void OperatorView::give_contents(std::string_view name, const Value& from, std::size_t index) {
  Value& value = output(name, index);
  value.data = from.data.data() == nullptr ? "" : from.data;  // known, though there is nothing
  value.data_dtype = from.data_dtype;
  value.open = from.open;
}

template <typename Number>
void OperatorView::give_contents(std::string_view name, const std::vector<Number>& numbers,
                                 std::size_t index) {
  std::string bytes(numbers.size() * sizeof(Number), '\0');
  if (!numbers.empty()) std::memcpy(bytes.data(), numbers.data(), bytes.size());
  const bool real = std::is_same_v<Number, double>;
  give_contents(name, std::move(bytes), real ? kFloat64 : kInt64, index);
}

template void OperatorView::give_contents(std::string_view, const Integers&, std::size_t);
template void OperatorView::give_contents(std::string_view, const Numbers&, std::size_t);

void OperatorView::give_contents(std::string_view name, const OpenIntegers& numbers) {
  Integers known;
  OpenNumbers open;
  for (const std::optional<std::int64_t>& number : numbers) {
    open[known.size()] = !number;
    known.push_back(number.value_or(0));
  }
  give_contents(name, known);
  output(name).open = open;
}

void OperatorView::give_contents(std::string_view name, std::string bytes, int dtype,
                                 std::size_t index) {
  Value& value = output(name, index);
  value.data = changed_->decoded.emplace_back(std::move(bytes));
  value.data_dtype = dtype;
  value.open = {};
}

void OperatorView::fail(std::string_view what, std::string_view more) const {
  refuse_program(path_, where() + " is damaged: " + std::string(what) + std::string(more));
}

void OperatorView::unsupported(std::string_view what) const {
  throw Error(ErrorCode::Unsupported, "'" + path_ + "' " + where() + " " + std::string(what));
}

void OperatorView::too_small(ErrorCode code, std::string_view what) const {
  throw TooSmall(code, "'" + path_ + "' " + where() + " " + std::string(what));
}

void OperatorView::refuse_later(std::string_view what) try {
  no_kernel(what);
} catch (const Error& error) {
  if (!refusal_) refusal_ = error;
}

void OperatorView::no_kernel(std::string_view what) const {
  throw Error(ErrorCode::Unsupported,
              "'" + path_ + "': there is no " + std::string(what) + " " + named());
}

std::string OperatorView::named() const {
  const Argument* given = nullptr;
  for (const auto& [name, values] : op_.outputs) {
    if (!values.empty() && (name == "Out" || given == nullptr)) given = &values;
  }
  std::string gives;
  if (given != nullptr && (*given)[0] != kNone) {
    gives = ", which gives '" + printable(graph_.values[(*given)[0]].name) + "'";
  }
  return "(" + printable(std::string(op_.plain_type())) + gives + ")";
}

}  // namespace lenet

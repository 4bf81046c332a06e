#include "model/rules/operator_view.h"

#include <utility>

#include "model/rules/support.h"

namespace lenet {

std::string OperatorView::present(const char* name, const char* other) const {
  return has_attribute(name) || has(name) ? name : other;
}

std::size_t OperatorView::count(const std::string& name) const {
  const auto found = op_.inputs.find(name);
  return found == op_.inputs.end() ? 0 : found->second.size();
}

std::size_t OperatorView::outputs(const std::string& name) const {
  const auto found = op_.outputs.find(name);
  return found == op_.outputs.end() ? 0 : found->second.size();
}

std::size_t OperatorView::index_of(const std::map<std::string, Argument>& arguments,
                                   const std::string& name, std::size_t index) const {
  const auto found = arguments.find(name);
  if (found == arguments.end() || index >= found->second.size()) fail("the argument " + name);
  return found->second[index];
}

const Value& OperatorView::in(const std::string& name, std::size_t index) const {
  return graph_.values[index_of(op_.inputs, name, index)];
}

const Value& OperatorView::declared(const std::string& name, std::size_t index) const {
  return graph_.values[index_of(op_.outputs, name, index)];
}

const Attribute* OperatorView::attribute(const std::string& name) const {
  const auto found = op_.attributes.find(name);
  return found == op_.attributes.end() ? nullptr : &found->second;
}

std::optional<Integers> OperatorView::known_integers(const std::string& name) const {
  if (const Attribute* found = attribute(name)) {
    if (const auto* one = std::get_if<std::int64_t>(&found->value)) return Integers{*one};
    if (const auto* many = std::get_if<Integers>(&found->value)) return *many;
    fail(name);
  }
  if (count(name) != 1) return std::nullopt;  // a list of tensors
  return in(name).constant;
}

Integers OperatorView::integers(const std::string& name) const {
  auto values = known_integers(name);
  if (!values) fail(name + ", which is not constant");
  return *values;
}

std::int64_t OperatorView::integer(const std::string& name) const {
  const Integers values = integers(name);
  require(values.size() == 1, name);
  return values[0];
}

double OperatorView::number(const std::string& name) const {
  const Attribute* found = attribute(name);
  const double* value = found == nullptr ? nullptr : std::get_if<double>(&found->value);
  if (value == nullptr) fail(name);
  return *value;
}

Numbers OperatorView::numbers(const std::string& name) const {
  const Attribute* found = attribute(name);
  if (found == nullptr) fail(name);
  const auto* values = std::get_if<Numbers>(&found->value);
  if (values != nullptr) return *values;
  const auto* none = std::get_if<Integers>(&found->value);
  if (none == nullptr || !none->empty()) fail(name);
  return {};
}

const std::string& OperatorView::text(const std::string& name) const {
  const Attribute* found = attribute(name);
  const auto* value = found == nullptr ? nullptr : std::get_if<std::string>(&found->value);
  if (value == nullptr) fail(name);
  return *value;
}

std::size_t OperatorView::axis(std::int64_t given, std::size_t rank) const {
  const auto size = static_cast<std::int64_t>(rank);
  require(given >= -size && given < size, "an axis");
  return static_cast<std::size_t>(given < 0 ? given + size : given);
}

void OperatorView::give(const std::string& name, const Shape& shape, int dtype, std::size_t index) {
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

void OperatorView::give_unused(const std::string& name, const Shape& shape) {
  if (outputs(name) == 0) return;
  const Value& value = declared(name);
  give(name, value.shape.empty() ? Shape() : shape, value.dtype);
}

void OperatorView::give_constant(const std::string& name, Integers values) {
  graph_.values[index_of(op_.outputs, name, 0)].constant = std::move(values);
}

void OperatorView::unsupported(const std::string& what) const {
  throw Error(ErrorCode::Unsupported, "'" + path_ + "' " + where_ + " " + what);
}

void OperatorView::fail(const std::string& what) const {
  refuse_program(path_, where_ + " is damaged: " + what);
}

}  // namespace lenet

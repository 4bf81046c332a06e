/// \file
/// An operator of a program, for the rules that say what Paddle computes wrongly.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include "io/printable.h"
#include "model/graph.h"
#include "model/rules/rules.h"
#include "model/rules/support.h"

namespace lenet {

/// One operator of a graph that may not have been checked, for which OperatorView is too strict: a
/// part that is missing equals nothing.
class OperatorInProgram {
 public:
  OperatorInProgram(const Graph& graph, const Operator& op)
      : graph_(graph), op_(op), type_(plain_type(graph.dialect, op)) {}

  /// An input that is one value; null when it is not.
  const Value* input(const char* name, std::size_t place = 0) const {
    if (graph_.dialect != Dialect::Pir) return one(op_.inputs.find(name), op_.inputs);
    if (place >= op_.inputs.size()) return nullptr;
    return one(std::next(op_.inputs.begin(), static_cast<std::ptrdiff_t>(place)), op_.inputs);
  }

  /// An output that is one value, of the format before PIR; null when it is not.
  const Value* output(const char* name) const { return one(op_.outputs.find(name), op_.outputs); }

  template <typename Type>
  const Type* attribute(std::string_view name) const {
    return op_.attribute<Type>(name);
  }

  /// An attribute, or in PIR the input at a place, where the check has found it constant.
  Integers integers(const char* name, std::optional<std::size_t> place = {}) const {
    const bool pir = graph_.dialect == Dialect::Pir;
    const Value* value = pir && place ? input(name, *place) : nullptr;
    const auto known = value == nullptr ? std::nullopt : known_list(*value);
    if (known) return *known;
    const auto* values = attribute<Integers>(name);
    return values == nullptr ? Integers() : *values;
  }

  /// An attribute such as "[1, 1]".
  std::string text(std::string_view name) const {
    const auto found = op_.attributes.find(name);
    return found == op_.attributes.end() ? "" : to_text(found->second);
  }

  /// Returns a reason for a refusal, such as "pool2d with ceil_mode=1".
  std::string with(const std::string& name) const {
    return printable(type_) + " with " + name + "=" + text(name);
  }

  std::string with_shape(const char* name, std::size_t place = 0) const {
    const Value* value = input(name, place);
    return printable(type_) + " with an input " + name +
           (value == nullptr ? " that is missing" : " of shape " + to_string(value->shape));
  }

  /// The first attribute that has none of its values in `settings`, such as "axis=-1 axis=1" or
  /// "strides=[1,1]", as with() says it; empty when there is none.
  std::string other_than(std::string_view settings) const {
    const std::string_view name = find_other(settings);
    return name.empty() ? "" : with(std::string(name));
  }
  bool is(std::string_view settings) const { return find_other(settings).empty(); }

  /// The type as both formats have it, without the marks of PIR: "1." in front, and "_" behind what
  /// works in place. Types are compared in this form alone, because a fault of a kernel is the same
  /// whichever format calls the kernel.
  const std::string& type() const { return type_; }

  /// Whether the type is one of these words.
  bool is_one_of(std::string_view types) const { return has_word(types, type_); }

  Dialect dialect() const { return graph_.dialect; }

  /// The first of these names that the operator has an attribute of; the first of all when it has
  /// none.
  std::string named(std::initializer_list<const char*> names) const {
    const auto* const found = std::find_if(names.begin(), names.end(), [this](const char* name) {
      return op_.attributes.count(name) > 0;
    });
    return found == names.end() ? *names.begin() : *found;
  }

 private:
  static std::string plain_type(Dialect dialect, const Operator& op) {
    std::string_view type = op.plain_type();
    if (dialect == Dialect::Pir && !type.empty() && type.back() == '_') type.remove_suffix(1);
    return std::string(type);
  }

  /// The name that other_than tells.
  std::string_view find_other(std::string_view settings) const {
    for (std::string_view left = settings; !left.empty();) {
      const std::string_view name = left.substr(0, left.find('='));
      left.remove_prefix(std::min(left.find(' '), left.size() - 1) + 1);
      std::string setting = text(name);
      setting.erase(std::remove(setting.begin(), setting.end(), ' '), setting.end());
      setting.insert(0, 1, '=').insert(0, name);
      if (!has_word(settings, setting)) return name;
    }
    return {};
  }

  const Value* one(Arguments::const_iterator argument, const Arguments& arguments) const {
    if (argument == arguments.end() || argument->second.size() != 1) return nullptr;
    const std::size_t index = argument->second[0];  // of what feeds and fetches, none of a tensor
    return index < graph_.values.size() ? &graph_.values[index] : nullptr;
  }

  const Graph& graph_;
  const Operator& op_;
  std::string type_;
};

}  // namespace lenet

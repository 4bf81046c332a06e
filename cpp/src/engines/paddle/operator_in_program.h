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

/// One operator of a graph that may not have been checked. OperatorView is too strict for such a
/// graph; here a missing part does not equal any value.
class OperatorInProgram {
 public:
  OperatorInProgram(const Graph& graph, const Operator& op)
      : graph_(graph), op_(op), type_(plain_type(graph.dialect, op)) {}

  /// Returns an input that is a single value, or else null.
  const Value* input(const char* name, std::size_t place = 0) const {
    if (graph_.dialect != Dialect::Pir) return one(op_.inputs.find(name), op_.inputs);
    if (place >= op_.inputs.size()) return nullptr;
    return one(std::next(op_.inputs.begin(), static_cast<std::ptrdiff_t>(place)), op_.inputs);
  }

  /// Returns an output that is a single value, or else null. It works in the format before PIR
  /// only.
  const Value* output(const char* name) const { return one(op_.outputs.find(name), op_.outputs); }

  template <typename Type>
  const Type* attribute(std::string_view name) const {
    return op_.attribute<Type>(name);
  }

  /// Returns an attribute, or in PIR the input at `place` if the check has found that it is
  /// constant.
  Integers integers(const char* name, std::optional<std::size_t> place = {}) const {
    const bool pir = graph_.dialect == Dialect::Pir;
    const Value* value = pir && place ? input(name, *place) : nullptr;
    const auto known = value == nullptr ? std::nullopt : known_list(*value);
    if (known) return *known;
    const auto* values = attribute<Integers>(name);
    return values == nullptr ? Integers() : *values;
  }

  /// Returns an attribute as text, such as "[1, 1]".
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

  /// Returns the first attribute whose value is not among those in `settings`, such as
  /// "axis=-1 axis=1" or "strides=[1,1]", as the text of with(); empty if there is none.
  std::string other_than(std::string_view settings) const {
    const std::string_view name = find_other(settings);
    return name.empty() ? "" : with(std::string(name));
  }
  bool is(std::string_view settings) const { return find_other(settings).empty(); }

  /// Returns the type as both formats have it, without the marks of PIR: the prefix "1.", and the
  /// suffix "_" of operators that work in place. Types are compared only in this form, because both
  /// formats call the same kernels.
  const std::string& type() const { return type_; }

  /// Returns whether the type is one of these words.
  bool is_one_of(std::string_view types) const { return has_word(types, type_); }

  Dialect dialect() const { return graph_.dialect; }

  /// Returns the first of these names for which the operator has an attribute, or else the first
  /// name.
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

  /// Returns the name of the attribute that other_than describes.
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

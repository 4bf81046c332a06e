/// \file
/// One operator of the plain program and the values that it takes, and the table of definitions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engines/plain/array.h"
#include "model/rules/operator_view.h"

namespace lenet::plain {

/// What values hold, by index into Graph::values; nothing for one that is not computed yet, or
/// that nobody reads any more.
using Arrays = std::vector<std::optional<Array>>;

/// One operator that is computed. Attributes are read as the check has named them, and what may be
/// an attribute or an input is read from either.
class Call {
 public:
  /// All are to outlive the call. \param values gets what the operator gives
  Call(const Graph& graph, std::size_t at, const std::string& path, Arrays& values)
      : view_(graph, at, path), op_(graph.operators[at]), values_(values) {}

  const OperatorView& view() const { return view_; }
  std::string_view kind() const { return op_.kind; }
  bool has(std::string_view name) const { return view_.has(name); }
  std::size_t count(std::string_view name) const { return view_.count(name); }
  std::size_t outputs() const { return view_.outputs("Out"); }

  /// \throws Error Unsupported: an operator gave nothing that could be read
  const Array& in(std::string_view name = "X", std::size_t index = 0) const;
  /// The shape that the check has found for an output.
  const Shape& shape(std::size_t index = 0, std::string_view name = "Out") const {
    return view_.declared(name, index).shape;
  }
  /// An Array of zeros for an output.
  Array make(std::size_t index = 0, std::string_view name = "Out") const {
    return make_array(view_.declared(name, index).dtype, shape(index, name));
  }
  /// Gives an output its values, in the shape that the check has found.
  /// \throws Error BackendFailure: they are not as many
  void give(Array made, std::size_t index = 0, std::string_view name = "Out") const;

  Integers integers(std::string_view name, std::optional<Integers> otherwise = {}) const;
  std::int64_t integer(std::string_view name, std::optional<std::int64_t> otherwise = {}) const;
  bool flag(std::string_view name, bool otherwise = false) const;
  double number(std::string_view name, std::optional<double> otherwise = {}) const;
  /// The attribute, or all of an input.
  Numbers numbers(std::string_view name) const;
  std::string text(std::string_view name, std::string_view otherwise) const {
    return view_.text(name, otherwise);
  }
  /// An axis of a tensor of that rank, given by an attribute or an input.
  std::size_t axis(std::size_t rank, std::optional<std::int64_t> otherwise = {},
                   std::string_view name = "axis") const {
    return view_.axis(integer(name, otherwise), rank);
  }
  /// Whether the last axis of X is that of the channels.
  bool channels_last() const;
  std::size_t channel_axis() const { return channels_last() ? in().shape.size() - 1 : 1; }

 private:
  OperatorView view_;
  const Operator& op_;
  Arrays& values_;
};

using Define = void (*)(const Call& call);

/// The definition of one or more kinds of operators, whose names are separated by blanks.
struct Definition {
  std::string_view kinds;
  Define define;
  bool of_reals = false;  ///< all that it takes to compute with is floating-point
};
using Definitions = std::pair<const Definition*, const Definition*>;

Definitions activation_definitions();
Definitions constant_definitions();
Definitions elementwise_definitions();
Definitions indexing_definitions();
Definitions line_definitions();
Definitions move_definitions();
Definitions normalization_definitions();
Definitions pool_definitions();
Definitions product_definitions();
Definitions quantization_definitions();
Definitions reduction_definitions();
Definitions resize_definitions();
Definitions window_definitions();

/// Null: the plain program has no definition of operators of that kind.
const Definition* find_definition(std::string_view kind);

/// Computes what the operator gives.
/// \throws Error Unsupported: not for such types; BadModel: an index is out of range, and so on
void compute(const Definition& definition, const Call& call);

}  // namespace lenet::plain

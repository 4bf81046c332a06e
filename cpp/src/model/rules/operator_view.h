/// \file
/// One operator of a graph, as rules and engines read it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "model/graph.h"

namespace lenet {

/// Arguments by name, once the check has named them. Where something may be left out, `otherwise`
/// is what it is then; without that it is an error.
class OperatorView {
 public:
  /// Both are to outlive the view. \param at the operator's index
  /// \param changed the same graph, to give outputs; null: it is only read
  OperatorView(const Graph& graph, std::size_t at, const std::string& path,
               Graph* changed = nullptr)
      : graph_(graph), op_(graph.operators[at]), at_(at), path_(path), changed_(changed) {}

  std::int64_t opset() const { return graph_.opset; }
  std::string_view kind() const { return op_.kind; }
  /// For errors, such as "operator 3 (relu)".
  std::string where() const { return "operator " + std::to_string(at_) + " (" + op_.type + ")"; }

  /// For errors, such as "(relu, which gives 'y')".
  std::string named() const;

  bool has(std::string_view name) const { return count(name) > 0; }
  std::size_t count(std::string_view name) const { return argument(op_.inputs, name).size(); }
  std::size_t outputs(std::string_view name) const { return argument(op_.outputs, name).size(); }
  const Value& in(std::string_view name, std::size_t index = 0) const {
    return value(op_.inputs, name, index);
  }
  const Value& declared(std::string_view name, std::size_t index = 0) const {
    return value(op_.outputs, name, index);
  }
  /// Whether shapes may be computed from the contents of an input.
  bool follows(std::string_view name, std::size_t index = 0) const {
    const Value& value = in(name, index);
    return is_known(value) && (graph_.fixes_parameters || !value.parameter);
  }
  /// The numbers of an input that may be followed, where they are few integers and none is open.
  std::optional<Integers> list(std::string_view name, std::size_t index = 0) const {
    return follows(name, index) ? known_list(in(name, index)) : std::nullopt;
  }
  /// An attribute, or the numbers of an input that may be followed, where they are few integers.
  std::optional<OpenIntegers> open_list(std::string_view name, std::size_t index = 0) const;

  const Attributes& attributes() const { return op_.attributes; }
  bool has_attribute(std::string_view name) const { return op_.attributes.count(name) > 0; }
  bool is_given(std::string_view name) const { return has_attribute(name) || has(name); }
  /// An attribute or a constant input.
  Integers integers(std::string_view name, std::optional<Integers> otherwise = {}) const;
  std::int64_t integer(std::string_view name, std::optional<std::int64_t> otherwise = {}) const;
  bool flag(std::string_view name, std::optional<bool> otherwise = {}) const;
  /// An attribute or a constant input.
  double number(std::string_view name, std::optional<double> otherwise = {}) const;
  /// An attribute, of one number or an array, also of integers.
  Numbers numbers(std::string_view name) const;
  std::string text(std::string_view name, std::optional<std::string_view> otherwise = {}) const;
  /// The constant that is an attribute, of ONNX.
  const Value& tensor(std::string_view name) const {
    return graph_.values.at(static_cast<std::size_t>(integer(name)));
  }
  /// An axis of a tensor of that rank, counted from the front; a negative one counts from the end.
  std::size_t axis(std::int64_t given, std::size_t rank) const;

  /// Says what an output is; where it is declared, it must have been declared so. Nothing when the
  /// output is left out.
  void give(std::string_view name, const Shape& shape, int dtype, std::size_t index = 0);
  void give_like(std::string_view name, const Value& like) { give(name, like.shape, like.dtype); }
  /// The output `Out`, whose element type is that of the input `X`.
  void give_shape(const Shape& shape) { give("Out", shape, in("X").dtype); }
  /// Gives an output the contents of another value, which has as many values.
  void give_contents(std::string_view name, const Value& from, std::size_t index = 0);
  /// Gives an output Integers or Numbers.
  template <typename Number>
  void give_contents(std::string_view name, const std::vector<Number>& numbers,
                     std::size_t index = 0);
  /// Gives an output integers of which some may be open.
  void give_contents(std::string_view name, const OpenIntegers& numbers);
  /// Gives an output numbers that are stored in that type.
  void give_contents(std::string_view name, std::string bytes, int dtype, std::size_t index = 0);
  /// Adds to the work that one image costs.
  void count_work(double multiply_adds) { work_ += multiply_adds; }
  double work() const { return work_; }

  /// \param more of the message, so that it is made only where it is needed
  void require(bool condition, std::string_view what, std::string_view more = {}) const {
    if (!condition) fail(what, more);
  }
  [[noreturn]] void fail(std::string_view what, std::string_view more = {}) const;
  /// \throws Error Unsupported: the program is sound, but asks for what no engine here runs.
  [[noreturn]] void unsupported(std::string_view what) const;
  /// \throws Error Unsupported: `what` is known only while it runs.
  [[noreturn]] void not_fixed(std::string_view what) const {
    unsupported("has " + std::string(what) + " that the program does not fix" +
                remedy_unchecked(graph_));
  }
  /// \throws Error Unsupported: no rule knows it, but Paddle may run it unchecked.
  [[noreturn]] void not_checked(std::string_view what) const {
    unsupported(std::string(what) + remedy_unchecked(graph_));
  }
  /// Refuses the size of the image. \param what the operator does with it
  /// \throws TooSmall.
  [[noreturn]] void too_small(ErrorCode code,
                              std::string_view what = "has a window larger than the image") const;
  /// Refuses the program as no_kernel does, once the operators behind this one have been looked at:
  /// one of them may find that the image is too small.
  void refuse_later(std::string_view what);
  const std::optional<Error>& refusal() const { return refusal_; }
  void checks(bool condition, std::string_view what) const {
    if (!condition) not_checked(what);
  }
  /// \throws Error Unsupported: there is no `what`. Graphs of ONNX are checked for it
  ///   alone, so rules say so too.
  [[noreturn]] void no_kernel(std::string_view what) const;
  void supports(bool condition, std::string_view what) const {
    if (!condition) no_kernel(what);
  }

 private:
  /// Empty when it is left out.
  static const Argument& argument(const Arguments& arguments, std::string_view name);
  const Value& value(const Arguments& arguments, std::string_view name, std::size_t index) const;
  Value& output(std::string_view name, std::size_t index = 0);

  const Graph& graph_;
  const Operator& op_;
  std::size_t at_;
  const std::string& path_;
  Graph* changed_;
  double work_ = 0;
  std::optional<Error> refusal_;  ///< the first one that can wait
};

}  // namespace lenet

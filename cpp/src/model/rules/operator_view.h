/// \file
/// One operator of a graph, as rules and engines read it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/graph.h"

namespace lenet {

/// One operator of a program under check, its arguments by name.
class OperatorView {
 public:
  OperatorView(Graph& graph, const Operator& op, const std::string& where, const std::string& path)
      : graph_(graph), op_(op), where_(where), path_(path) {}

  bool has(const std::string& name) const { return count(name) > 0; }
  std::size_t count(const std::string& name) const;
  const Value& in(const std::string& name, std::size_t index = 0) const;
  std::size_t outputs(const std::string& name) const;
  const Value& declared(const std::string& name, std::size_t index = 0) const;

  /// The one of two names that this operator has, of an attribute or input: dialects differ.
  std::string present(const char* name, const char* other) const;
  bool has_attribute(const std::string& name) const { return op_.attributes.count(name) > 0; }
  /// An attribute or a constant input.
  Integers integers(const std::string& name) const;
  /// The same, or nothing when it is an input that the program does not fix.
  std::optional<Integers> known_integers(const std::string& name) const;
  std::int64_t integer(const std::string& name) const;
  bool flag(const std::string& name) const { return integer(name) != 0; }
  double number(const std::string& name) const;
  /// Of an array; empty when it has no elements.
  Numbers numbers(const std::string& name) const;
  const std::string& text(const std::string& name) const;
  /// An axis of a tensor of that rank, counted from the front; a negative one counts from the end.
  std::size_t axis(std::int64_t given, std::size_t rank) const;

  /// Says what an output is; it must have been declared so. Nothing when the output is left out.
  void give(const std::string& name, const Shape& shape, int dtype, std::size_t index = 0);
  void give_like(const std::string& name, const Value& like) { give(name, like.shape, like.dtype); }
  /// The same for an output that inference makes no use of: it may be declared without a shape.
  void give_unused(const std::string& name, const Shape& shape);
  void give_constant(const std::string& name, Integers values);
  /// Adds to the work that one image costs.
  void count_work(double multiply_adds) { work_ += multiply_adds; }
  double work() const { return work_; }

  void require(bool condition, const std::string& what) const {
    if (!condition) fail(what);
  }
  [[noreturn]] void fail(const std::string& what) const;
  /// \throws Error Unsupported: the program is sound, but asks for what no engine here runs.
  [[noreturn]] void unsupported(const std::string& what) const;

 private:
  const Attribute* attribute(const std::string& name) const;
  std::size_t index_of(const std::map<std::string, Argument>& arguments, const std::string& name,
                       std::size_t index) const;

  Graph& graph_;
  const Operator& op_;
  const std::string& where_;
  const std::string& path_;
  double work_ = 0;
};

}  // namespace lenet

/// \file
/// Gives the operators of a format the names of the one vocabulary that rules and engines know.
/// This end of reading waits for the check, because an .onnx may hold what nobody needs.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "model/element_types.h"
#include "model/rules/rules.h"

namespace lenet {

/// Translates the operators of one graph. What an operator is, which arguments and attributes it
/// may have, and of which types, is said by the tables of rules (rules.h).
class Translator {
 public:
  /// Both are to outlive the translator.
  Translator(Graph& graph, const std::string& path);

  /// Checks what the format says of the program as a whole: operator set, inputs and outputs. Makes
  /// float32 values of those of 16 bits.
  /// \returns of each operator, whether it is to be translated: of an .onnx what its outputs need,
  ///   for the native engine; of Paddle's programs all, or what the output needs that was chosen
  /// \throws Error BadModel, Unsupported
  std::vector<bool> begin();

  /// Names an operator's arguments and attributes as its rule does, and checks their types; keeps
  /// what Paddle is to be given in Graph::written.
  /// \throws Error BadModel; Unsupported: no rule knows the operator, or what it has
  const ParsedRule& translate(std::size_t at);

  /// Of each value, whether an operator reads what it holds, or it is an output.
  const std::vector<bool>& read() const { return read_; }

 private:
  void widen();
  void begin_onnx();
  /// Leaves out integer outputs that no classes depend on, as another output has the scores of all
  /// classes: native computes no integers.
  void drop_integers();
  void require_input_type() const;
  [[noreturn]] void refuse(const std::string& problem) const { refuse_program(path_, problem); }
  [[noreturn]] void unsupported(const std::string& problem) const;
  [[noreturn]] void refuse_operator(const OperatorView& view, const std::string& type) const;
  void refuse_quantization(const std::string& type) const;
  Arguments bind(const OperatorView& view, const std::vector<ParsedRule::Argument>& rules,
                 const Arguments& given);
  void drop_unknown(const OperatorView& view, const std::vector<ParsedRule::Argument>& rules,
                    const Arguments& given);
  void check_attributes(const OperatorView& view, const ParsedRule& rule, Attributes& attributes);
  bool is_onnx() const { return graph_.dialect == Dialect::Onnx; }
  bool is_program_desc() const { return graph_.dialect == Dialect::ProgramDesc; }

  Graph& graph_;
  const std::string& path_;
  RuleBook rules_;
  std::vector<bool> read_;
};

}  // namespace lenet

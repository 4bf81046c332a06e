/// \file
/// The equation of ONNX's operator Einsum, which is NumPy's.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/rules/operator_view.h"

namespace lenet {

/// The letters of an equation. "..." stands for any number of axes, in each term in one place.
struct Einsum {
  struct Term {
    std::string letters;                  ///< of the axes, without those of the "..."
    std::optional<std::size_t> ellipsis;  ///< how many of the letters come before it
  };
  std::vector<Term> terms;     ///< one for each input
  std::optional<Term> output;  ///< what is behind "->"; nothing: the equation has none
};

/// Reads an equation such as "nchw,kc->nkhw". Blanks mean nothing.
/// \param inputs of the operator
/// \param problem gets what is wrong, which continues "the equation 'nchw->nchhw' "; left empty
///   where nothing is: it is made of terms of letters with at most one "..." each, as many as there
///   are inputs, and its output has letters of theirs, each once
Einsum parse_einsum(std::string_view equation, std::size_t inputs, std::string& problem);

/// Reads the equation of an operator. A digit stands for each axis of a "...", and an output that
/// the equation leaves out has the letters that it names once, in their order.
/// \returns terms without "...", which have as many letters as their inputs have axes
/// \throws Error BadModel: something is wrong with it; Unsupported: it sums up what a "..." stands
///   for
Einsum read_equation(const OperatorView& op);

}  // namespace lenet

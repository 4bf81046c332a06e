#include "model/rules/einsum.h"

#include <algorithm>

namespace lenet {
namespace {

constexpr std::string_view kArrow = "->";
constexpr std::string_view kEllipsis = "...";

/// Not std::isalpha, which asks the locale.
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

Einsum::Term parse_term(std::string_view text, std::string& problem) {
  Einsum::Term term;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (is_letter(text[at])) {
      term.letters += text[at];
    } else if (text.substr(at, kEllipsis.size()) == kEllipsis) {
      if (term.ellipsis) problem = "has two '...' in one term";
      term.ellipsis = term.letters.size();
      at += kEllipsis.size() - 1;
    } else if (text[at] == '.') {
      problem = "has a '.' that is no part of a '...'";
    } else {
      problem = "has a character that is no letter, '...', ',' or '->'";
    }
    if (!problem.empty()) return term;
  }
  return term;
}

}  // namespace

Einsum parse_einsum(std::string_view equation, std::size_t inputs, std::string& problem) {
  std::string text(equation);
  text.erase(std::remove(text.begin(), text.end(), ' '), text.end());
  Einsum einsum;
  const std::size_t arrow = text.find(kArrow);
  std::string_view left = std::string_view(text).substr(0, arrow);
  std::string given;  // all letters of the inputs
  for (;;) {
    const std::size_t comma = left.find(',');
    einsum.terms.push_back(parse_term(left.substr(0, comma), problem));
    if (!problem.empty()) return einsum;
    given += einsum.terms.back().letters;
    if (comma == std::string_view::npos) break;
    left.remove_prefix(comma + 1);
    if (einsum.terms.size() > inputs) break;
  }
  if (einsum.terms.size() != inputs) {
    problem = "does not have as many terms as the operator has inputs, " + std::to_string(inputs);
    return einsum;
  }
  if (arrow == std::string::npos) return einsum;
  einsum.output = parse_term(std::string_view(text).substr(arrow + kArrow.size()), problem);
  if (!problem.empty()) return einsum;
  const std::string& letters = einsum.output->letters;
  for (std::size_t i = 0; i < letters.size(); ++i) {
    if (given.find(letters[i]) == std::string::npos) {
      problem = std::string("gives an axis '") + letters[i] + "' that no input has";
    } else if (letters.find(letters[i], i + 1) != std::string::npos) {
      problem = std::string("gives the axis '") + letters[i] + "' twice";
    }
    if (!problem.empty()) break;
  }
  return einsum;
}

Einsum read_equation(const OperatorView& op) {
  std::string problem;
  Einsum einsum = parse_einsum(op.text("equation"), op.count("X"), problem);
  op.require(problem.empty(), "the equation, which ", problem);
  std::size_t most = 0;  // axes of a "..."
  std::string once;      // letters that the terms have once
  std::string given;
  for (std::size_t i = 0; i < einsum.terms.size(); ++i) {
    const auto& [letters, ellipsis] = einsum.terms[i];
    const std::size_t rank = op.in("X", i).shape.size();
    const bool matches = ellipsis ? letters.size() <= rank : letters.size() == rank;
    op.require(matches, "the equation, a term of which does not have the rank of its input");
    if (ellipsis) most = std::max(most, rank - letters.size());
    given += letters;
  }
  for (const char letter : given) {
    if (std::count(given.begin(), given.end(), letter) == 1) once += letter;
  }
  std::sort(once.begin(), once.end());
  if (!einsum.output) einsum.output = Einsum::Term{once, 0};
  op.supports(most == 0 || einsum.output->ellipsis, "kernel for sums of what '...' stands for");
  std::string axes;  // of the longest "...", with which the others end
  for (std::size_t i = 0; i < most; ++i) axes += static_cast<char>('0' + i);
  const auto spell_out = [&axes](Einsum::Term& term, std::size_t rank) {
    const std::size_t count = rank - term.letters.size();
    if (term.ellipsis) term.letters.insert(*term.ellipsis, axes.substr(axes.size() - count));
    term.ellipsis.reset();
  };
  for (std::size_t i = 0; i < einsum.terms.size(); ++i) {
    spell_out(einsum.terms[i], op.in("X", i).shape.size());
  }
  spell_out(*einsum.output, einsum.output->letters.size() + most);
  return einsum;
}

}  // namespace lenet

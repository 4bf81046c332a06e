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

}  // namespace lenet

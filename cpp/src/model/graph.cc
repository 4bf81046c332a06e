#include "model/graph.h"

#include <algorithm>
#include <array>

#include "io/printable.h"

namespace lenet {
namespace {

constexpr std::size_t kMaxName = 1024;

/// The plain name of an operator: "softmax" of "1.softmax", where PIR numbers the dialects.
std::string_view plain(std::string_view type) {
  const auto dialect = type.find('.');
  return dialect == std::string_view::npos ? type : type.substr(dialect + 1);
}

/// What scales the result, or gives it another name or shape.
bool is_neutral(std::string_view name) {
  constexpr std::array<std::string_view, 6> kNeutral = {"scale",   "assign",  "Identity",
                                                        "Flatten", "Reshape", "Squeeze"};
  return std::find(kNeutral.begin(), kNeutral.end(), name) != kNeutral.end();
}

/// Its first input; kNone when there is none.
std::size_t input_of(const Operator& op) {
  const auto named = op.inputs.find("X");
  const auto argument = named == op.inputs.end() ? op.inputs.begin() : named;
  return argument == op.inputs.end() || argument->second.empty() ? kNone : argument->second[0];
}

}  // namespace

void link_values(Graph& graph) {
  for (std::size_t i = 0; i < graph.operators.size(); ++i) {
    const Operator& op = graph.operators[i];
    const bool fetches = op.type == "fetch" || op.type == "1.fetch";
    const bool feeds = op.type == "feed" || op.type == "1.data";
    each_value(op.inputs, [&](std::size_t index) {
      std::vector<std::size_t>& consumers = graph.values[index].consumers;
      if (consumers.empty() || consumers.back() != i) consumers.push_back(i);
      if (fetches) graph.outputs.push_back(index);
    });
    each_value(op.outputs, [&](std::size_t index) {
      std::size_t& producer = graph.values[index].producer;
      if (producer == kNone) producer = i;
      if (feeds) graph.inputs.push_back(index);
    });
  }
}

bool ends_in_softmax(const Graph& graph) {
  std::size_t value = graph.outputs.empty() ? kNone : graph.outputs[0];
  // At most as many steps as there are operators: a damaged graph may go round.
  for (std::size_t left = graph.operators.size(); left > 0 && value != kNone; --left) {
    const std::size_t producer = graph.values[value].producer;
    if (producer == kNone) return false;
    const std::string_view name = plain(graph.operators[producer].type);
    if (!is_neutral(name)) return name == "softmax" || name == "Softmax";
    value = input_of(graph.operators[producer]);
  }
  return false;
}

void refuse_program(const std::string& path, const std::string& problem) {
  throw Error(ErrorCode::BadModel, "'" + path + "' " + printable(problem));
}

void require_name(std::string_view name, const std::string& what, const std::string& path) {
  const bool sane =
      !name.empty() && name.size() <= kMaxName &&
      std::all_of(name.begin(), name.end(), [](char byte) { return byte > ' ' && byte <= '~'; });
  if (!sane) {
    refuse_program(
        path, "is damaged: the name of " + what + " is '" + std::string(name.substr(0, 100)) + "'");
  }
}

}  // namespace lenet

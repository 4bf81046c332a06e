#include "model/graph.h"

#include "io/printable.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

constexpr std::size_t kMaxName = 1024;

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
    const std::string type = plain_type(graph, graph.operators[producer]);
    // What scales the result, or gives it another name or shape.
    if (!has_word("scale assign Identity Flatten Reshape Squeeze", type)) {
      return type == "softmax" || type == "Softmax";
    }
    value = input_of(graph.operators[producer]);
  }
  return false;
}

std::optional<std::uint64_t> size_in_bytes(std::uint64_t element_size, const Shape& shape,
                                           std::uint64_t most) {
  std::uint64_t size = element_size;
  for (const std::int64_t dimension : shape) {
    const auto known = static_cast<std::uint64_t>(dimension);
    if (dimension < 0 || (known != 0 && size > most / known)) return std::nullopt;
    size *= known;
  }
  return size;
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

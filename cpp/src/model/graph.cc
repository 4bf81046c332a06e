#include "model/graph.h"

#include <algorithm>

#include "io/printable.h"

namespace lenet {
namespace {

constexpr std::size_t kMaxName = 1024;

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

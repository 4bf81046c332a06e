#include "model/variable_names.h"

#include <optional>
#include <set>

#include "model/protobuf.h"

namespace lenet {
namespace {

// Field numbers of framework.proto.
constexpr std::uint64_t kProgramBlocks = 1;
constexpr std::uint64_t kBlockVars = 3;
constexpr std::uint64_t kBlockOps = 4;
constexpr std::uint64_t kVarName = 1;
constexpr std::uint64_t kOpInputs = 1;
constexpr std::uint64_t kOpOutputs = 2;
constexpr std::uint64_t kOpVarArguments = 2;

}  // namespace

std::string with_renamed_variables(std::string_view program, const Graph& graph,
                                   const std::string& suffix, const std::string& path) {
  using Replacement = std::optional<std::string>;
  std::set<std::string_view> renamed;
  for (const Value& value : graph.values) {
    if (!value.parameter) renamed.insert(value.name);
  }
  for (const auto* ends : {&graph.inputs, &graph.outputs}) {
    for (const std::size_t value : *ends) renamed.erase(graph.values[value].name);
  }
  const auto rename = [&](const Field& field) -> Replacement {
    if (renamed.count(field.bytes) == 0) return {};
    return std::string(field.bytes) + suffix;
  };
  const auto in_list = [&](const Field& item) -> Replacement {
    return item.number == kOpVarArguments ? rename(item) : Replacement();
  };
  const auto in_variable = [&](const Field& field) -> Replacement {
    return field.number == kVarName ? rename(field) : Replacement();
  };
  const auto in_op = [&](const Field& field) -> Replacement {
    if (field.number != kOpInputs && field.number != kOpOutputs) return {};
    return rewrite_fields(field.bytes, path, in_list);
  };
  const auto in_block = [&](const Field& part) -> Replacement {
    if (part.number == kBlockVars) return rewrite_fields(part.bytes, path, in_variable);
    if (part.number == kBlockOps) return rewrite_fields(part.bytes, path, in_op);
    return {};
  };
  return rewrite_fields(program, path, [&](const Field& block) -> Replacement {
    if (block.number != kProgramBlocks) return {};
    return rewrite_fields(block.bytes, path, in_block);
  });
}

}  // namespace lenet

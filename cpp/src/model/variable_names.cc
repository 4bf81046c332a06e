#include "model/variable_names.h"

#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "model/protobuf.h"

namespace lenet {
namespace {

using Names = std::set<std::string, std::less<>>;

// Field numbers of framework.proto.
constexpr std::uint64_t kProgramBlocks = 1;
constexpr std::uint64_t kBlockVars = 3;
constexpr std::uint64_t kBlockOps = 4;
constexpr std::uint64_t kVarName = 1;
constexpr std::uint64_t kVarPersistable = 3;
constexpr std::uint64_t kOpInputs = 1;
constexpr std::uint64_t kOpOutputs = 2;
constexpr std::uint64_t kOpType = 3;
constexpr std::uint64_t kOpVarArguments = 2;

bool is_variable_list(const Field& field) {
  return field.number == kOpInputs || field.number == kOpOutputs;
}

/// The variables of a feed or a fetch: the program's inputs and outputs.
void add_endpoints(std::string_view op, const std::string& path, Names& names) {
  std::string_view type;
  std::vector<std::string_view> variables;
  FieldReader fields(op, path);
  for (Field field; fields.next(field);) {
    if (field.number == kOpType) type = field.bytes;
    if (!is_variable_list(field)) continue;
    FieldReader list(field.bytes, path);
    for (Field item; list.next(item);) {
      if (item.number == kOpVarArguments) variables.push_back(item.bytes);
    }
  }
  if (type == "feed" || type == "fetch") names.insert(variables.begin(), variables.end());
}

void add_parameter(std::string_view variable, const std::string& path, Names& names) {
  std::string_view name;
  bool persistable = false;
  FieldReader fields(variable, path);
  for (Field field; fields.next(field);) {
    if (field.number == kVarName) name = field.bytes;
    if (field.number == kVarPersistable) persistable = field.value != 0;
  }
  if (persistable) names.emplace(name);
}

Names fixed_names(std::string_view program, const std::string& path) {
  Names names;
  FieldReader blocks(program, path);
  for (Field block; blocks.next(block);) {
    if (block.number != kProgramBlocks) continue;
    FieldReader parts(block.bytes, path);
    for (Field part; parts.next(part);) {
      if (part.number == kBlockVars) add_parameter(part.bytes, path, names);
      if (part.number == kBlockOps) add_endpoints(part.bytes, path, names);
    }
  }
  return names;
}

}  // namespace

std::string with_renamed_variables(std::string_view program, const std::string& suffix,
                                   const std::string& path) {
  using Replacement = std::optional<std::string>;
  const Names fixed = fixed_names(program, path);
  const auto rename = [&](const Field& field) -> Replacement {
    if (fixed.find(field.bytes) != fixed.end()) return {};
    return std::string(field.bytes) + suffix;
  };
  const auto in_list = [&](const Field& item) -> Replacement {
    return item.number == kOpVarArguments ? rename(item) : Replacement();
  };
  const auto in_variable = [&](const Field& field) -> Replacement {
    return field.number == kVarName ? rename(field) : Replacement();
  };
  const auto in_op = [&](const Field& field) -> Replacement {
    if (!is_variable_list(field)) return {};
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

/// YAML as the configurations of toolkits use it, read by libyaml.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <string_view>

namespace lenet {

/// Longer ones are refused; the names of 21,000 classes take 1 MiB.
inline constexpr std::size_t kMaxYamlBytes = std::size_t{4} << 20;

/// Reads some members of the mapping that a document is, with the types that PyYAML's safe_load
/// gives to values (YAML 1.1); names stay texts. In time and memory linear in the text.
/// \param members of which the others are passed over
/// \returns what there is of them; a document that is no mapping as it is
/// \throws InvalidJson also beyond kMaxJsonDepth, and when a mapping has a name twice; Error
///   Unsupported for what these members do without: aliases, tags, merged mappings, and numbers
///   whose value another version of YAML reads otherwise; for more than kMaxYamlBytes; and in a
///   build without libyaml.
nlohmann::json parse_yaml(std::string_view text, const std::set<std::string>& members);

}  // namespace lenet

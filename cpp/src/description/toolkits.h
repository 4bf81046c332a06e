/// Descriptions that toolkits write beside a network, in the form of `preprocess.json`.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace lenet {

/// Whether a .json is one of Hugging Face or timm.
bool is_of_toolkit(const nlohmann::json& document);

/// \param document a parsed .yml or .json, in one of the forms that read_description knows
/// \param read_labels gives the member `labels` of a file that the document names ("0 NAME" in a
///   line, with this text between the two), with a comma before it, or nothing
/// \param id2label of Hugging Face's config.json, or null
/// \returns what parse_description takes
/// \throws InvalidJson what is wrong where; Error Unsupported, with the name of what is not done
std::string translate_description(
    const nlohmann::json& document,
    const std::function<std::string(const std::string& name, const std::string& between)>&
        read_labels,
    const nlohmann::json& id2label);

/// A list of the names by the numbers of classes, "0" to that of the last, as text.
/// \throws InvalidJson when a number is missing or no number
std::string labels_by_number(const nlohmann::json& names);

}  // namespace lenet

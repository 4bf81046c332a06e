/// \file
/// What the folders of models hold.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lenet::serve {

/// Whether a text can be the name of a model: 1 to 128 letters, digits, '.', '_' and '-', the first
/// of which is no '.'. Nothing else comes to the file system from a client.
bool is_model_name(std::string_view text);
/// A version: an integer from 1 on, written without zeros in front.
std::optional<std::int64_t> parse_version(std::string_view text);

/// The entries of a folder in the order of their names, without hidden ones.
/// \throws Error FileNotFound
std::vector<std::filesystem::directory_entry> entries_of(const std::string& folder);

struct FolderContents {
  bool is_model = false;    ///< it has a program or versions
  bool has_folder = false;  ///< one that is no version
  bool has_models = false;  ///< one of these folders has a program, parameters or versions

  /// Whether it is a repository and nothing else.
  bool is_repository() const { return has_folder && !is_model; }
  /// Whether it is a repository, or both: a repository into which somebody put a program.
  bool can_be_repository() const { return has_models || is_repository(); }
};
/// Looks also into the folders among the entries.
FolderContents contents_of(const std::vector<std::filesystem::directory_entry>& entries);

// Both describe the file at a path, or the files that are directly in the folder there.

/// A text that differs when a file was written, replaced, added or taken away.
std::string state_of(const std::string& path);
/// A digest that differs when the contents of the files differ, whatever they are called.
/// \throws Error FileNotFound
std::string digest_of(const std::string& path);

}  // namespace lenet::serve

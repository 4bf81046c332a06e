#include "model_folders.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <system_error>

#include "io/file.h"
#include "lenet/error.h"
#include "model/hash_check.h"

namespace lenet::serve {
namespace {

namespace fs = std::filesystem;

bool is_program(const fs::path& file) {
  const std::string end = file.extension().string();
  return end == ".pdmodel" || end == ".onnx" || file.filename() == "__model__";
}

/// Whether a folder looks as one of a model: with a program, parameters or versions.
bool holds_model(const std::string& folder) {
  const auto entries = entries_of(folder);
  return std::any_of(entries.begin(), entries.end(), [](const fs::directory_entry& entry) {
    std::error_code failed;
    const fs::path& path = entry.path();
    if (entry.is_directory(failed)) return parse_version(path.filename().string()).has_value();
    return is_program(path) || path.extension() == ".pdiparams";
  });
}

/// The files of a model: of a folder, those that are directly in it.
std::vector<fs::path> files_of(const std::string& path) {
  std::error_code failed;
  if (!fs::is_directory(path, failed)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : entries_of(path)) {
    if (entry.is_regular_file(failed)) files.push_back(entry.path());
  }
  return files;
}

}  // namespace

bool is_model_name(std::string_view text) {
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !text.empty() && text.size() <= 128 && text[0] != '.' &&
         text.find_first_not_of(kLetters) == std::string_view::npos;
}

std::optional<std::int64_t> parse_version(std::string_view text) {
  std::int64_t version = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), version);
  const bool is_version = !text.empty() && end.ec == std::errc() && text[0] >= '1' &&
                          text[0] <= '9' && end.ptr == text.data() + text.size();
  return is_version ? std::optional(version) : std::nullopt;
}

std::vector<fs::directory_entry> entries_of(const std::string& folder) {
  std::vector<fs::directory_entry> entries;
  try {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().filename().native()[0] != '.') entries.push_back(entry);
    }
  } catch (const fs::filesystem_error& error) {
    throw Error(ErrorCode::FileNotFound,
                "cannot read folder '" + folder + "': " + error.code().message());
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

FolderContents contents_of(const std::vector<fs::directory_entry>& entries) {
  FolderContents contents;
  std::error_code failed;
  for (const fs::directory_entry& entry : entries) {
    const fs::path& path = entry.path();
    const bool is_folder = entry.is_directory(failed);
    const bool is_version = is_folder && parse_version(path.filename().string());
    contents.is_model |= is_version || (entry.is_regular_file(failed) && is_program(path));
    if (!is_folder || is_version) continue;
    contents.has_folder = true;
    try {
      contents.has_models = contents.has_models || holds_model(path.string());
    } catch (const Error&) {  // it cannot be read, and tells nothing
    }
  }
  return contents;
}

std::string state_of(const std::string& path) {
  std::string state;
  for (const fs::path& file : files_of(path)) {
    struct stat now = {};  // of a file that has just gone
    stat(file.c_str(), &now);
    state += file.filename().string();
    // A copy may have the size and the time of what it replaces.
    for (const auto one :
         {std::int64_t{now.st_size}, std::int64_t{now.st_mtim.tv_sec},
          std::int64_t{now.st_mtim.tv_nsec}, std::int64_t{now.st_ctim.tv_sec},
          std::int64_t{now.st_ctim.tv_nsec}, static_cast<std::int64_t>(now.st_ino)}) {
      state += ":" + std::to_string(one);
    }
    state += "\n";
  }
  return state;
}

std::string digest_of(const std::string& path) {
  std::vector<std::string> digests;
  for (const fs::path& file : files_of(path)) {
    digests.push_back(sha256_hex(read_file(file.string())));
  }
  std::sort(digests.begin(), digests.end());
  std::string all;
  for (const std::string& digest : digests) all += digest;
  return digests.size() == 1 ? all : sha256_hex(all);
}

}  // namespace lenet::serve

#include <cstdlib>

#include "platform/platform.h"

namespace lenet::platform {
namespace {

/// Of the name in a path; its end where the name has no suffix.
std::size_t begin_of_suffix(const std::string& path) {
  const std::size_t name = begin_of_name(path);
  const std::size_t dot = path.rfind('.');
  const bool has_suffix = dot != std::string::npos && dot > name && path.substr(name) != "..";
  return has_suffix ? dot : path.size();
}

}  // namespace

std::string folder_of(const std::string& path) {
  const std::string folder = path.substr(0, begin_of_name(path));
  const bool ends_in_separator = folder.size() > 1 && folder.back() != ':';
  return folder.substr(0, folder.size() - (ends_in_separator ? 1 : 0));
}

std::string in_folder(const std::string& folder, const std::string& name) {
  return folder + (begin_of_name(folder) == folder.size() ? "" : "/") + name;
}

std::string suffix_of(const std::string& path) { return path.substr(begin_of_suffix(path)); }

std::string with_suffix(const std::string& path, const std::string& suffix) {
  return path.substr(0, begin_of_suffix(path)) + suffix;
}

std::string hint_of_missing(const std::string& path) {
  const std::size_t colon = path.find(":/");
  // On Windows a path may begin with the letter of a drive.
  if (colon != std::string::npos && colon > 1 && path.find_first_of("/\\") == colon + 1) {
    return "it is a URL: download it first";
  }
  if (path.empty() || path[0] != '~' || path.find_first_of("/\\") > 1) return "";
  const char* const home = std::getenv("HOME");
  return "only a shell replaces '~', at the beginning of a word: write " +
         (home == nullptr ? "the whole path" : "'" + (home + path.substr(1)) + "'");
}

}  // namespace lenet::platform

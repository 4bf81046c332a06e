#include "manifest.h"

#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string_view>

#include "io/file.h"
#include "io/json.h"
#include "lenet/error.h"
#include "model/hash_check.h"

namespace lenet::apps {
namespace fs = std::filesystem;
namespace {

constexpr const char* kName = "manifest.json";

Manifest parse_manifest(const nlohmann::json& document, const std::string& program) {
  Manifest manifest;
  if (document.at("format_version").get<int>() != 1) {
    throw Error(ErrorCode::BadModel, "its format_version is not 1");
  }
  if (!document.at("models").contains(program)) return manifest;
  const auto& softmax = document.at("softmax");
  if (!softmax.is_null()) manifest.softmax = softmax.get<bool>();
  manifest.classes = document.at("classes").get<std::vector<std::string>>();
  return manifest;
}

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr const char* kSpace = " \t\r\v\f";

std::string stripped(const std::string& text) {
  const auto begin = text.find_first_not_of(kSpace);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

/// What follows `number` and space; empty when the line is not of this form.
std::string after_number(const std::string& line, std::size_t number) {
  std::size_t found = 0;
  const auto result = std::from_chars(line.data(), line.data() + line.size(), found);
  const auto end = static_cast<std::size_t>(result.ptr - line.data());
  const bool fits = result.ec == std::errc() && found == number && end < line.size() &&
                    std::string_view(kSpace).find(line[end]) != std::string_view::npos;
  return fits ? stripped(line.substr(end)) : "";
}

bool is_utf8(const std::string& text) {
  try {
    static_cast<void>(nlohmann::json(text).dump());
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

}  // namespace

Manifest read_manifest(const std::string& program, bool check_hashes) {
  const std::string path = fs::path(program).replace_filename(kName).string();
  std::error_code failed;
  if (!fs::exists(path, failed)) return {};
  const std::string text = read_file(path);
  HashCheck{check_hashes}(path, text);
  std::string problem;
  try {
    return parse_manifest(parse_json(text), fs::path(program).filename().string());
  } catch (const InvalidJson& error) {
    problem = error.what();
  } catch (const nlohmann::json::exception& error) {
    problem = error.what();
  } catch (const Error& error) {
    problem = error.what();
  }
  throw Error(ErrorCode::BadModel, "'" + path + "' is not a valid manifest: " + problem);
}

std::vector<std::string> read_class_names(const std::string& path) {
  std::string text = read_file(path);
  if (text.compare(0, kByteOrderMark.size(), kByteOrderMark) == 0) {
    text.erase(0, kByteOrderMark.size());
  }
  if (!is_utf8(text)) {
    throw Error(ErrorCode::BadInput, "'" + path + "' is not a list of labels: it is not UTF-8");
  }
  std::vector<std::string> names;
  std::vector<std::string> numbered;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    line = stripped(line);
    if (line.empty()) continue;
    const std::string name = after_number(line, names.size());
    if (!name.empty()) numbered.push_back(name);
    names.push_back(line);
  }
  if (names.empty()) {
    throw Error(ErrorCode::BadInput, "'" + path + "' lists no label: write one name in each line");
  }
  return numbered.size() == names.size() ? numbered : names;
}

}  // namespace lenet::apps

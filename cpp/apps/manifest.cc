#include "manifest.h"

#include <filesystem>
#include <nlohmann/json.hpp>

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

}  // namespace lenet::apps

#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <utility>

#include "description/description.h"
#include "description/toolkits.h"
#include "io/file.h"
#include "io/json.h"
#include "io/printable.h"
#include "io/yaml.h"
#include "model/hash_check.h"

namespace lenet {
namespace fs = std::filesystem;
namespace {

using nlohmann::json;

/// In this order: what this project wrote knows the most.
constexpr std::array<const char*, 6> kNames = {"preprocess.json",          "inference.yml",
                                               "inference_cls.yaml",       "model.yml",
                                               "preprocessor_config.json", "config.json"};

/// PaddleClas's and PaddleX 3's, and PaddleX 2's. PaddleX 3 has aliases in others.
const std::set<std::string> kYmlMembers = {"PreProcess", "PostProcess", "Transforms",
                                           "TransformsMode", "_Attributes"};

std::string beside(const std::string& path, const std::string& name) {
  return fs::path(path).replace_filename(name).string();
}

/// Lines of a number, `between`, and a name.
std::string read_label_lines(const std::string& path, const std::string& between) {
  json names = json::object();
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty()) continue;
    const std::size_t end = between.empty() ? std::string::npos : line.find(between);
    const std::string number = line.substr(0, end);
    const std::string name = end == std::string::npos ? "" : line.substr(end + between.size());
    if (!names.emplace(number, name).second) throw InvalidJson("'" + number + "' comes twice");
  }
  return ",\"labels\":" + labels_by_number(names);
}

bool is_json(const std::string& path) { return fs::path(path).extension() == ".json"; }

/// The form of `preprocess.json` of a toolkit's file.
ReadDescription translate(const std::string& text, const std::string& path) {
  ReadDescription result;
  // Of the name alone: the folders are those of who trained the model.
  const auto read_labels = [&](const std::string& name, const std::string& between) -> std::string {
    const std::string file = beside(path, fs::path(name).filename().string());
    std::error_code failed;
    if (!fs::is_regular_file(file, failed)) {
      result.note = "there is no '" + printable(file) + "', which '" + printable(path) +
                    "' names for the names of the classes: copy it there, or use --labels";
      return "";
    }
    try {
      return read_label_lines(file, between);
    } catch (const InvalidJson& error) {
      throw InvalidJson("'" + file + "': " + error.what());
    }
  };
  const json document = is_json(path) ? parse_json(text) : parse_yaml(text, kYmlMembers);
  json id2label;
  const std::string config = beside(path, "config.json");
  std::error_code failed;
  if (is_json(path) && config != path && fs::is_regular_file(config, failed)) {
    try {
      const json parsed = parse_json(read_file(config));
      if (parsed.contains("id2label")) id2label = parsed["id2label"];
    } catch (const InvalidJson& error) {
      throw InvalidJson("'" + config + "': " + error.what());
    }
  }
  result.text = translate_description(document, read_labels, id2label);
  return result;
}

}  // namespace

std::string description_names() {
  std::string names;
  for (const char* name : kNames) names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

std::string find_description(const std::string& program) {
  for (const char* name : kNames) {
    const std::string path = beside(program, name);
    std::error_code failed;
    if (!fs::exists(path, failed)) continue;
    // Any tool may have written a file of this name.
    const bool is_ours =
        name != kNames.back() || read_file(path).find("\"pretrained_cfg\"") != std::string::npos;
    if (is_ours) return path;
  }
  return "";
}

ReadDescription read_description(const std::string& path, bool check_hashes) {
  const std::string text = read_file(path);
  HashCheck{check_hashes}(path, text);
  const std::string subject = "'" + printable(path) + "'";
  try {
    const bool ours = is_json(path) && !is_of_toolkit(parse_json(text));
    ReadDescription found = ours ? ReadDescription{text, ""} : translate(text, path);
    parse_description(found.text, path);
    return found;
  } catch (const InvalidJson& error) {
    throw Error(ErrorCode::BadModel, subject + " is not a valid description of preprocessing: " +
                                         printable(error.what()));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::Unsupported) throw;
    throw Error(ErrorCode::Unsupported, subject + ": " + error.what());
  }
}

ImagePipeline ImagePipeline::load(const std::string& path, bool check_hashes) {
  const std::string text = read_description(path, check_hashes).text;
  return ImagePipeline(parse_description(text, path).images);
}

}  // namespace lenet

#include "model/model_files.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <sstream>
#include <utility>
#include <vector>

#include "io/file.h"
#include "io/printable.h"
#include "lenet/error.h"
#include "model/check_graph.h"
#include "model/parameters.h"
#include "model/pir_program.h"
#include "model/program_desc.h"
#include "model/sha256.h"

namespace lenet {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSeparateProgram = "__model__";
constexpr const char* kParamsSuffix = ".pdiparams";
constexpr const char* kHashFile = "SHA256SUMS";

std::string parent_of(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  return parent.empty() ? "." : parent.string();
}

ModelFiles separate_files(const std::string& program) {
  return {ModelFormat::Separate, program, "", parent_of(program)};
}

ModelFiles combined_files(const std::string& program, std::string params) {
  const fs::path path(program);
  const bool json = path.extension() == ".json";
  if (params.empty()) params = fs::path(path).replace_extension(kParamsSuffix).string();
  return {json ? ModelFormat::Json : ModelFormat::Pdmodel, program, params, parent_of(program)};
}

ModelFiles find_in_folder(const std::string& folder) {
  std::error_code failed;
  if (!fs::is_directory(folder, failed)) {
    throw Error(ErrorCode::FileNotFound, "model_dir '" + folder + "' is not a folder");
  }
  const fs::path root(folder);
  if (fs::exists(root / kSeparateProgram, failed)) {
    return separate_files((root / kSeparateProgram).string());
  }
  for (const char* suffix : {".pdmodel", ".json"}) {
    std::vector<std::string> programs;
    for (const auto& entry : fs::directory_iterator(root, failed)) {
      const fs::path& path = entry.path();
      const bool has_params = fs::exists(fs::path(path).replace_extension(kParamsSuffix), failed);
      if (path.extension() == suffix && has_params) programs.push_back(path.string());
    }
    if (programs.size() > 1) {
      throw Error(ErrorCode::BadModel, "'" + folder + "' holds several models (" + programs[0] +
                                           ", " + programs[1] + "); name one with model_file");
    }
    if (programs.size() == 1) return combined_files(programs[0], "");
  }
  throw Error(ErrorCode::BadModel, "'" + folder + "' holds no model: expected NAME.pdmodel or " +
                                       "NAME.json with NAME.pdiparams, or " + kSeparateProgram);
}

/// SHA256SUMS: "<64 hexadecimal digits>  <name>" a line, as read by sha256sum -c.
std::map<std::string, std::string> read_hashes(const std::string& path) {
  std::map<std::string, std::string> hashes;
  std::istringstream lines(read_file(path));
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    constexpr std::size_t kDigits = 64;
    const auto is_digit = [](unsigned char byte) { return std::isxdigit(byte) != 0; };
    const auto is_control = [](unsigned char byte) { return std::iscntrl(byte) != 0; };
    if (line.size() < kDigits + 3 || line[kDigits] != ' ' ||
        !std::all_of(line.begin(), line.begin() + kDigits, is_digit) ||
        std::any_of(line.begin(), line.end(), is_control)) {
      throw Error(ErrorCode::BadModel, "'" + path + "' is not a list of SHA-256 sums");
    }
    std::string digits = line.substr(0, kDigits);
    std::transform(digits.begin(), digits.end(), digits.begin(),
                   [](unsigned char digit) { return static_cast<char>(std::tolower(digit)); });
    const std::string name = line.substr(kDigits + 2);
    if (!hashes.emplace(name, std::move(digits)).second) {
      throw Error(ErrorCode::BadModel, "'" + path + "' lists '" + name + "' twice");
    }
  }
  return hashes;
}

/// Compares files with the SHA256SUMS beside them.
class HashCheck {
 public:
  explicit HashCheck(bool enabled) : enabled_(enabled) {}

  void operator()(const std::string& path, const std::string& contents) {
    if (!enabled_) return;
    const auto& hashes = hashes_beside(path);
    const auto found = hashes.find(fs::path(path).filename().string());
    if (found == hashes.end()) return;
    const std::string actual = sha256_hex(contents);
    if (actual != found->second) {
      throw Error(ErrorCode::BadModel, "'" + path + "' has SHA-256 " + actual + ", but " +
                                           kHashFile + " beside it says " + found->second +
                                           "; it was damaged or replaced, export it again");
    }
  }

 private:
  const std::map<std::string, std::string>& hashes_beside(const std::string& path) {
    const std::string folder = parent_of(path);
    const auto known = by_folder_.find(folder);
    if (known != by_folder_.end()) return known->second;
    const fs::path list = fs::path(folder) / kHashFile;
    std::error_code failed;
    auto& hashes = by_folder_[folder];
    if (fs::exists(list, failed)) hashes = read_hashes(list.string());
    return hashes;
  }

  bool enabled_;
  std::map<std::string, std::map<std::string, std::string>> by_folder_;
};

/// After the hashes, whose mismatch says more than what is wrong with the program.
void check_operators(const ModelFiles& files, const std::string& program) {
  Graph graph = files.format == ModelFormat::Json ? read_pir_program(program, files.program)
                                                  : read_program_desc(program, files.program);
  check_graph(graph, files.program);
}

void check_separate(const ModelFiles& files, HashCheck& check_hash, bool check_program) {
  const std::string program = read_file(files.program);
  check_hash(files.program, program);
  for (const ParameterSpec& spec : read_pdmodel_parameters(program, files.program)) {
    const std::string shown = printable(spec.name);
    if (spec.name.find('/') != std::string::npos || shown != spec.name) {
      throw Error(
          ErrorCode::BadModel,
          "'" + files.program + "' names a variable that is no file of its folder: " + shown);
    }
    const std::string path = (fs::path(files.directory) / spec.name).string();
    const std::string contents = read_file(path);
    check_hash(path, contents);
    require_same_parameters({spec}, read_parameter_records(contents, path), path);
  }
  if (check_program) check_operators(files, program);
}

}  // namespace

ModelFiles find_model_files(const Config& config) {
  if (!config.model_dir.empty()) {
    if (!config.model_file.empty() || !config.params_file.empty()) {
      throw Error(ErrorCode::BadInput,
                  "name a model by model_dir, or by model_file and params_file, not by both");
    }
    return find_in_folder(config.model_dir);
  }
  if (config.model_file.empty()) {
    throw Error(ErrorCode::BadInput,
                "no model named: give model_file and params_file, or model_dir");
  }
  if (fs::path(config.model_file).filename() == kSeparateProgram && config.params_file.empty()) {
    return separate_files(config.model_file);
  }
  return combined_files(config.model_file, config.params_file);
}

void check_model_files(const ModelFiles& files, bool check_hashes, bool check_program) {
  HashCheck check_hash(check_hashes);
  if (files.format == ModelFormat::Separate) {
    check_separate(files, check_hash, check_program);
    return;
  }
  const std::string program = read_file(files.program);
  const std::string params = read_file(files.params);
  const auto needed = files.format == ModelFormat::Json
                          ? read_json_parameters(program, files.program)
                          : read_pdmodel_parameters(program, files.program);
  const auto found = read_parameter_records(params, files.params);
  require_same_parameters(needed, found, files.params);
  check_hash(files.program, program);
  check_hash(files.params, params);
  if (check_program) check_operators(files, program);
}

}  // namespace lenet

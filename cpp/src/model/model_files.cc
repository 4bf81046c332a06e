#include "model/model_files.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>
#include <string_view>
#include <system_error>
#include <vector>

#include "lenet/error.h"
#include "model/graph.h"
#include "platform/platform.h"

namespace lenet {
namespace fs = std::filesystem;
using platform::name_of;
using platform::path_of;
namespace {

// What fluid.io.save_inference_model called a program and, in one file, its parameters.
constexpr std::array<const char*, 2> kOldPrograms = {"__model__", "model"};
constexpr std::array<const char*, 2> kOldParams = {"params", "__params__"};
constexpr const char* kParamsSuffix = ".pdiparams";

struct Other {
  const char* suffix;
  const char* what;
};
constexpr std::array<Other, 5> kOthers = {{
    {".pdparams", "is what training leaves: lenet-cpp export makes a model of it"},
    {".pdopt", "is the state of an optimizer: lenet-cpp export makes a model of a .pdparams"},
    {".pt", "is a file of PyTorch: lenet-cpp import makes a model of it"},
    {".pth", "is a file of PyTorch: lenet-cpp import makes a model of it"},
    {".prm", "is a file of PyTorch: lenet-cpp import makes a model of it"},
}};

void refuse_others(const std::string& path) {
  const fs::path suffix = path_of(path).extension();
  for (const Other& other : kOthers) {
    if (suffix == other.suffix) refuse_program(path, other.what);
  }
}

/// Of another suffix, a .pdmodel.
const FormatRow& row_of(const fs::path& program) {
  const auto* found =
      std::find_if(std::begin(kFormats), std::end(kFormats),
                   [&](const FormatRow& row) { return program.extension() == row.suffix; });
  return found == std::end(kFormats) ? kFormats[0] : *found;
}

/// \param params empty: those beside the program, where its format has any
ModelFiles files_of(const std::string& program, const std::string& params) {
  const fs::path path = path_of(program);
  const auto& [format, suffix, first, holds_parameters] = row_of(path);
  if (holds_parameters) return {format, program, ""};
  if (!params.empty()) return {format, program, params};
  if (std::count(kOldPrograms.begin(), kOldPrograms.end(), path.filename()) == 0) {
    return {format, program, name_of(fs::path(path).replace_extension(kParamsSuffix))};
  }
  for (const char* name : kOldParams) {
    const fs::path beside = fs::path(path).replace_filename(name);
    std::error_code failed;
    if (fs::exists(beside, failed)) return {format, program, name_of(beside)};
  }
  return {ModelFormat::Separate, program, ""};
}

/// The programs of that format in a folder, those without their parameters left out.
std::vector<std::string> programs_in(const fs::path& folder, const FormatRow& row) {
  std::error_code failed;
  std::vector<std::string> programs;
  for (const auto& entry : fs::directory_iterator(folder, failed)) {
    const fs::path& path = entry.path();
    const bool whole =
        row.holds_parameters || fs::exists(fs::path(path).replace_extension(kParamsSuffix), failed);
    if (path.extension() == row.suffix && whole) programs.push_back(name_of(path));
  }
  std::sort(programs.begin(), programs.end());
  return programs;
}

/// The one program of that format in a folder; empty when there is none.
std::string find_program(const std::string& folder, const FormatRow& row) {
  const std::vector<std::string> programs = programs_in(path_of(folder), row);
  if (programs.size() > 1) {
    throw Error(ErrorCode::BadModel, "'" + folder + "' holds several models (" + programs[0] +
                                         ", " + programs[1] + "); name one with model_file");
  }
  return programs.empty() ? "" : programs[0];
}

/// The program of a path without suffix, as `paddle.jit.save` takes it; empty when there is none.
/// \param of_paddle whether one that holds its parameters is none
std::string find_by_stem(const std::string& path, bool of_paddle = false) {
  std::error_code failed;
  for (const FormatRow& row : kFormats) {
    std::string program = path + row.suffix;
    const bool taken = !(of_paddle && row.holds_parameters);
    if (taken && fs::is_regular_file(path_of(program), failed)) return program;
  }
  return "";
}

[[noreturn]] void refuse_missing(const fs::path& path) {
  constexpr std::size_t kShown = 4;  // a folder may hold thousands
  std::error_code failed;
  const fs::path beside = path.parent_path();
  const fs::path folder = fs::is_directory(beside, failed) ? beside : beside.parent_path();
  std::string found;
  std::size_t count = 0;
  for (const FormatRow& row : kFormats) {
    for (const std::string& program : programs_in(folder.empty() ? "." : folder, row)) {
      if (count++ < kShown) found += (found.empty() ? "'" : ", '") + program + "'";
    }
  }
  if (count > kShown) found += ", ...";
  throw Error(ErrorCode::FileNotFound,
              "there is no model '" + name_of(path) + "': " +
                  (found.empty() ? "check the path, or export the model with lenet-cpp export"
                                 : "name one of those found near it: " + found));
}

/// `paddle.jit.save(net, "D/NAME")` writes D/NAME.json, of which guides then say
/// D/NAME/NAME.pdmodel. Where that is missing and D/NAME is no folder, what was saved is meant.
/// \returns the program to read instead of `path`; empty when `path` exists, or nobody can tell.
/// \throws Error FileNotFound: there is neither.
std::string find_instead(const fs::path& path) {
  std::error_code failed;
  const bool missing = fs::status(path, failed).type() == fs::file_type::not_found;
  if (!missing) return "";
  const fs::path saved = path.parent_path();
  const bool named_twice = name_of(path.filename()) == name_of(saved.filename()) + ".pdmodel";
  std::string program;
  std::error_code unseen;
  if (named_twice && !fs::is_directory(saved, unseen)) program = find_by_stem(name_of(saved), true);
  // ENOTDIR says more when it is told by who reads the file.
  if (program.empty() && failed == std::errc::no_such_file_or_directory) refuse_missing(path);
  return program;
}

ModelFiles find_in_folder(const std::string& folder, bool prefer_onnx) {
  std::error_code failed;
  if (!fs::is_directory(path_of(folder), failed)) {
    const std::string saved = find_by_stem(folder);
    if (!saved.empty()) return files_of(saved, "");
    if (!fs::exists(path_of(folder), failed)) refuse_missing(path_of(folder));
    throw Error(ErrorCode::FileNotFound,
                "model_dir '" + folder + "' is not a folder: name a file with model_file");
  }
  std::string program = prefer_onnx ? find_program(folder, std::end(kFormats)[-1]) : "";
  for (const char* name : kOldPrograms) {
    const fs::path path = path_of(folder) / name;
    const bool is_file = fs::exists(path, failed) && !fs::is_directory(path, failed);
    if (program.empty() && is_file) program = name_of(path);
  }
  for (const FormatRow& row : kFormats) {
    if (program.empty()) program = find_program(folder, row);
  }
  if (!program.empty()) return files_of(program, "");
  refuse_program(folder,
                 "holds no model: expected NAME.pdmodel or NAME.json with NAME.pdiparams, "
                 "NAME.onnx, or __model__ or model");
}

}  // namespace

ModelFiles find_model_files(const Config& config, bool prefer_onnx) {
  if (!config.model_dir.empty()) {
    if (!config.model_file.empty() || !config.params_file.empty()) {
      throw Error(ErrorCode::BadInput,
                  "name a model by model_dir, or by model_file and params_file, not by both");
    }
    return find_in_folder(config.model_dir, prefer_onnx);
  }
  if (config.model_file.empty()) {
    throw Error(ErrorCode::BadInput,
                "no model named: give model_file and params_file, or model_dir");
  }
  refuse_others(config.model_file);
  refuse_others(config.params_file);
  if (path_of(config.model_file).extension() == kParamsSuffix) {
    refuse_program(config.model_file, "has the parameters of a model: name the program, " +
                                          name_of(path_of(config.model_file).stem()) +
                                          ".pdmodel or .json");
  }
  if (row_of(path_of(config.model_file)).holds_parameters && !config.params_file.empty()) {
    throw Error(ErrorCode::BadInput,
                "'" + config.model_file + "' holds its parameters; leave params_file out");
  }
  const std::string instead = find_instead(path_of(config.model_file));
  if (!instead.empty()) return files_of(instead, "");
  return files_of(config.model_file, config.params_file);
}

ModelFiles find_model_files(const Config& config, const ModelBytes& bytes) {
  if (!(config.model_dir.empty() && config.model_file.empty() && config.params_file.empty())) {
    throw Error(ErrorCode::BadInput,
                "a model in memory is in no file: leave model_file, params_file and model_dir out");
  }
  const std::size_t begin = bytes.program.find_first_not_of(" \t\r");
  const auto* row = std::begin(kFormats);
  while (row + 1 != std::end(kFormats) &&
         (begin == std::string_view::npos || bytes.program[begin] != row->first)) {
    ++row;
  }
  if (row->holds_parameters != bytes.params.empty()) {
    throw Error(ErrorCode::BadInput, row->holds_parameters
                                         ? "an .onnx in memory holds its parameters; leave params "
                                           "empty"
                                         : "a Paddle program in memory needs its parameters");
  }
  return {row->format, "program in memory", "parameters in memory"};
}

}  // namespace lenet

#include "model/model_files.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>
#include <vector>

#include "lenet/error.h"
#include "model/graph.h"
#include "model/other_contents.h"
#include "platform/platform.h"

namespace lenet {
using platform::exists;
using platform::folder_of;
using platform::is_folder;
using platform::name_of;
using platform::suffix_of;
using platform::with_suffix;
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
    {".pt", kTorchFile},
    {".pth", kTorchFile},
    {".prm", kTorchFile},
}};

void refuse_others(const std::string& path) {
  const std::string suffix = suffix_of(path);
  for (const Other& other : kOthers) {
    if (suffix == other.suffix) refuse_program(path, other.what);
  }
}

/// Of another suffix, a .pdmodel.
const FormatRow& row_of(const std::string& program) {
  const auto* found =
      std::find_if(std::begin(kFormats), std::end(kFormats),
                   [&](const FormatRow& row) { return suffix_of(program) == row.suffix; });
  return found == std::end(kFormats) ? kFormats[0] : *found;
}

/// \param params empty: those beside the program, where its format has any
ModelFiles files_of(const std::string& program, const std::string& params) {
  const auto& [format, suffix, first, holds_parameters] = row_of(program);
  if (holds_parameters) return {format, program, ""};
  if (!params.empty()) return {format, program, params};
  if (std::count(kOldPrograms.begin(), kOldPrograms.end(), name_of(program)) == 0) {
    return {format, program, with_suffix(program, kParamsSuffix)};
  }
  for (const char* name : kOldParams) {
    const std::string beside = platform::beside(program, name);
    if (exists(beside)) return {format, program, beside};
  }
  return {ModelFormat::Separate, program, ""};
}

/// The programs of that format in a folder, those without their parameters left out.
std::vector<std::string> programs_in(const std::string& folder, const FormatRow& row) {
  std::string ignored;
  std::vector<std::string> programs;
  for (std::string& path : platform::list_folder(folder, ignored)) {
    const bool whole = row.holds_parameters || exists(with_suffix(path, kParamsSuffix));
    if (suffix_of(path) == row.suffix && whole) programs.push_back(std::move(path));
  }
  std::sort(programs.begin(), programs.end());
  return programs;
}

/// The names of all programs in a folder, for an error; empty when there is none.
/// \param most that are named, because a folder may hold thousands
std::string list_programs(const std::string& folder, std::size_t most) {
  std::string list;
  std::size_t count = 0;
  for (const FormatRow& row : kFormats) {
    for (const std::string& program : programs_in(folder, row)) {
      if (count++ < most) list += (list.empty() ? "'" : ", '") + program + "'";
    }
  }
  return count > most ? list + ", ... (" + std::to_string(count) + " in all)" : list;
}

/// The one program of that format in a folder; empty when there is none.
std::string find_program(const std::string& folder, const FormatRow& row) {
  constexpr std::size_t kMost = 50;
  const std::vector<std::string> programs = programs_in(folder, row);
  if (programs.size() > 1) {
    throw Error(ErrorCode::BadModel, "'" + folder + "' holds several models: name one of " +
                                         list_programs(folder, kMost));
  }
  return programs.empty() ? "" : programs[0];
}

[[noreturn]] void refuse_missing(const std::string& path) {
  constexpr std::size_t kMost = 4;
  const std::string beside = folder_of(path);
  const std::string folder = is_folder(beside) ? beside : folder_of(beside);
  const std::string found = list_programs(folder.empty() ? "." : folder, kMost);
  std::string remedy = platform::hint_of_missing(path);
  if (remedy.empty()) {
    const bool is_onnx = suffix_of(path) == std::end(kFormats)[-1].suffix;
    remedy = found.empty() ? "check the path" : "name one of those found near it: " + found;
    if (is_onnx) {
      remedy +=
          ", or make it: lenet-cpp export-onnx writes a Paddle model as .onnx, "
          "torch.onnx.export a network of PyTorch";
    } else if (found.empty()) {
      remedy += ", or export the model with lenet-cpp export";
    }
  }
  throw Error(ErrorCode::FileNotFound, "there is no model '" + path + "': " + remedy);
}

/// `paddle.jit.save(net, "D/NAME")` writes D/NAME.json, of which guides then say
/// D/NAME/NAME.pdmodel. Where that is missing and D/NAME is no folder, what was saved is meant.
/// \returns the program to read instead of `path`, which may also be a path without suffix; empty
///   when `path` exists, or nobody can tell.
/// \throws Error FileNotFound: there is neither.
std::string find_instead(const std::string& path) {
  if (exists(path)) return "";
  const std::string saved = folder_of(path);
  const bool named_twice = name_of(path) == name_of(saved) + ".pdmodel";
  std::string program = find_by_stem(path);
  if (named_twice && !is_folder(saved)) program = find_by_stem(saved, true);
  // Below a file: who reads it says more.
  if (program.empty() && !platform::is_file(saved)) refuse_missing(path);
  return program;
}

/// Finds the files that Paddle 3's Config(dir, prefix) would take.
ModelFiles find_by_prefix(const std::string& folder, const std::string& prefix) {
  const std::string path = platform::in_folder(folder, prefix);
  const std::string program = find_by_stem(path);
  if (program.empty()) refuse_missing(path);
  return files_of(program, "");
}

/// \throws Error FileNotFound, when a folder has a program without its parameters.
void require_params(const std::string& folder) {
  std::string ignored;
  for (const std::string& path : platform::list_folder(folder, ignored)) {
    if (suffix_of(path) != kFormats[0].suffix) continue;
    throw Error(ErrorCode::FileNotFound,
                "'" + path + "' is a program without its parameters: '" +
                    with_suffix(path, kParamsSuffix) +
                    "' is missing; copy it there, or name both by model_file and params_file");
  }
}

ModelFiles find_in_folder(const std::string& folder, bool prefer_onnx) {
  std::string program = prefer_onnx ? find_program(folder, std::end(kFormats)[-1]) : "";
  for (const char* name : kOldPrograms) {
    std::string path = platform::in_folder(folder, name);
    if (program.empty() && exists(path) && !is_folder(path)) program = std::move(path);
  }
  for (const FormatRow& row : kFormats) {
    if (program.empty()) program = find_program(folder, row);
  }
  if (!program.empty()) return files_of(program, "");
  require_params(folder);
  refuse_program(folder,
                 "holds no model: expected NAME.pdmodel or NAME.json with NAME.pdiparams, "
                 "NAME.onnx, or __model__ or model");
}

/// \param params empty: those beside the program
ModelFiles find_by_file(const std::string& path, const std::string& params) {
  refuse_others(path);
  refuse_others(params);
  if (suffix_of(path) == kParamsSuffix) {
    refuse_program(path, "has the parameters of a model: name the program, " +
                             with_suffix(name_of(path), ".pdmodel") + " or .json");
  }
  if (row_of(path).holds_parameters && !params.empty()) {
    throw Error(ErrorCode::BadInput, "'" + path + "' holds its parameters; leave params_file out");
  }
  const std::string instead = find_instead(path);
  return instead.empty() ? files_of(path, params) : files_of(instead, "");
}

}  // namespace

std::string find_by_stem(const std::string& path, bool of_paddle) {
  for (const FormatRow& row : kFormats) {
    std::string program = path + row.suffix;
    const bool taken = !(of_paddle && row.holds_parameters);
    if (taken && platform::is_file(program)) return program;
  }
  return "";
}

ModelFiles find_model_files(const Config& config, bool prefer_onnx) {
  const bool by_dir = !config.model_dir.empty();
  if (by_dir && !(config.model_file + config.params_file).empty()) {
    throw Error(ErrorCode::BadInput,
                "name a model by model_dir, or by model_file and params_file, not by both");
  }
  const std::string& path = by_dir ? config.model_dir : config.model_file;
  if (path.empty()) {
    throw Error(ErrorCode::BadInput,
                "no model named: give model_file and params_file, or model_dir");
  }
  if (!is_folder(path)) return find_by_file(path, config.params_file);
  if (config.params_file.empty()) return find_in_folder(path, prefer_onnx);
  return find_by_prefix(path, config.params_file);
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

/// Finds the files of a model.
#pragma once

#include <string>

#include "lenet/config.h"

namespace lenet {

enum class ModelFormat {
  Pdmodel,   ///< program as protocol buffer, parameters in one file; of any names
  Json,      ///< program as PIR JSON, parameters in one file
  Separate,  ///< `__model__` or `model`, and one file per variable, in one folder
  Onnx,      ///< program and parameters in one .onnx file, or values in files that it names
};

/// How a program's format is told; Separate by its names. load_model (model.cc) knows the reader.
struct FormatRow {
  ModelFormat format;
  const char* suffix;
  char first;             ///< what its files begin with, but for blanks
  bool holds_parameters;  ///< in the file, or in files that it names
};
/// A folder's program is looked for in this order. Bytes that begin otherwise count as the last.
inline constexpr FormatRow kFormats[] = {{ModelFormat::Pdmodel, ".pdmodel", '\n', false},
                                         {ModelFormat::Json, ".json", '{', false},
                                         {ModelFormat::Onnx, ".onnx", '\b', true}};

struct ModelFiles {
  ModelFormat format = ModelFormat::Pdmodel;
  std::string program;
  std::string params;  ///< empty for Separate, and where the program holds them
};

/// The program of a path without suffix, as `paddle.jit.save` takes it; empty when there is none.
/// \param of_paddle whether one that holds its parameters is none
std::string find_by_stem(const std::string& path, bool of_paddle = false);

/// Resolves `model_file`, `params_file` and `model_dir` of a configuration. `model_file` and
/// `model_dir` alike may be a program, a path without its suffix, or a folder. Beside a program
/// called
/// `__model__` or `model`, a file `params` or `__params__` holds all its parameters. In a folder an
/// .onnx is taken where there is no Paddle model, or before others when `prefer_onnx`. For a
/// missing D/NAME/NAME.pdmodel, where D/NAME is no folder, D/NAME.pdmodel or .json is taken, with
/// D/NAME.pdiparams: what `paddle.jit.save(net, "D/NAME")` wrote.
/// \throws Error FileNotFound (also a folder's .pdmodel without its .pdiparams), BadInput (both
/// ways of naming a model, or none), BadModel (a folder
///   without a model, or with several).
ModelFiles find_model_files(const Config& config, bool prefer_onnx = false);

/// The same of a model in memory, whose format its first bytes tell. The paths are for messages.
/// \throws Error BadInput: `config` names files, or parameters are missing or too many.
ModelFiles find_model_files(const Config& config, const ModelBytes& bytes);

}  // namespace lenet

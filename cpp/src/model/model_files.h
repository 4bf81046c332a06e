/// \file
/// Finds the files of a model and checks them before an engine sees them.
#pragma once

#include <string>

#include "lenet/config.h"
#include "model/program_traits.h"

namespace lenet {

/// Paddle's name of a program with one file per variable; the guides also use `model`.
constexpr const char* kSeparateProgram = "__model__";

enum class ModelFormat {
  Pdmodel,   ///< program as protocol buffer, parameters in one file; of any names
  Json,      ///< program as PIR JSON, parameters in one file
  Separate,  ///< `__model__` or `model`, and one file per variable, in one folder
  Onnx,      ///< program and parameters in one .onnx file, or values in files that it names
};

struct ModelFiles {
  ModelFormat format = ModelFormat::Pdmodel;
  std::string program;
  std::string params;     ///< empty for Separate and Onnx
  std::string directory;  ///< where SHA256SUMS would be
  ProgramTraits traits;   ///< set by check_model_files
};

/// Resolves `model_file`, `params_file` and `model_dir` of a configuration. Beside a program called
/// `__model__` or `model`, a file `params` or `__params__` holds all its parameters. In a folder an
/// .onnx is taken where there is no Paddle model, or when the engine is to be onnxruntime.
/// \throws Error FileNotFound, BadInput (both ways of naming a model, or none), BadModel (a folder
///   without a model, or with several).
ModelFiles find_model_files(const Config& config);

/// Checks that the files are whole and belong together: structure of the program, structure of the
/// parameter file, the same parameters in both, and SHA256SUMS beside them when `check_hashes`; and
/// that Paddle runs the program without harm when `check_program` (check_graph.h), and that all
/// parameters are finite when `check_finite`. Of an .onnx, its structure and the files that it
/// names (onnx_model.h).
/// Sets `files.traits`.
/// \throws Error FileNotFound, BadModel; Unsupported (an operator that is not known to
/// check_graph).
void check_model_files(ModelFiles& files, bool check_hashes, bool check_program, bool check_finite);

}  // namespace lenet

/// Runs .onnx models with onnxruntime.
#pragma once

#include <memory>

#include "engines/engine.h"

namespace lenet {

extern const EngineLibrary kOnnxRuntimeLibrary;

/// \throws Error Unsupported, also in a build without this engine and without a library; BadModel;
///   of the library FileNotFound (the one that was named), VersionMismatch, BackendFailure.
std::unique_ptr<Engine> create_onnxruntime_engine(const Config& config,
                                                  const std::shared_ptr<const Model>& model);

/// As EngineRow::takes.
bool takes_onnx_model(const Config& config, const Model& model);

}  // namespace lenet

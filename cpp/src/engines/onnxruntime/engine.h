/// \file
/// Runs .onnx models with onnxruntime.
#pragma once

#include <memory>

#include "engines/engine.h"

namespace lenet {

/// \throws Error BadInput, Unsupported: an option that this engine does not support.
void require_onnxruntime_options(const Config& config);

/// \throws Error Unsupported, also in a build without this engine; BadModel; as load_onnxruntime.
std::unique_ptr<Engine> create_onnxruntime_engine(const Config& config, const Model& model);

}  // namespace lenet

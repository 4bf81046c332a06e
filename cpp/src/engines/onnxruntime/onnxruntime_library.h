/// \file
/// onnxruntime's library, opened when a predictor first asks for it. Nothing of it is linked.
#pragma once

#include <string>

#include "compat/onnxruntime_api.h"

namespace lenet {

struct OnnxRuntimeLibrary {
  const ort::Api* api = nullptr;
  ort::Env* environment = nullptr;  ///< one for the process, never released; prints nothing
  std::string version;
};

/// Opens the library on first use. Thread-safe.
/// \throws Error Unsupported (there is none), FileNotFound (the one that was named),
///   VersionMismatch, BackendFailure; a later call tries again.
const OnnxRuntimeLibrary& load_onnxruntime();

/// What a status says in one line, without places in onnxruntime's sources. Releases it.
std::string take_message(const ort::Api& api, ort::Status* status);

}  // namespace lenet

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
/// VersionMismatch,
///   BackendFailure; a later call tries again.
const OnnxRuntimeLibrary& load_onnxruntime();

/// What onnxruntime says in one line, without places in its sources.
std::string plain_message(std::string message);

/// \throws Error BackendFailure with what the status says, unless it is null; releases it.
void require_success(const ort::Api& api, ort::Status* status, const char* doing);

}  // namespace lenet

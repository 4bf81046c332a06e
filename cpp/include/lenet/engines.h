/// \file
/// The engines, and the libraries that they run on. All functions are thread-safe.
#pragma once

#include <string>
#include <vector>

#include "lenet/config.h"
#include "lenet/export.h"

namespace lenet {

/// Whether an engine can be used here.
struct EngineInfo {
  std::string name;         ///< as in the options, such as "native"
  std::string version;      ///< of the library that it runs on; empty when it is not available
  std::string unavailable;  ///< why it is not available, and what to do about it
};

/// The accepted names of an engine, "auto" first, separated by commas.
LENET_API std::string engine_names();

/// Every engine but Auto, in the order in which Auto tries them. Opens the libraries.
LENET_API std::vector<EngineInfo> available_engines();

/// What the native engine computes precision bf16 in on this processor, and why, or why it is not
/// available. Measures that when nothing has yet, for about a millisecond.
LENET_API std::string describe_bf16();

/// The version of the library that an engine runs on, such as "3.3.1"; of ours for Native. Opens
/// the library when no predictor has done so yet.
/// \throws Error as `Predictor` does when the library cannot be opened; BadInput for Auto.
LENET_API std::string engine_version(EngineKind engine);

/// Names the library file that an engine is to open: the wheel's `paddle/base/libpaddle.so` or
/// `onnxruntime/capi/libonnxruntime.so.VERSION`, or one of the project's archive. Without it, the
/// engine takes what the environment variable `LENET_PADDLE_LIBRARY` or `LENET_ONNXRUNTIME_LIBRARY`
/// names, which comes first in any case, then the place known when lenet was built, then, for
/// onnxruntime, what the system's loader finds. Has no effect once the library is open, nor for
/// Native.
///
/// A program may embed a Python interpreter before or after Paddle was loaded. After it, that
/// interpreter must not import `paddle`: the library is the same, and has no interpreter.
/// \throws Error BadInput for Auto.
LENET_API void set_engine_library(EngineKind engine, const std::string& path);

/// The beginning of the name of that file, such as "libpaddle.so" ("libpaddle_inference.so" in a
/// build against Paddle's archive); empty when this build opens none.
/// \throws Error BadInput for Auto.
LENET_API std::string engine_library_name(EngineKind engine);

/// So many loads may be given up and still run (`Config::load_seconds`); then this process loads
/// models with the native engine alone, and other loads are BackendFailure.
inline constexpr int kMostGivenUpLoads = 4;

/// How many loads by Paddle or onnxruntime were given up, or ended by an Interruption, and still
/// run. While there are some, each may keep a core busy, and exit() ends the process without
/// destroying static objects, which they may use.
LENET_API int given_up_loads() noexcept;

/// Whether an engine computes in a precision; Auto does in all.
LENET_API bool supports_precision(EngineKind engine, Precision precision);

/// Whether the library of a loaded model keeps threads, which a forked process does not have.
/// \param config the one in force
LENET_API bool keeps_threads(const Config& config, Accelerator accelerator);

}  // namespace lenet

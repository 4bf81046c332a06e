/// \file
/// Which onnxruntime library the onnxruntime engine uses.
#pragma once

#include <string>

#include "lenet/export.h"

namespace lenet {

/// Names the library file (the wheel's `onnxruntime/capi/libonnxruntime.so.VERSION`, or the
/// archive's `lib/libonnxruntime.so`). Without it, the environment variable
/// `LENET_ONNXRUNTIME_LIBRARY` is used, then the folder known when lenet was built, then what the
/// system's loader finds under the name `libonnxruntime.so.1`. The variable comes first in any
/// case. Has no effect once the engine is loaded. Thread-safe.
LENET_API void set_onnxruntime_library(const std::string& path);

}  // namespace lenet

/// \file
/// Which Paddle Inference library the paddle engine uses.
#pragma once

#include <string>

#include "lenet/export.h"

namespace lenet {

/// Names the Paddle Inference library file (the wheel's `paddle/base/libpaddle.so`, or the
/// archive's `libpaddle_inference.so`) to load before the engine. Without it, the environment
/// variable `LENET_PADDLE_LIBRARY` is used, then the place known when lenet was built (RPATH).
/// Has no effect once the engine is loaded. Thread-safe.
///
/// A program may embed a Python interpreter before or after Paddle was loaded. After it, that
/// interpreter must not import `paddle`: the library is the same, and has no interpreter.
LENET_API void set_paddle_library(const std::string& path);

/// The file name that the engine refers to its library by: "libpaddle.so" when lenet was built
/// against the wheel, "libpaddle_inference.so" against the archive,
/// "" without the engine.
LENET_API const char* paddle_library_name() noexcept;

}  // namespace lenet

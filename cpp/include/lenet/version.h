/// \file
#pragma once

#include <string>

#include "lenet/export.h"

namespace lenet {

/// Version of this library, "MAJOR.MINOR.PATCH".
LENET_API const char* version() noexcept;

/// Version of the Paddle Inference library that the paddle engine runs on, such as "3.3.1".
/// Loads that library when no predictor has done so yet.
/// \throws Error as `Predictor` does when the library cannot be loaded.
LENET_API std::string paddle_version();

/// The same of onnxruntime and its engine, such as "1.20.1".
LENET_API std::string onnxruntime_version();

}  // namespace lenet

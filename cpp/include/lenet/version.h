/// \file
#pragma once

#include <string>

namespace lenet {

/// Version of this library, "MAJOR.MINOR.PATCH".
const char* version() noexcept;

/// Version of the Paddle Inference library that the paddle engine runs on, such as "3.3.1".
/// Loads that library when no predictor has done so yet.
/// \throws Error as `Predictor` does when the library cannot be loaded.
std::string paddle_version();

/// The same of onnxruntime and its engine, such as "1.20.1".
std::string onnxruntime_version();

}  // namespace lenet

/// \file
/// The one error type of the library and its codes. The same names are used by the Python module
/// (`lenet_cpp.FileNotFound`, ...) and by the programs (exit codes).
#pragma once

#include <stdexcept>
#include <string>

#include "lenet/export.h"

namespace lenet {

/// What went wrong. The values are the exit codes of the command line programs (2 is a usage
/// error).
enum class ErrorCode {
  FileNotFound = 3,     ///< a file or folder that was named does not exist or cannot be read
  BadModel = 4,         ///< the model is damaged, incomplete, or not the one its checksums describe
  BadInput = 5,         ///< the data handed over has the wrong type, shape or values
  Unsupported = 6,      ///< not available in this build, or not for this model
  VersionMismatch = 7,  ///< the Paddle library found is not one that this build was made for
  BackendFailure = 8,   ///< the inference backend failed while loading or running
};

/// "FileNotFound", "BadModel", ... A string literal, never null.
LENET_API const char* to_string(ErrorCode code) noexcept;

/// Thrown by every function of the library that can fail. `what()` is one line of UTF-8, whatever
/// the names in it, names the file or option concerned, and says what to do about it.
class LENET_API Error : public std::runtime_error {
 public:
  /// Control characters of `message` and bytes that are no UTF-8 become '?'.
  Error(ErrorCode code, const std::string& message);
  /// Not inline, so that the type is defined in the library alone: it is then the same in every
  /// library and program, for `catch` too.
  ~Error() override;

  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace lenet

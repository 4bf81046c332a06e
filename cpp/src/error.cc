#include "lenet/error.h"

namespace lenet {

const char* to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::FileNotFound:
      return "FileNotFound";
    case ErrorCode::BadModel:
      return "BadModel";
    case ErrorCode::BadInput:
      return "BadInput";
    case ErrorCode::Unsupported:
      return "Unsupported";
    case ErrorCode::VersionMismatch:
      return "VersionMismatch";
    case ErrorCode::BackendFailure:
      return "BackendFailure";
  }
  return "Error";
}

}  // namespace lenet

/// \file
#pragma once

#include <string>

#include "io/printable.h"
#include "lenet/error.h"

namespace lenet {

/// \param problem continues "'FILE' ..."
[[noreturn]] inline void bad_file(const std::string& path, const std::string& problem) {
  throw Error(ErrorCode::BadInput, "'" + path + "' " + printable(problem));
}

}  // namespace lenet

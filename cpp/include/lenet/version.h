/// \file
#pragma once

#include "lenet/export.h"

namespace lenet {

/// Version of this library, "MAJOR.MINOR.PATCH".
LENET_API const char* version() noexcept;

}  // namespace lenet

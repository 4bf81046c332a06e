#include "lenet/version.h"

namespace lenet {

const char* version() noexcept { return LENET_VERSION; }

}  // namespace lenet

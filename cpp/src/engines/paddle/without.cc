/// \file
/// In the place of the plug-in's loader in a build without the engine.
#include "engines/paddle/plugin.h"
#include "lenet/error.h"
#include "lenet/paddle_library.h"
#include "lenet/version.h"

namespace lenet {

const PaddlePlugin& load_paddle_plugin() {
  throw Error(ErrorCode::Unsupported,
              "this build has no paddle engine; use the native engine, or build lenet with "
              "-DLENET_PADDLE=ON");
}

void set_paddle_library(const std::string&) {}

const char* paddle_library_name() noexcept { return ""; }

std::string paddle_version() { return load_paddle_plugin().version; }

}  // namespace lenet

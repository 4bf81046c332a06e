/// In the place of the plug-in's loader in a build without the engine.
#include "engines/paddle/paddle.h"
#include "lenet/error.h"

namespace lenet {

const PaddlePlugin& load_paddle_plugin() {
  throw Error(ErrorCode::Unsupported,
              "this build has no paddle engine; use the native engine, or build lenet with "
              "-DLENET_PADDLE=ON");
}

const EngineLibrary kPaddleLibrary = {"", [](const std::string&) {},
                                      [] { return load_paddle_plugin().version; }};

void silence_paddle() {}

}  // namespace lenet

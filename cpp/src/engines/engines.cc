#include "engines/engine.h"
#include "engines/paddle/plugin.h"
#include "lenet/error.h"

namespace lenet {

std::unique_ptr<Engine> create_engine(const Config& config, const ModelFiles& files) {
  if (config.engine == "paddle") {
    if (config.accelerator == Accelerator::OpenVino && files.format != ModelFormat::Pdmodel) {
      throw Error(
          ErrorCode::Unsupported,
          "'" + files.program +
              "': OpenVINO runs .pdmodel programs only (Paddle ignores the switch for .json "
              "and fails on one file per variable); use the .pdmodel, or accelerator onednn "
              "or plain");
    }
    return std::unique_ptr<Engine>(load_paddle_plugin().create(config, files));
  }
  throw Error(ErrorCode::Unsupported,
              "this build has no engine '" + config.engine + "'; it has: paddle");
}

Accelerator choose_accelerator(const ModelFiles& files) {
  // Measured on LeNet, one core, batch 1 / 64: OpenVINO 38 / 820 us, oneDNN 124 / 1260 us, plain
  // 82 / 4390 us on .pdmodel; oneDNN 117 / 820 us, plain 84 / 4380 us on .json.
  return files.format == ModelFormat::Pdmodel ? Accelerator::OpenVino : Accelerator::OneDnn;
}

}  // namespace lenet

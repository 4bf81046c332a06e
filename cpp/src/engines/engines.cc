#include <filesystem>

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
    if (config.accelerator == Accelerator::OpenVino && files.traits.openvino_differs) {
      throw Error(ErrorCode::Unsupported,
                  "'" + files.program +
                      "' has a transposed convolution with output_padding, which OpenVINO leaves "
                      "out; use accelerator onednn or plain");
    }
    if (config.accelerator == Accelerator::OneDnn && files.traits.onednn_fails) {
      throw Error(ErrorCode::Unsupported,
                  "'" + files.program +
                      "' has an interpolation that oneDNN cannot run from a .json program; use the "
                      ".pdmodel, or accelerator plain");
    }
    return std::unique_ptr<Engine>(load_paddle_plugin().create(config, files));
  }
  throw Error(ErrorCode::Unsupported,
              "this build has no engine '" + config.engine + "'; it has: paddle");
}

Accelerator choose_accelerator(const ModelFiles& files, std::int64_t images) {
  // Measured on LeNet (250 kB), one core, us a run of 1 / 2 / 64 images (docs/benchmark.md):
  //   .pdmodel  OpenVINO 36 / 48 / 770   oneDNN 116 / 142 / 1240   plain 78 / 165 / 4200
  //   .json                              oneDNN 78 / 91 / 700      plain 62 / 150 / 4150
  if (files.format == ModelFormat::Pdmodel && !files.traits.openvino_differs) {
    return Accelerator::OpenVino;
  }
  if (files.traits.onednn_fails) return Accelerator::Plain;
  // What oneDNN costs to set up outweighs what it saves only where there is little to compute.
  constexpr std::uintmax_t kSmallModelBytes = 1 << 20;
  std::error_code failed;
  const bool small = files.format == ModelFormat::Json &&
                     std::filesystem::file_size(files.params, failed) < kSmallModelBytes;
  return small && images == 1 ? Accelerator::Plain : Accelerator::OneDnn;
}

}  // namespace lenet

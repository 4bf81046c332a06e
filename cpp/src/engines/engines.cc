#include <array>

#include "engines/engine.h"
#include "engines/native/native_engine.h"
#include "engines/onnxruntime/engine.h"
#include "engines/paddle/paddle.h"
#include "lenet/error.h"

namespace lenet {
namespace {

constexpr const char* kAuto = "auto";

bool is_paddle(ModelFormat format) { return format != ModelFormat::Onnx; }

bool is_any(ModelFormat) { return true; }

bool is_onnx(ModelFormat format) { return format == ModelFormat::Onnx; }

bool supports_all_options(const Config&) { return true; }

/// What is set to other than its default is supported by the other engines alone; int8 native
/// has too.
bool asks_for_no_library(const Config& config) {
  return config.accelerator == Accelerator::Auto &&
         (config.precision == "fp32" || config.precision == "int8") && config.ir_optim &&
         !config.memory_optim;
}

Accelerator own_kernels(const Config&, const Model&, const ProgramTraits&, std::int64_t) {
  return Accelerator::Plain;
}

/// In the order in which "auto" tries them.
constexpr std::array<EngineKind, 3> kEngines = {{
    {"native", is_any, "", require_native_options, asks_for_no_library, create_native_engine,
     own_kernels},
    {"onnxruntime", is_onnx,
     "lenet-cpp export-onnx makes an .onnx of it; the paddle engine runs it as it is",
     require_onnxruntime_options, supports_all_options, create_onnxruntime_engine, own_kernels},
    {"paddle", is_paddle,
     "lenet-cpp import makes a Paddle model of it; the onnxruntime engine runs it as it is",
     require_paddle_options, supports_all_options, create_paddle_engine, choose_paddle_accelerator},
}};

}  // namespace

std::vector<const EngineKind*> find_engines(const Config& config, const ModelFiles& files) {
  const std::string& name = config.engine;
  std::vector<const EngineKind*> found;
  std::string known = kAuto;
  for (const EngineKind& kind : kEngines) {
    const bool reads = kind.reads(files.format);
    if (name == kAuto && reads && kind.supports_options(config)) found.push_back(&kind);
    if (name == kind.name) {
      if (reads) return {&kind};
      throw Error(ErrorCode::Unsupported, "'" + files.program + "' is not a model for the " + name +
                                              " engine: " + kind.remedy);
    }
    known += std::string(", ") + kind.name;
  }
  if (found.empty()) {
    throw Error(ErrorCode::Unsupported,
                "this build has no engine '" + name + "'; choose one of " + known);
  }
  return found;
}

}  // namespace lenet

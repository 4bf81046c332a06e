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

bool is_onnx(ModelFormat format) { return format == ModelFormat::Onnx; }

Accelerator own_kernels(const Config&, const ModelFiles&, std::int64_t) {
  return Accelerator::Plain;
}

/// In the order in which "auto" tries them.
constexpr std::array<EngineKind, 3> kEngines = {{
    {"paddle", is_paddle,
     "scripts/import_model.py makes a Paddle model of it; the engine onnxruntime runs it as it is",
     require_paddle_options, create_paddle_engine, choose_paddle_accelerator},
    {"native", is_paddle,
     "scripts/import_model.py makes a Paddle model of it; the engine onnxruntime runs it as it is",
     require_native_options, create_native_engine, own_kernels},
    {"onnxruntime", is_onnx,
     "scripts/export_onnx.py makes an .onnx of it; the engine paddle runs it as it is",
     require_onnxruntime_options, create_onnxruntime_engine, own_kernels},
}};

}  // namespace

const EngineKind& find_engine(const std::string& name, const ModelFiles& files) {
  std::string known = kAuto;
  for (const EngineKind& kind : kEngines) {
    const bool reads = kind.reads(files.format);
    if (name == kAuto && reads) return kind;
    if (name == kind.name) {
      if (reads) return kind;
      throw Error(ErrorCode::Unsupported, "'" + files.program + "' is no model for the engine " +
                                              name + ": " + kind.remedy);
    }
    known += std::string(", ") + kind.name;
  }
  throw Error(ErrorCode::Unsupported,
              "this build has no engine '" + name + "'; choose one of " + known);
}

}  // namespace lenet

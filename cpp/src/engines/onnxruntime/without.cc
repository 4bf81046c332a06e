/// In the place of the engine in a build without it.
#include "engines/onnxruntime/engine.h"
#include "lenet/error.h"

namespace lenet {
namespace {

[[noreturn]] void fail() {
  throw Error(ErrorCode::Unsupported,
              "this build has no onnxruntime engine; build again with -DLENET_WITH_ONNXRUNTIME=ON, "
              "or make a Paddle model of an .onnx with lenet-cpp import");
}

}  // namespace

const EngineLibrary kOnnxRuntimeLibrary = {"", [](const std::string&) {},
                                           []() -> std::string { fail(); }};

std::unique_ptr<Engine> create_onnxruntime_engine(const Config&,
                                                  const std::shared_ptr<const Model>&) {
  fail();
}

bool takes_onnx_model(const Config&, const Model&) { return false; }

}  // namespace lenet

/// \file
/// In the place of the engine in a build without it.
#include "engines/onnxruntime/engine.h"
#include "lenet/config.h"
#include "lenet/error.h"
#include "lenet/onnxruntime_library.h"
#include "lenet/version.h"

namespace lenet {
namespace {

[[noreturn]] void fail() {
  throw Error(ErrorCode::Unsupported,
              "this build has no onnxruntime engine; build again with -DLENET_WITH_ONNXRUNTIME=ON, "
              "or make a Paddle model of an .onnx with lenet-cpp import");
}

}  // namespace

void require_onnxruntime_options(const Config& config) {
  // With "auto" the next engine is tried once this one cannot be created.
  if (config.engine == "onnxruntime") fail();
}

std::unique_ptr<Engine> create_onnxruntime_engine(const Config&, const Model&) { fail(); }

void set_onnxruntime_library(const std::string&) {}

std::string onnxruntime_version() { fail(); }

}  // namespace lenet

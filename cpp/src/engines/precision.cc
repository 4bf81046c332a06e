#include "engines/precision.h"

#include "lenet/error.h"

namespace lenet {

void require_quantized(const Model& model) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::Unsupported, "'" + model.path + "' " + why);
  };
  if (model.format == ModelFormat::Json) {
    refuse(
        "is a .json program, of which nothing runs in int8; quantize its .pdmodel with "
        "lenet-cpp quantize");
  }
  if (!model.traits.quantized) {
    refuse(
        "is not quantized, so that nothing of it runs in int8: lenet-cpp quantize makes a "
        "quantized model of it; use precision fp32 or bf16 for this one");
  }
  if (model.traits.float_weights) {
    refuse(
        "is quantized, but its weights are stored as float32, of which int8 makes wrong answers; "
        "lenet-cpp quantize stores them as int8; this model runs with engine paddle and precision "
        "fp32");
  }
}

}  // namespace lenet

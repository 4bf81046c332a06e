#include <string>

#include "model/onnx_model.h"
#include "support.h"
#include "targets.h"

namespace lenet::fuzz {

void onnx(std::string_view bytes) {
  const std::string path = "/nowhere/model.onnx";
  OnnxModel model;
  const bool accepted =
      accepts({ErrorCode::BadModel}, [&] { model = read_onnx_model(bytes, path); });
  if (!accepted) return;
  require(model.external.size() <= bytes.size(), "no more external tensors than bytes");
  // There is no file there, nor anywhere else that it may lead to.
  const bool found = accepts({ErrorCode::BadModel, ErrorCode::FileNotFound},
                             [&] { find_external_files(model, path); });
  require(found == model.external.empty(), "no external file is found outside the folder");
}

}  // namespace lenet::fuzz

#include "engines/native/load_network.h"

#include "engines/native/convert_onnx.h"
#include "engines/native/passes/passes.h"
#include "engines/native/read_network.h"
#include "lenet/error.h"

namespace lenet::native {
namespace {

Network load_paddle(const Model& model) {
  if (!model.unchecked.empty()) {
    throw Error(ErrorCode::Unsupported,
                model.unchecked + "; the native engine runs checked programs: use engine paddle");
  }
  return read_network(model.graph, model.path, static_cast<double>(model.file_bytes), false);
}

Network load_onnx(const Model& model, bool check_finite) {
  OnnxGraph graph = read_onnx_graph(model.program->contents(), model.path);
  read_external_values(graph, model.path, [&](const std::string& file) {
    return model.external.at(file)->contents();
  });
  return read_onnx(graph, model.path, check_finite);
}

}  // namespace

Network load_network(const Model& model, bool check_finite) {
  Network network =
      model.format == ModelFormat::Onnx ? load_onnx(model, check_finite) : load_paddle(model);
  simplify(network);
  return network;
}

}  // namespace lenet::native

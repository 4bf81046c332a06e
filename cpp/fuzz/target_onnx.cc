#include <string>

#include "engines/native/convert_onnx.h"
#include "engines/native/passes/passes.h"
#include "model/onnx_graph.h"
#include "model/onnx_model.h"
#include "run_network.h"
#include "support.h"
#include "targets.h"

namespace lenet::fuzz {
namespace {

/// What the native engine makes of it.
void read_network(std::string_view bytes, const std::string& path) {
  OnnxGraph graph;
  if (!accepts({ErrorCode::BadModel}, [&] { graph = read_onnx_graph(bytes, path); })) return;
  require(graph.nodes.size() <= bytes.size(), "no more nodes than bytes");
  native::Network network;
  const bool accepted = accepts({ErrorCode::BadModel, ErrorCode::Unsupported},
                                [&] { network = native::read_onnx(graph, path); });
  if (!accepted) return;
  native::simplify(network);
  run_network(network);
}

}  // namespace

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
  read_network(bytes, path);
}

}  // namespace lenet::fuzz

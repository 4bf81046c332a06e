#include <string>

#include "engines/native/passes/passes.h"
#include "engines/native/read_network.h"
#include "model/graph.h"
#include "model/readers.h"
#include "run_network.h"
#include "support.h"
#include "targets.h"

namespace lenet::fuzz {
namespace {

/// What the native engine makes of it.
void read_graph(Graph graph, double bytes, const std::string& path) {
  native::Network network;
  std::unique_ptr<const Graph> sized;
  const std::initializer_list<ErrorCode> codes = {ErrorCode::BadModel, ErrorCode::Unsupported,
                                                  ErrorCode::BadInput};
  const bool accepted = accepts(codes, [&] {
    check_graph(graph, path);
    sized = of_one_size(graph);
    network = native::read_network(sized ? *sized : graph, path, bytes, true);
  });
  if (!accepted) return;
  native::simplify(network);
  run_network(network);
}

}  // namespace

void onnx(std::string_view bytes) {
  const std::string path = "/nowhere/model.onnx";
  OnnxProgram model;
  const bool accepted =
      accepts({ErrorCode::BadModel}, [&] { model = read_onnx_program(bytes, path); });
  if (!accepted) return;
  require(model.graph.operators.size() <= bytes.size(), "no more nodes than bytes");
  require(model.external.size() <= bytes.size(), "no more external tensors than bytes");
  // There is no file there, nor anywhere else that it may lead to.
  const bool found = accepts({ErrorCode::BadModel, ErrorCode::FileNotFound}, [&] {
    set_external_contents(model, path, [](const std::string&) -> std::string_view {
      fail("an external file is found outside the folder");
    });
  });
  require(found == model.external.empty(), "no external tensor is left without its contents");
  read_graph(model.graph, static_cast<double>(bytes.size()), path);
}

}  // namespace lenet::fuzz

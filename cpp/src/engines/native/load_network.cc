#include "engines/native/load_network.h"

#include "engines/native/passes/passes.h"
#include "engines/native/read_network.h"
#include "lenet/error.h"

namespace lenet::native {

Network load_network(const Model& model, bool check_finite) {
  if (model.refusal) throw *model.refusal;
  // A Paddle model's parameters have been looked at.
  const bool check_weights = check_finite && model.format == ModelFormat::Onnx;
  Network network =
      read_network(model.graph, model.path, static_cast<double>(model.file_bytes), check_weights);
  simplify(network);
  return network;
}

}  // namespace lenet::native

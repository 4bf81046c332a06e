#include "engines/native/onnx/read_onnx.h"

#include <algorithm>
#include <memory>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "engines/native/onnx/network.h"
#include "engines/native/onnx/operators.h"
#include "io/printable.h"
#include "lenet/error.h"

namespace lenet::native {
namespace {

[[noreturn]] void refuse(ErrorCode code, const std::string& path, const std::string& problem) {
  throw Error(code, "'" + path + "' " + problem);
}

void require_versions(const OnnxGraph& graph, const std::string& path) {
  if (graph.opset < kLeastOpset || graph.opset > kMostOpset) {
    refuse(ErrorCode::Unsupported, path,
           "uses the operator set " + std::to_string(graph.opset) + "; the native engine knows " +
               std::to_string(kLeastOpset) + " to " + std::to_string(kMostOpset) +
               ": use engine onnxruntime, or export it anew");
  }
  if (graph.own_functions || graph.sparse_constants) {
    refuse(ErrorCode::Unsupported, path,
           std::string("has ") +
               (graph.own_functions ? "functions of its own" : "sparse constants") +
               ", which the native engine does not support; use the onnxruntime engine");
  }
}

void require_float(const OnnxValue& value, const std::string& path) {
  if (value.dtype == kOnnxFloat) return;
  refuse(
      ErrorCode::Unsupported, path,
      "has '" + printable(value.name) +
          "', which is not a float32 tensor; models with float32 input and output are supported");
}

void read_input(const OnnxGraph& graph, const std::string& path, OnnxNetwork& network) {
  std::vector<const OnnxValue*> inputs;
  for (const OnnxValue& value : graph.inputs) {
    if (!network.constants().has(value.name)) inputs.push_back(&value);
  }
  if (inputs.size() != 1 || graph.outputs.size() != 1) {
    refuse(ErrorCode::Unsupported, path,
           "has " + std::to_string(inputs.size()) + " inputs and " +
               std::to_string(graph.outputs.size()) +
               " outputs; classifiers with one input and one output are supported");
  }
  const OnnxValue& input = *inputs[0];
  require_float(input, path);
  const Shape& shape = input.shape;
  if (shape.size() != 4 || *std::min_element(shape.begin() + 1, shape.end()) < 1) {
    refuse(ErrorCode::Unsupported, path,
           "has an input '" + printable(input.name) +
               "' that is not [N, channels, height, width] with sizes that are known; export it "
               "for images of one size, or use engine onnxruntime");
  }
  network.set_input(input.name, shape, path);
}

/// Which nodes the output depends on: others may be anything.
std::vector<bool> needed_nodes(const OnnxGraph& graph) {
  std::vector<bool> needed(graph.nodes.size());
  std::set<std::string_view> names = {graph.outputs[0].name};
  for (std::size_t i = graph.nodes.size(); i-- > 0;) {
    const OnnxNode& node = graph.nodes[i];
    needed[i] = std::any_of(node.outputs.begin(), node.outputs.end(), [&](const auto& name) {
      return !name.empty() && names.count(name) > 0;
    });
    if (needed[i]) names.insert(node.inputs.begin(), node.inputs.end());
  }
  return needed;
}

/// What the model says of its output must not be something else.
void check_output(const OnnxValue& output, const Shape& found, const std::string& path) {
  if (!output.has_shape) return;
  bool fits = output.shape.size() == found.size();
  for (std::size_t i = 1; fits && i < found.size(); ++i) {
    fits = output.shape[i] < 0 || output.shape[i] == found[i];
  }
  if (fits) return;
  refuse(ErrorCode::BadModel, path,
         "is damaged: its output has shape " + lenet::to_string(found) + ", but is declared as " +
             lenet::to_string(output.shape));
}

}  // namespace

Network read_onnx(OnnxGraph graph, const std::string& path, bool check_finite) {
  require_versions(graph, path);
  OnnxNetwork made(check_finite);
  made.limit_memory(graph.file_bytes);
  for (OnnxTensor& tensor : graph.constants) {
    const std::string name = tensor.name;
    if (!made.constants().add(name, std::make_shared<OnnxTensor>(std::move(tensor)))) {
      refuse(ErrorCode::BadModel, path,
             "is damaged: the constant '" + printable(name) + "' is there twice");
    }
  }
  read_input(graph, path, made);
  const std::vector<bool> needed = needed_nodes(graph);
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!needed[i]) continue;
    read_onnx_operator(OnnxStep(graph.nodes[i], graph.opset, path), made);
    made.count_layers();
  }
  const OnnxValue& output = graph.outputs[0];
  require_float(output, path);
  made.set_output(output.name, path);
  Network network = made.take();
  check_output(output, network.output_shape, path);
  return network;
}

Network read_onnx_file(const Model& model, bool check_finite) {
  const std::string& path = model.path;
  OnnxGraph graph = read_onnx_graph(model.program->contents(), path);
  read_external_values(
      graph, path, [&](const std::string& file) { return model.external.at(file)->contents(); });
  return read_onnx(std::move(graph), path, check_finite);
}

}  // namespace lenet::native

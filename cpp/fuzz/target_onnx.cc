#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "engines/native/onnx/read_onnx.h"
#include "engines/native/program.h"
#include "model/onnx_graph.h"
#include "model/onnx_model.h"
#include "support.h"
#include "targets.h"

namespace lenet::fuzz {
namespace {

constexpr std::int64_t kMostValues = 1 << 14;
constexpr double kMostWork = 1e6;
constexpr std::int64_t kMostFloats = 1 << 18;

/// Runs two images through a network that is small enough.
void run(const native::Network& network) {
  std::int64_t values = 0;
  for (const native::TensorShape& shape : network.tensors) values += shape.values();
  const double work = std::accumulate(network.layers.begin(), network.layers.end(), 0.0,
                                      [&](double sum, const native::Layer& layer) {
                                        return sum + native::multiply_adds(network, layer);
                                      });
  if (values > kMostValues || work > kMostWork) return;
  constexpr std::int64_t kImages = 2;
  for (const bool interleaved : {false, true}) {
    accepts({ErrorCode::Unsupported}, [&] {
      const native::Program program(network, native::choose_kernels(), interleaved);
      if (program.unit_floats() > kMostFloats) return;
      native::Aligned<float> memory = program.memory(kImages);
      const std::vector<float> input(static_cast<std::size_t>(kImages * program.input_values()));
      std::vector<float> output(static_cast<std::size_t>(kImages * program.output_values()));
      program.run(input.data(), kImages, memory.data(), output.data());
    });
  }
}

/// What the native engine makes of it.
void read_network(std::string_view bytes, const std::string& path) {
  OnnxGraph graph;
  if (!accepts({ErrorCode::BadModel}, [&] { graph = read_onnx_graph(bytes, path); })) return;
  require(graph.nodes.size() <= bytes.size(), "no more nodes than bytes");
  native::Network network;
  const bool accepted = accepts({ErrorCode::BadModel, ErrorCode::Unsupported},
                                [&] { network = native::read_onnx(std::move(graph), path); });
  if (!accepted) return;
  native::simplify(network);
  run(network);
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

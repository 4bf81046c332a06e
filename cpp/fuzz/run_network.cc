#include "run_network.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "engines/native/compile/float_program.h"
#include "engines/native/int8/program.h"
#include "engines/native/kernels/dispatch.h"
#include "engines/native/passes/passes.h"
#include "support.h"

namespace lenet::fuzz {
namespace {

constexpr std::int64_t kImages = 2;
constexpr std::int64_t kMaxValues = 1 << 14;
constexpr double kMaxWork = 1e6;
constexpr std::int64_t kMaxBytes = 1 << 20;

bool is_small(const native::Network& network) {
  std::int64_t values = 0;
  for (const native::NetworkTensor& tensor : network.tensors) values += tensor.shape.values();
  const double work = std::accumulate(network.layers.begin(), network.layers.end(), 0.0,
                                      [&](double sum, const native::Layer& layer) {
                                        return sum + native::multiply_adds(network, layer);
                                      });
  return values <= kMaxValues && work <= kMaxWork;
}

bool is_quantized(const native::Layer& layer) {
  return layer.kind == native::LayerKind::Quantize || !layer.integers.empty();
}

void run_program(const native::Program& program) {
  auto memory = program.memory(kImages);
  std::vector<float> input(static_cast<std::size_t>(kImages * program.input_values()));
  std::iota(input.begin(), input.end(), -1.0F);
  std::vector<std::vector<float>> outputs;
  std::vector<float*> places;
  for (std::size_t i = 0; i < program.outputs(); ++i) {
    const std::int64_t values = kImages * program.output_values(i);
    places.push_back(outputs.emplace_back(static_cast<std::size_t>(values)).data());
  }
  program.run({input.data(), {}}, 0, kImages, memory.data(), places.data());
}

}  // namespace

std::unique_ptr<const Graph> of_one_size(const Graph& graph) {
  constexpr std::int64_t kSize = 12;  // of each that is open
  if (!graph.with_sizes) return nullptr;
  Shape sizes = graph.values[graph.inputs[0]].shape;
  std::replace_if(sizes.begin(), sizes.end(), [](auto size) { return size < 0; }, kSize);
  return graph.with_sizes(sizes);
}

void run_network(native::Network network) {
  if (!is_small(network)) return;
  const auto& layers = network.layers;
  if (std::any_of(layers.begin(), layers.end(), is_quantized)) {
    accepts({ErrorCode::Unsupported}, [&] {
      native::int8::Program program(std::move(network), native::int8::choose_kernels());
      program.prepare();
      run_program(program);
    });
    return;
  }
  // As native_engine.cc does.
  native::split_long_sums(network);
  const bool in_order = native::separate_layouts(network);
  for (const bool interleaved : {false, true}) {
    if (interleaved && in_order) continue;
    accepts({ErrorCode::Unsupported}, [&] {
      native::FloatProgram program(network, native::choose_kernels(), interleaved);
      if (program.tensor_bytes() > kMaxBytes) return;
      program.prepare(network);
      run_program(program);
    });
  }
}

}  // namespace lenet::fuzz

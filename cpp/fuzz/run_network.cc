#include "run_network.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "engines/native/compile/program_builder.h"
#include "engines/native/kernels/dispatch.h"
#include "engines/native/ops/int8/integers.h"
#include "engines/native/ops/verify_network.h"
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
  // As compile_int8.cc and compile_float.cc do.
  const auto& layers = network.layers;
  const bool quantized = std::any_of(layers.begin(), layers.end(), is_quantized);
  std::optional<native::IntegerOps> integers;
  accepts({ErrorCode::Unsupported}, [&] {
    if (quantized) {
      native::plan_integers(network);
      integers = native::int8::integer_ops(native::int8::choose_kernels());
    } else {
      native::split_long_sums(network);
    }
    const bool in_order = native::arrange_layers(network, native::choose_kernels().lanes);
    native::verify_network(network);
    for (const bool interleaved : {false, true}) {
      if (interleaved && (in_order || quantized)) continue;
      accepts({ErrorCode::Unsupported}, [&] {
        native::ProgramBuilder builder(network, native::choose_kernels(), interleaved,
                                       native::kMinSharedBytes, nullptr, integers);
        if (builder.tensor_bytes() > kMaxBytes) return;
        const auto program = builder.make_program(network);
        builder.add_steps(network, *program);
        run_program(*program);
      });
    }
  });
}

}  // namespace lenet::fuzz

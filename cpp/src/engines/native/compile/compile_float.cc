#include "engines/native/compile/compile_float.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "engines/native/compile/program_builder.h"
#include "engines/native/kernels/dispatch.h"
#include "engines/native/ops/verify_network.h"
#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

/// Returns how much memory images side by side may take. With more than fits the second-level
/// cache, one image at a time is faster, unless vectors have 16 lanes and no convolution has
/// groups: then there is enough to compute meanwhile.
std::int64_t max_bytes_side_by_side(const Network& network, int lanes) {
  constexpr std::int64_t kMaxFloats = 1 << 18;
  constexpr std::int64_t kMaxComputedFloats = 3 << 18;
  const bool computes =
      std::none_of(network.layers.begin(), network.layers.end(), [](const Layer& layer) {
        return layer.kind == LayerKind::Convolution && layer.convolution().groups > 1;
      });
  return (computes && lanes >= 16 ? kMaxComputedFloats : kMaxFloats) *
         static_cast<std::int64_t>(sizeof(float));
}

/// \param one builds the program of one image
/// \param in_order whether it has layers of values in the order of the program
/// \returns null where it does not pay
std::shared_ptr<ProgramBuilder> make_side_by_side(const Network& network, const Kernels& kernels,
                                                  const ProgramBuilder& one, bool in_order) {
  const std::int64_t most = max_bytes_side_by_side(network, kernels.lanes);
  if (kernels.lanes == 1 || in_order || one.uses_winograd3x3() ||
      one.tensor_bytes() * kernels.lanes > 2 * most) {
    return nullptr;
  }
  auto many = std::make_shared<ProgramBuilder>(network, kernels, true);
  return many->tensor_bytes() > most ? nullptr : many;
}

}  // namespace

void compile_float(Network network, const Bf16Choice& bf16, bool optimizes,
                   const std::shared_ptr<SharedArrays>& shared, Compiled& compiled) {
  const Kernels& kernels = choose_kernels();
  if (optimizes) split_long_sums(network);
  const bool in_order =
      optimizes ? arrange_layers(network, kernels.lanes) : separate_layouts(network);
  verify_network(network);
  const auto build = [&](const Bf16Kernels* bf16_kernels) {
    return std::make_shared<ProgramBuilder>(network, kernels, false, kMinSharedBytes, bf16_kernels,
                                            std::nullopt, optimizes);
  };
  auto one = build(nullptr);
  const auto many = optimizes ? make_side_by_side(network, kernels, *one, in_order) : nullptr;
  compiled.instructions = kernels.name;
  compiled.why = bf16.reason;
  if (bf16.kernels != nullptr && many == nullptr) {
    one = build(bf16.kernels);
    compiled.instructions = bf16.kernels->name;
    compiled.arithmetic = Arithmetic::Bf16;
  } else if (bf16.kernels != nullptr) {
    compiled.why = "float32 is faster for networks whose images are computed side by side";
  }
  // Without the kernels for large images only where images are computed side by side.
  compiled.is_fastest = many != nullptr || kernels.winograd3x3 != nullptr;
  compiled.one_by_one = one->make_program(network);
  if (many != nullptr) compiled.side_by_side = many->make_program(network);
  compiled.images_one_by_one = images_at_once(*compiled.one_by_one, kImagesOneByOne);
  compiled.pack = [whole = std::make_shared<Network>(std::move(network)), shared, one, many,
                   one_by_one = compiled.one_by_one.get(),
                   side_by_side = compiled.side_by_side.get()] {
    one->add_steps(*whole, *one_by_one, shared);
    if (many != nullptr) many->add_steps(*whole, *side_by_side, shared);
  };
}

}  // namespace lenet::native

#include "engines/native/compile/compile_int8.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "engines/native/compile/compile_float.h"
#include "engines/native/compile/program_builder.h"
#include "engines/native/kernels/dispatch.h"
#include "engines/native/ops/int8/integers.h"
#include "engines/native/ops/verify_network.h"
#include "engines/native/passes/passes.h"

namespace lenet::native {
namespace {

/// Paddle's oneDNN is faster in int8 if one image's tensors take more, and this processor has no
/// instructions that multiply bytes. ResNet18 has 1.0 MB for images of 32.
constexpr std::int64_t kMaxBytesInPairs = 1 << 19;

}  // namespace

void compile_int8(Network network, bool optimizes, const std::shared_ptr<SharedArrays>& shared,
                  Compiled& compiled) {
  if (!optimizes) {
    replace_integers(network);
    compile_float(std::move(network), {}, false, shared, compiled);
    compiled.why = "with ir_optim=false the numbers are computed that the integers stand for";
    return;
  }
  const int8::Kernels& kernels = int8::choose_kernels();
  if (kernels.bytes != 1) {
    compiled.why = std::string("the instructions ") + kernels.name +
                   " multiply no bytes, so the float model in fp32 may be faster";
  }
  verify_network(network);
  plan_integers(network);
  const bool has_tokens = arrange_layers(network, native::choose_kernels().lanes);
  verify_network(network);
  auto builder =
      std::make_shared<ProgramBuilder>(network, native::choose_kernels(), false, kMinSharedBytes,
                                       nullptr, int8::integer_ops(kernels));
  compiled.one_by_one = builder->make_program(network);
  Program& program = *compiled.one_by_one;
  compiled.instructions = kernels.name;
  compiled.arithmetic = Arithmetic::Int8;
  // Paddle's int8 does not run most networks of tokens.
  compiled.is_fastest =
      kernels.bytes == 1 || has_tokens || program.tensor_bytes() <= kMaxBytesInPairs;
  compiled.images_one_by_one = images_at_once(program, kImagesOfPiece);
  compiled.pack = [whole = std::make_shared<Network>(std::move(network)), shared, builder,
                   &program] { builder->add_steps(*whole, program, shared); };
}

}  // namespace lenet::native

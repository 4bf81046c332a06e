#include "engines/native/compile/compile_int8.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "engines/native/compile/float_program.h"
#include "engines/native/int8/program.h"
#include "engines/native/kernels/dispatch.h"
#include "engines/native/passes/passes.h"
#include "engines/native/verify_network.h"

namespace lenet::native {
namespace {

/// Paddle's oneDNN is faster in int8 if one image's tensors take more, and this processor has no
/// instructions that multiply bytes. ResNet18 has 1.0 MB for images of 32.
constexpr std::int64_t kMaxBytesInPairs = 1 << 19;
/// Paddle's oneDNN is always faster if more multiply-adds are in float32, for which int8 has simple
/// loops.
constexpr double kMaxFloatWork = 1e6;

/// Compiles a network with layers that only a program in float32 has kernels for, such as those of
/// tokens. Layers that multiply rounded values by integers do so in that program. Paddle's int8
/// does not run most of these networks.
void compile_rounded(Network network, const std::shared_ptr<SharedArrays>& shared,
                     Compiled& compiled) {
  const int8::Kernels& kernels = int8::choose_kernels();
  take_roundings(network);
  separate_layouts(network);
  join_copies(network);
  verify_network(network);
  auto program = std::make_unique<FloatProgram>(network, choose_kernels(), false, kMinSharedBytes,
                                                nullptr, int8::make_rounded_layer);
  compiled.instructions = kernels.name;
  compiled.arithmetic = Arithmetic::Int8;
  compiled.is_fastest = true;  // its layers in float32 have kernels of vectors
  compiled.images_one_by_one = images_at_once(*program, kImagesOneByOne);
  compiled.pack = [whole = std::make_shared<Network>(std::move(network)), shared,
                   one = program.get()] { one->prepare(*whole, shared); };
  compiled.one_by_one = std::move(program);
}

}  // namespace

void compile_int8(Network network, const std::shared_ptr<SharedArrays>& shared,
                  Compiled& compiled) {
  const int8::Kernels& kernels = int8::choose_kernels();
  if (kernels.bytes != 1) {
    compiled.why = std::string("the instructions ") + kernels.name +
                   " multiply no bytes, so the float model in fp32 may be faster";
  }
  verify_network(network);
  if (!int8::has_kernels(network)) return compile_rounded(std::move(network), shared, compiled);
  auto program = std::make_unique<int8::Program>(std::move(network), kernels);
  compiled.instructions = kernels.name;
  compiled.arithmetic = Arithmetic::Int8;
  compiled.is_fastest = (kernels.bytes == 1 || program->image_bytes() <= kMaxBytesInPairs) &&
                        program->float_multiply_adds() <= kMaxFloatWork;
  compiled.images_one_by_one = images_at_once(*program, kImagesOfPiece);
  compiled.pack = [whole = program.get(), shared] { whole->prepare(shared); };
  compiled.one_by_one = std::move(program);
}

}  // namespace lenet::native

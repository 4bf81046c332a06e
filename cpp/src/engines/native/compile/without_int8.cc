// In place of compile_int8.cc and int8/, for builds that run models in float32 only.
#include "engines/native/compile/compile_int8.h"
#include "lenet/error.h"

namespace lenet::native {
namespace {

[[noreturn]] void refuse() {
  throw Error(ErrorCode::Unsupported, "this build has no arithmetic in int8");
}

}  // namespace

void compile_int8(Network /*network*/, bool /*optimizes*/,
                  const std::shared_ptr<SharedArrays>& /*shared*/, Compiled& /*compiled*/) {
  refuse();
}

}  // namespace lenet::native

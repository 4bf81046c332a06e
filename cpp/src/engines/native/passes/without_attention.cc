// In place of join_attention.cc and ops/attention.cc, for builds that have to be small: the layers
// of an attention stay several.
#include "engines/native/ops/families.h"
#include "engines/native/passes/passes.h"

namespace lenet::native {

void join_attention(Network& /*network*/) {}

extern const LayerFamily kAttentionFamily = {
    [](const LayerCheck& of) { of.require(false, "has no operator in this build"); }, nullptr};

}  // namespace lenet::native

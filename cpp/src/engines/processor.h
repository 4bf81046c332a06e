/// \file
/// What this machine's processor can do.
#pragma once

namespace lenet {

/// AVX-512 (what oneDNN calls avx512_core) with its bf16 instructions. Without the latter oneDNN
/// imitates them, at less than float32's speed, and fails in a .json for more than one image.
bool has_bf16() noexcept;

}  // namespace lenet

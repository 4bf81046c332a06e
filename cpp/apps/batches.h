/// \file
/// Tensors of several images, and parts of them.
#pragma once

#include <cstdint>

#include "lenet/tensor.h"

namespace lenet::apps {

/// `count` images of `images` from number `begin` on.
TensorView slice(const Tensor& images, std::int64_t begin, std::int64_t count);

/// Adds the rows of `part`, of the same shape, to those of `all`, which may still be empty.
void append(Tensor& all, const Tensor& part);

}  // namespace lenet::apps

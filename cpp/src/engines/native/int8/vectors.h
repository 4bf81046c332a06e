/// \file
/// The types of one instruction set's kernels (implementation.h). A file that includes this defines
/// LENET_LANES and LENET_ELEMENT, the type of an element, before.
#pragma once

#include <cstdint>

namespace lenet::native::int8 {
namespace {

constexpr int kLanes = LENET_LANES;
using Ints = std::int32_t __attribute__((vector_size(kLanes * sizeof(std::int32_t))));
using Element = LENET_ELEMENT;
using Elements = Element __attribute__((vector_size(kLanes * sizeof(Element))));
/// The element that stands for 0: it is in the middle of those without a sign.
constexpr int kZero = static_cast<Element>(-1) > 0 ? 128 : 0;

}  // namespace
}  // namespace lenet::native::int8

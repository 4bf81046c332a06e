/// \file
/// What the rules of operators share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/rules/operator_view.h"

namespace lenet {

inline constexpr std::int64_t kUnknown = -1;
inline constexpr std::size_t kMaxRank = 9;
inline constexpr std::int64_t kMaxStep = 1 << 16;  // of strides, dilations, kernels

inline constexpr int kBool = 0;
inline constexpr int kInt32 = 2;
inline constexpr int kInt64 = 3;
inline constexpr int kFloat32 = 5;
inline constexpr int kUint8 = 20;
inline constexpr int kInt8 = 21;

inline bool fits(std::int64_t a, std::int64_t b) {
  return a == kUnknown || b == kUnknown || a == b;
}

/// Of the sizes in [from, to); unknown when one is.
std::int64_t product(const Shape& shape, std::size_t from, std::size_t to);

/// Of all sizes, an unknown one taken for 1.
double volume(const Shape& shape);

void require_range(const OperatorView& op, const Integers& values, std::size_t count,
                   std::int64_t least, std::int64_t most, const char* name);

/// Whether the channels come last; the layout must be one of the two.
bool channels_last(const OperatorView& op, const std::string& name);

/// The shape of what an elementwise operator gives.
Shape broadcast(const OperatorView& op, const Shape& a, const Shape& b);

/// An optional argument that must be a vector of that size.
void require_vector(const OperatorView& op, const std::string& name, std::int64_t size);

/// The output of an operator that moves values but does not change them.
void give_rearranged(OperatorView& op, const Shape& shape);

/// The rule of operators whose output is like their input X.
void infer_same(OperatorView& op);

/// Axes that a list names, each once.
std::vector<std::size_t> distinct_axes(const OperatorView& op, const Integers& given,
                                       std::size_t rank);

/// The number of an element type in framework.proto.
int dtype_named(const OperatorView& op, const std::string& name);

}  // namespace lenet

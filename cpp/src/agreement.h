/// Whether two runs of a model agree: the rule of docs/same-numbers.md, which
/// python/lenet_cpp/agreement.py has for Python.
#pragma once

#include "lenet/config.h"
#include "lenet/tensor.h"

namespace lenet {

/// The largest difference of two values, as a share of max(1, largest value of that image).
constexpr double tolerance_of(Precision precision) {
  switch (precision) {
    case Precision::Bf16:
      return 0.1;
    case Precision::Int8:
      return 0.5;
    case Precision::Tf32:
      return 0.0125;
    case Precision::Fp32:
      break;
  }
  return 1e-5;
}

/// The tolerance of two runs that round the same values of a quantized program: a value in the
/// middle of two integers may be rounded to either.
inline constexpr double kRoundingTolerance = 0.05;

/// How far two outputs are from each other.
struct Difference {
  double largest = 0;  ///< absolute; infinite where one of two values is not finite
  double share = 0;    ///< of the tolerance of that image: the outputs agree up to 1
};

/// Compares an output of two runs of the same images. Two values agree too that are both NaN, or
/// the same infinity. Integers and bools have no tolerance: where they differ the share is
/// infinite. \param reference [N, ...]; a scalar is one value of one image \param found of the same
/// shape \param real whether the output has floating-point values
Difference compare(const Tensor& reference, const Tensor& found, bool real, double tolerance);

}  // namespace lenet

/// \file
/// The operators that Paddle's accelerators compute wrongly. Each function returns the reason why
/// an accelerator must not run a program with the operator, such as "pool2d with ceil_mode=1", or
/// an empty string.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>

#include "engines/paddle/operator_in_program.h"

namespace lenet {

/// OpenVINO runs only operators that were compared with Paddle's own kernels.
std::string refuse_for_openvino(const OperatorInProgram& op);

/// oneDNN runs all operators but those with a known fault.
/// \param channels_last the result of has_channels_last
std::string refuse_for_onednn(const OperatorInProgram& op, bool channels_last);

/// In int8, oneDNN uses wrong values for the padding if an image is padded only left and right:
/// there is no padding above, and the windows end with the last row. This affects windows over one
/// channel, except in groups with one output each.
std::string refuse_convolution_in_int8(const OperatorInProgram& op);

/// Paddle's accelerators crash if a batch_norm has no scale or no bias.
std::string refuse_plain_normalization(const OperatorInProgram& op);

/// Returns whether the operator has a layout attribute, and its channels are last.
bool has_channels_last(const OperatorInProgram& op);

/// Finds a second activation after a fully connected layer or another operator: oneDNN replaces the
/// first activation by it. Call it for each operator in the order of the program.
class StackedActivations {
 public:
  std::string refuse(const Operator& op, const OperatorInProgram& view);
  bool found() const { return found_; }

 private:
  /// A sum of vectors, as at the end of a fully connected layer, is 1; each activation adds 1.
  std::map<std::size_t, int> depths_;
  std::set<std::size_t> activated_;
  bool found_ = false;
};

/// Finds a matmul whose input was reshaped and then transposed. oneDNN fuses the three operators,
/// and misreads the values; a matmul with four dimensions is refused anyway. Call it for each
/// operator in the order of the program.
class TransposedMatrices {
 public:
  std::string refuse(const Operator& op, const OperatorInProgram& view);

 private:
  std::set<std::size_t> reshaped_;
  std::set<std::size_t> transposed_;
};

}  // namespace lenet

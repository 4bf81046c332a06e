/// \file
/// What Paddle's accelerators compute wrongly. Each function returns the reason for which a program
/// with an operator is not given to an accelerator, such as "pool2d with ceil_mode=1", or nothing.
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
/// \param channels_last what has_channels_last says
std::string refuse_for_onednn(const OperatorInProgram& op, bool channels_last);

/// In int8, oneDNN takes wrong values for the padding where an image is padded at its sides alone:
/// there is none above, and the windows end with its last row. This affects windows that see one
/// channel, except those of groups with one output each.
std::string refuse_convolution_in_int8(const OperatorInProgram& op);

/// Paddle's accelerators crash where a batch_norm has no scale or no bias.
std::string refuse_plain_normalization(const OperatorInProgram& op);

/// Whether an operator with a layout has its channels last.
bool has_channels_last(const OperatorInProgram& op);

/// Finds a second activation behind a fully connected layer, or behind anything else: oneDNN puts
/// it in the place of the first. Ask it for each operator in the order of the program.
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

/// Finds a matmul of what was reshaped and then transposed. oneDNN makes one operator of the three,
/// which misreads the values; one of four dimensions is refused anyway. Ask it for each operator in
/// the order of the program.
class TransposedMatrices {
 public:
  std::string refuse(const Operator& op, const OperatorInProgram& view);

 private:
  std::set<std::size_t> reshaped_;
  std::set<std::size_t> transposed_;
};

}  // namespace lenet

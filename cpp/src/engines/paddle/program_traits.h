/// What a program has that Paddle computes wrongly, by itself or with one of its accelerators.
#pragma once

#include <string>

#include "model/graph.h"

namespace lenet {

struct ProgramTraits {
  /// Why Paddle computes the program wrongly whatever the accelerator, as below.
  std::string refusal;
  /// Why Paddle's OpenVINO does not run the program, naming the operator and its attribute; empty
  /// when it does. OpenVINO's reader of Paddle models computes several operators wrongly without an
  /// error, so a program is given to it only when each operator, with its attributes, is one of
  /// those that were compared with Paddle's own kernels.
  std::string openvino_refusal;
  /// The same of oneDNN, which has known faults only: what is not known to be wrong runs.
  std::string onednn_refusal;
  /// The same of oneDNN in int8.
  std::string int8_refusal;
  /// The pass of oneDNN that fuses a convolution with its activation is not right here. In PIR it
  /// faults at a leaky_relu, whether its slope is stored as a double or, by Paddle before 3.3, as a
  /// float; and it puts a second activation in the place of the first.
  bool activation_fusing_faults = false;
  /// Paddle's pass that makes a dropout of a .pdmodel a multiplication faults where another
  /// operator reads the dropout's input too.
  bool simplifying_faults = false;
  /// Passes of Paddle that fold a normalization into the convolution before it give other answers:
  /// some operators have their channels last, which is not taken into account, or convolutions
  /// share a filter, which all of them then read with what was folded.
  bool folding_is_wrong = false;
};

/// \param graph need not have passed the check; what it lacks counts as a reason for a refusal. Its
///   parameters have their contents.
ProgramTraits read_program_traits(const Graph& graph);

}  // namespace lenet

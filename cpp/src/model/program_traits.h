/// \file
/// What a program has that an engine has to heed, such as what one of Paddle's accelerators gets
/// wrong.
#pragma once

#include <string>

namespace lenet {

struct ProgramTraits {
  /// A transposed convolution with output_padding, which OpenVINO's reader of Paddle models leaves
  /// out: other results without a word.
  bool openvino_differs = false;
  /// In PIR, a leaky_relu whose slope is stored as a double, as Paddle exports it: the pass of
  /// oneDNN that fuses it with a convolution reads it as a float and faults.
  bool activation_fusing_faults = false;
  /// In PIR, an interpolation that oneDNN takes and then cannot run: its kernel's arguments have no
  /// arrays of doubles, as which its scales are stored.
  bool onednn_fails = false;
  /// The weights are quantized: the program dequantizes them, or an .onnx computes in integers.
  bool quantized = false;
  /// They are stored as float32, as Paddle's PTQ and QAT leave them (`convert`). Plain arithmetic
  /// is right then; the int8 passes quantize them once more, and answers are wrong without an
  /// error. Seen in the parameter file, so it is the predictor that sets this.
  bool float_weights = false;
};

/// \returns nothing special for a program that cannot be read, which an engine refuses anyway.
ProgramTraits read_program_traits(const std::string& program, bool pir);

/// The same of an .onnx. \throws Error as read_onnx_model.
ProgramTraits read_onnx_traits(const std::string& program);

}  // namespace lenet

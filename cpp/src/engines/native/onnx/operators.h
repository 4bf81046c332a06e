/// \file
/// The operators of ONNX that the native engine has, and how each becomes layers.
#pragma once

#include "engines/native/onnx/network.h"
#include "engines/native/onnx/step.h"

namespace lenet::native {

/// Adds what one node computes, all of whose inputs are known to the network.
/// \throws Error Unsupported: there is no kernel for the operator, or for what it is asked;
///   BadModel: the node fits neither the operator nor its inputs.
void read_onnx_operator(const OnnxStep& step, OnnxNetwork& network);

// What computes nothing (reshaping.cc).
void read_dropout(const OnnxStep& step, OnnxNetwork& network);
void read_cast(const OnnxStep& step, OnnxNetwork& network);
void read_shape(const OnnxStep& step, OnnxNetwork& network);
void read_flatten(const OnnxStep& step, OnnxNetwork& network);
void read_squeeze(const OnnxStep& step, OnnxNetwork& network);
void read_unsqueeze(const OnnxStep& step, OnnxNetwork& network);
void read_reshape(const OnnxStep& step, OnnxNetwork& network);

}  // namespace lenet::native

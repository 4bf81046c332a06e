/// \file
/// What a quantized program computes is not what Paddle makes of it: for int8 it takes the ranges
/// out of the program, joins layers and has oneDNN round the tensors between those that it computes
/// in integers. This is that, so that the same model gives the same answers here.
///
/// The rules are those of Paddle 3.1 to 3.3, of paddle/fluid/framework/ir/onednn:
/// quant_dequant_onednn_pass, conv_bn and fc fusions, compute_propagate_scales_onednn_pass,
/// cpu_quantize_pass and cpu_quantize_squash_pass. docs/native-int8.md has them in words.
#pragma once

#include "engines/native/network.h"

namespace lenet::native::int8 {

/// Puts Quantize layers where oneDNN rounds, and weights as oneDNN multiplies by them.
/// \param network as read from a quantized program, with its ranges; Identity layers are taken out
void round_as_onednn(Network& network);

}  // namespace lenet::native::int8

/// \file
/// Rules of operators, for the table in operators.cc: of images (image_rules.cc), of any tensors
/// (tensor_rules.cc) and of quantized models (quantization_rules.cc).
#pragma once

#include "model/operators.h"

namespace lenet {

void infer_conv_transpose(Step& step);
void infer_adaptive_max_pool(Step& step);
void infer_group_norm(Step& step);
void infer_prelu(Step& step);
void infer_interpolate(Step& step);
void infer_pad(Step& step);
void infer_pixel_shuffle(Step& step);
void infer_pixel_unshuffle(Step& step);
void infer_channel_shuffle(Step& step);
void infer_maxout(Step& step);

void infer_bmm(Step& step);
void infer_p_norm(Step& step);
void infer_pow(Step& step);
void infer_compare(Step& step);
void infer_where(Step& step);
void infer_cast(Step& step);
void infer_expand(Step& step);
void infer_tile(Step& step);
void infer_flip(Step& step);
void infer_roll(Step& step);
void infer_unbind(Step& step);
void infer_slice(Step& step);

void infer_quantize(Step& step);
void infer_dequantize(Step& step);

}  // namespace lenet

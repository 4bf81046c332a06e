/// \file
/// Rewrites of a network. Each takes time linear in its layers, their inputs and weights.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engines/native/network.h"

namespace lenet::native {

/// So many times a convolution or a product may be scaled: each time all its weights are visited.
inline constexpr int kMaxScales = 16;

/// Whether a scale may become part of a convolution that `fused` became part of before.
using MayFuse = bool(const Layer& convolution, const Layer& scale, int fused);

/// Makes normalizations part of the convolution before them: x * scale + bias after it is a
/// convolution with other weights. \returns how many became part of each layer
std::vector<int> fuse_scales(Network& network, MayFuse* may_fuse);

/// Takes out layers that no output depends on.
void drop_unused(Network& network);

/// Makes activations part of the layer before them.
void fuse_activations(Network& network);

/// Makes zeros that a Copy puts around an image the padding of the convolutions that read it, and
/// of max-pools of values that are not negative. Keras exports a padding that differs
/// from side to side in this form.
void join_padding(Network& network);

/// Takes out layers that no output depends on, and makes normalizations, at most kMaxScales of
/// each, what rows of products are multiplied by, what is added to them, activations and zeros
/// around images part of the layers next to them.
void simplify(Network& network);

/// Takes out layers for which `copies` says that they give what they take. It is asked in their
/// order, each once, when those before are gone.
/// \throws Error BackendFailure: a layer that is taken out has fields (LayerField)
void drop_copies(Network& network, const std::function<bool(const Layer&)>& copies);

/// Makes a Gelu of the single operators that exporters write it in.
void join_gelu(Network& network);

/// Makes one of several layers that move whole channels of each other's results.
void join_channels(Network& network);

/// Decides which tensors of one image lie in the order of the program, as layers that need_order
/// read them, and which in blocks of channels. Where a layer reads one in the other layout, puts a
/// Convert layer before it. Takes out View layers.
/// \returns whether there are such layers: they compute one image at a time
bool separate_layouts(Network& network);

/// Has MatMuls read operands where copies took them, and write what copies behind them give, where
/// these copies only permute the values of a tensor or cut some out of it. Numbers that an operand
/// is multiplied by are multiplied before the copy. Copies read through such copies too. Takes out
/// those that nothing needs any more. \pre separate_layouts
void join_copies(Network& network);

/// Where only some rows of a tensor are read, such as the class token of a transformer's last
/// block, has the layers before compute these alone, as far as each row is computed by itself.
/// \pre join_copies, which leaves fewer kinds of layers
void leave_out_rows(Network& network);

/// Makes an Attention of a softmax with the products before and behind it, and of what is added to
/// the scores between. \pre join_copies, and nothing asks for some of the rows any more
void join_attention(Network& network);

/// Has copies read and write tensors in vectors themselves, where a Convert would put them in the
/// order of the program before or in vectors behind.
/// \param lanes of these vectors
/// \pre separate_layouts
void join_converts(Network& network, std::int64_t lanes);

/// Decides the layouts of tensors and has the layers work in them: separate_layouts and the passes
/// behind it, in their order. \param lanes of vectors
/// \returns as separate_layouts
bool arrange_layers(Network& network, std::int64_t lanes);

/// Takes out Identity layers.
void drop_identities(Network& network);

/// Splits convolutions, fully connected layers among them, whose sums have more than 1,024 products
/// (5,000 for 3x3 windows of stride 1, and for at most 16 channels). Each part covers some of the
/// channels, and the outputs are added: the rounding errors of one sum grow with its length. The
/// weights must be stored; grouped convolutions stay whole.
void split_long_sums(Network& network);

/// Whether all values that a layer gives are 0, or are values of its inputs, which are all rounded
/// in the same way.
/// \param roundings by tensor
bool keeps_rounding(const Layer& layer, const std::vector<QuantParams>& roundings);
/// Leaves out the rounding of what was rounded the same way before, and of the largest of that.
void drop_repeated_rounding(Network& network);
/// Has a layer multiply by the floats that its integers stand for.
void use_float_weights(Layer& layer);
/// Decides what is computed in integers. Tensors that hold integers get their `quant`; a Quantize
/// layer stays where it makes such a tensor, and becomes an activation elsewhere. What convolutions
/// of integers do with their sums becomes part of them: roundings, what is done to each channel
/// between two of them, a pool of 2 x 2, the addition of another tensor of integers. MatMuls of
/// integers round what they take, by their own `quant`. Where the input is not rounded, or there is
/// no kernel, weights of integers become the floats that they stand for.
/// \throws Error Unsupported: a sum that 32 bits might not hold
void plan_integers(Network& network);
/// Makes a quantized network one of float32, which gives the same but for the rounding of sums:
/// each layer multiplies by the floats that its integers stand for, and values are rounded to
/// multiples.
void replace_integers(Network& network);
/// Rounds before layers that give the largest of their values, or move them all: the result is the
/// same, they move fewer bytes, and the layer before rounds at once.
void round_early(Network& network);

}  // namespace lenet::native

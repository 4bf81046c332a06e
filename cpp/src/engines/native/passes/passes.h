/// \file
/// Rewrites of a network. Each takes time linear in its layers, their inputs and weights.
#pragma once

#include "engines/native/network.h"

namespace lenet::native {

/// So many times scale_convolution may be applied to one convolution: it visits all weights.
inline constexpr int kMaxScales = 16;

/// x * scale + bias after a convolution is a convolution with other weights.
void scale_convolution(Layer& convolution, const Layer& scale);

/// Takes out layers that the output does not depend on.
void drop_unused(Network& network);
/// Makes normalizations part of the convolution before them, at most kMaxScales of each.
void fuse_scales(Network& network);
/// Makes relus part of the layer before them.
void fuse_relus(Network& network);
/// The three above.
void simplify(Network& network);

/// Convolutions, fully connected layers among them, whose sums have thousands of products become
/// several over some of the channels each, whose outputs are added: the rounding errors of one sum
/// grow with its length. Not for quantized networks, nor grouped convolutions.
void split_long_sums(Network& network);

/// Leaves out the rounding of what was rounded the same way before, and of the largest of that.
void drop_repeated_rounding(Network& network);
/// Rounds before max-pooling, which gives the same: fewer bytes to look at, and the layer before
/// rounds at once.
void round_before_pools(Network& network);

}  // namespace lenet::native

/// \file
/// Which convolutions are computed by Winograd's minimal filtering, and their weights for it.
#pragma once

#include <vector>

#include "engines/native/network.h"

namespace lenet::native {

/// Whether F(2 x 2, 5 x 5) computes the layer with fewer operations than the definition.
bool suits_winograd(const Network& network, const Layer& layer);

/// The weights of such a layer, transformed: [output channel][input channel][row][column], 6 x 6.
std::vector<float> winograd_weights(const Layer& layer);

}  // namespace lenet::native

/// \file
/// How each kind of operator carries the axis of the images from what it takes to what it gives:
/// by its axes, letters and products of sizes, never by a size that happens to be equal.
#pragma once

#include <string_view>

#include "model/image_follower.h"

namespace lenet {

using ImageRule = void (*)(ImageFollower&);

/// \returns null for a kind that no rule knows: whether images stay apart is not known then
ImageRule find_image_rule(std::string_view kind);

}  // namespace lenet

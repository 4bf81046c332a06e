/// \file
/// Moves of whole channels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/boxes.h"

namespace lenet::native {

/// Where a channel of the output is from: an input's place among the layer's, and its channel.
struct ChannelSource {
  std::size_t input = 0;
  std::int64_t channel = 0;

  bool operator==(const ChannelSource& other) const {
    return input == other.input && channel == other.channel;
  }
};

/// All channels of some inputs, one input after the other.
/// \param channels how many each input has
std::vector<ChannelSource> all_channels(const std::vector<std::int64_t>& channels);

/// The source of each of so many channels, of `pixels` values each, which boxes move as they are.
/// Empty where they do not, or do not give every channel, or there are too many to list.
std::vector<ChannelSource> channel_sources(const std::vector<Box>& boxes, std::int64_t pixels,
                                           std::int64_t channels);

}  // namespace lenet::native

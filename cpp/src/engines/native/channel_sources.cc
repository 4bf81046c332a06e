#include "engines/native/channel_sources.h"

#include <algorithm>

namespace lenet::native {
namespace {

/// For work and memory linear in the tensors, which have at least two values a channel.
constexpr std::int64_t kMaxVectorSources = 1 << 12;

/// The box whose values are each `values` of this one, side by side.
Box in_units(const Box& box, std::int64_t values) {
  Box made = box;
  made.from /= values;
  made.to /= values;
  if (values > 1) made.loops.back().count /= values;
  for (Box::Loop& loop : made.loops) {
    const bool inner = values > 1 && &loop == &made.loops.back();
    loop.from = inner ? 1 : loop.from / values;
    loop.to = inner ? 1 : loop.to / values;
  }
  return made;
}

}  // namespace

std::vector<ChannelSource> all_channels(const std::vector<std::int64_t>& channels) {
  std::vector<ChannelSource> sources;
  for (std::size_t i = 0; i < channels.size(); ++i) {
    for (std::int64_t c = 0; c < channels[i]; ++c) sources.push_back({i, c});
  }
  return sources;
}

std::vector<ChannelSource> channel_sources(const std::vector<Box>& boxes, std::int64_t pixels,
                                           std::int64_t channels) {
  if (pixels == 1 && channels > kMaxVectorSources) return {};
  std::int64_t given = 0;
  for (const Box& box : boxes) {
    if (!box.moves_whole(pixels)) return {};
    given += box.values() / pixels;
  }
  if (given != channels) return {};
  std::vector<ChannelSource> sources(static_cast<std::size_t>(channels), {kNone, 0});
  for (const Box& box : boxes) {
    const Box units = in_units(box, pixels);
    each_place(units, [&](std::int64_t from, std::int64_t to) {
      sources[static_cast<std::size_t>(to)] = {box.input, from};
    });
  }
  const bool gives_all = std::none_of(sources.begin(), sources.end(),
                                      [](const auto& source) { return source.input == kNone; });
  return gives_all ? sources : std::vector<ChannelSource>();
}

}  // namespace lenet::native

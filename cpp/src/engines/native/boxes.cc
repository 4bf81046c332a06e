#include "engines/native/boxes.h"

#include <algorithm>

namespace lenet::native {
namespace {

/// For work and memory linear in the tensors, which have at least two values a channel.
constexpr std::int64_t kMaxVectorSources = 1 << 12;

/// Calls `work(from, to)` with the places of every value of the loops from `at` on.
template <class Work>
void each_place(const std::vector<Box::Loop>& loops, std::size_t at, std::int64_t from,
                std::int64_t to, const Work& work) {
  if (at == loops.size()) return work(from, to);
  for (std::int64_t i = 0; i < loops[at].count; ++i) {
    each_place(loops, at + 1, from + i * loops[at].from, to + i * loops[at].to, work);
  }
}

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

void each_place(const Box& box, const std::function<void(std::int64_t, std::int64_t)>& work) {
  each_place(box.loops, 0, box.from, box.to, work);
}

void Box::add(const Loop& loop) {
  if (loop.count == 1) return;
  if (!loops.empty()) {
    Loop& outer = loops.back();
    if (outer.from == loop.from * loop.count && outer.to == loop.to * loop.count) {  // they are one
      outer = {outer.count * loop.count, loop.from, loop.to};
      return;
    }
  }
  loops.push_back(loop);
}

bool Box::moves_whole(std::int64_t values) const {
  if (values == 1) return true;
  if (loops.empty() || from % values != 0 || to % values != 0) return false;
  const Loop& inner = loops.back();
  return inner.from == 1 && inner.to == 1 && inner.count % values == 0 &&
         std::all_of(loops.begin(), loops.end() - 1, [values](const Loop& loop) {
           return loop.from % values == 0 && loop.to % values == 0;
         });
}

Integers steps_of(const Shape& shape) {
  Integers steps(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) steps[i - 1] = steps[i] * shape[i];
  return steps;
}

Box box_of(const Shape& shape, const Integers& from, const Integers& to) {
  Box box;
  for (std::size_t i = 0; i < shape.size(); ++i) box.add({shape[i], from[i], to[i]});
  return box;
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
    each_place(units.loops, 0, units.from, units.to, [&](std::int64_t from, std::int64_t to) {
      sources[static_cast<std::size_t>(to)] = {box.input, from};
    });
  }
  const bool gives_all = std::none_of(sources.begin(), sources.end(),
                                      [](const auto& source) { return source.input == kNone; });
  return gives_all ? sources : std::vector<ChannelSource>();
}

}  // namespace lenet::native

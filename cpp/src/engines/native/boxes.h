/// \file
/// Operators that move values without changing them: as boxes of values, or as whole channels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "model/graph.h"

namespace lenet::native {

/// Values of one tensor that lie at regular steps, and where they go in another. Places are counted
/// through an image in the order of the program, whatever shape it has there.
struct Box {
  /// Goes on by a step in both tensors, so many times.
  struct Loop {
    std::int64_t count = 1;
    std::int64_t from = 0;
    std::int64_t to = 0;
  };

  std::size_t input = 0;  ///< by its place among the layer's inputs
  std::int64_t from = 0;  ///< the first place
  std::int64_t to = 0;
  std::vector<Loop> loops;  ///< the outermost first

  std::int64_t values() const {
    std::int64_t count = 1;
    for (const Loop& loop : loops) count *= loop.count;
    return count;
  }
  /// Whether it is so many values side by side, from the begin of that input.
  bool is_run(std::size_t of_input, std::int64_t at, std::int64_t count) const {
    return input == of_input && from == 0 && to == at && values() == count && loops.size() < 2 &&
           (loops.empty() || (loops[0].from == 1 && loops[0].to == 1));
  }
  /// Adds a loop inside the others.
  void add(const Loop& loop);
  /// Whether so many values that lie side by side in both tensors are one value of this box: it
  /// moves, say, whole channels.
  bool moves_whole(std::int64_t values) const;
};

/// Calls `work(from, to)` with the places of every value of a box.
void each_place(const Box& box, const std::function<void(std::int64_t, std::int64_t)>& work);

/// How far the next value of each dimension lies.
Integers steps_of(const Shape& shape);

/// A box of that shape with such steps in both tensors.
Box box_of(const Shape& shape, const Integers& from, const Integers& to);

/// Where a channel of the output is from: an input's place among the layer's, and its channel.
struct ChannelSource {
  std::size_t input = 0;
  std::int64_t channel = 0;

  bool operator==(const ChannelSource& other) const {
    return input == other.input && channel == other.channel;
  }
};

/// The source of each of so many channels, of `pixels` values each, which boxes move as they are.
/// Empty where they do not, or do not give every channel, or there are too many to list.
std::vector<ChannelSource> channel_sources(const std::vector<Box>& boxes, std::int64_t pixels,
                                           std::int64_t channels);

}  // namespace lenet::native

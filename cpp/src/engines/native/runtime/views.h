/// \file
/// Where the values of a tensor lie in another tensor, or in memory, as runs of regular steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "engines/native/product.h"
#include "engines/native/runtime/placement.h"
#include "model/boxes.h"
#include "model/graph.h"

namespace lenet::native {

/// So many values, each of them a step behind the one before, of one value or of several.
struct Run {
  std::int64_t count = 1;
  std::int64_t step = 0;
};

/// Adds a run inside the others, or makes one of both where it goes on where the last one ends.
void add_run(std::vector<Run>& runs, const Run& run);

/// The values of one tensor in their order, and where they lie in another tensor or in memory.
struct View {
  std::size_t tensor = kNone;  ///< the other one; kNone: memory
  std::int64_t begin = 0;
  std::vector<Run> runs;  ///< the outermost first; each of two values or more
};

/// Some of the values of a view, which outlives it: from one of them on, runs one inside the other.
class Walk {
 public:
  /// \param first the place of the first value among those of the view
  Walk(const View& view, std::int64_t first);

  /// Where the first value lies.
  std::int64_t begin() const { return begin_; }

  /// Goes along a run of the view's values, from each of those that the runs before went along.
  /// \returns the same values as runs of where they lie, the outermost first; nothing where they do
  ///   not lie at regular steps there
  std::optional<std::vector<Run>> go(Run run);

 private:
  /// What a walk may still take of a run of the view.
  struct Left {
    std::int64_t places;  ///< so many more steps may be taken before the run ends
    std::int64_t values;  ///< of the view, from a place to the next
  };

  const View& view_;
  std::int64_t begin_;
  std::vector<Left> left_;  ///< by run of the view
};

/// A view of a tensor of which another view tells where its values lie, as one of where they lie.
/// \returns nothing where the values do not lie at regular steps there
std::optional<View> found_through(const View& before, const View& view);

/// One of the two tensors of a box: its first place, and the steps of its loops.
struct BoxSide {
  std::int64_t Box::*first;
  std::int64_t Box::Loop::*step;
};
inline constexpr BoxSide kFromSide = {&Box::from, &Box::Loop::from};
inline constexpr BoxSide kToSide = {&Box::to, &Box::Loop::to};

/// A box with the places of one side replaced by where a view says that they lie.
/// \returns nothing where the values do not lie at regular steps there
std::optional<Box> found_through(const View& view, const Box& box, const BoxSide& side);

/// A product, one side of which lies where a view says.
/// \returns nothing where its matrices have no regular steps there
std::optional<Product> found_through(const View& view, const Product& product,
                                     const ProductSide& side);

/// Where the values of a tensor in Layout::Vectors or Layout::Order lie, from its first value on.
/// The view also names the lanes of the last vector that hold no channel.
View view_of(const Placement& tensor);

}  // namespace lenet::native

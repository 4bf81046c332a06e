/// \file
/// Operators that move values without changing them, as boxes of values: of images in an engine, of
/// constants everywhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "model/graph.h"
#include "model/rules/operator_view.h"

namespace lenet {

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

/// Each value in the place of one or more: what has the size 1 is repeated, and so is all along a
/// size that is a multiple. No size is 0.
/// \param from may lack dimensions at the front
Box repeated_box(Shape from, const Shape& to);

/// Whether operators of that kind only move values.
bool moves_values(std::string_view kind);

using Boxes = std::vector<Box>;

/// What an operator that moves_values copies: a list of boxes for each of its outputs, whose shapes
/// the check has set. The boxes are of one image, or of a value that is the same for all.
/// \pre the operator does not mix images (Operator::may_mix_images)
/// \param indices what the input Indices holds for one image, where it has one and the check does
///   not know it
/// \throws Error Unsupported: what it moves is not fixed; BadModel: an index is out of range
std::vector<Boxes> read_boxes(const OperatorView& op, const Value* indices = nullptr);

/// The boxes that move an image to the values of its windows, one below the other: one for each
/// place of the window, without those outside the image. \param image [1][channels][height][width]
/// \throws Error Unsupported: there are too many places
std::vector<Box> window_boxes(const OperatorView& op, const Shape& image);

/// An index of an axis, from its begin or from its end.
/// \throws Error BadModel: it is out of range
std::int64_t place_of(const OperatorView& op, std::int64_t index, std::int64_t size);

/// A place in what is taken, and the index's own place.
using IndexWork = std::function<void(std::int64_t from, std::int64_t to)>;

/// Calls `work` for each index along an axis of X. \param x,places the shapes
/// \returns whether the indices fit X
bool each_element(const OperatorView& op, const Shape& x, const Shape& places,
                  const Integers& indices, const IndexWork& work);

/// Calls `work` with the first place of each part of X that indices along the last axis name, and
/// the number of the part. \param x,places the shapes \returns whether the indices fit X
bool each_part(const OperatorView& op, const Shape& x, const Shape& places, const Integers& indices,
               const IndexWork& work);

}  // namespace lenet

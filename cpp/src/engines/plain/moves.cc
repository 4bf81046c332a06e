// Definitions of operators that move values without changing them.

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "engines/plain/call.h"
#include "model/element_types.h"
#include "model/rules/support.h"

namespace lenet::plain {
namespace {

void rearrange(const Call& call) { call.give(call.in()); }

void transpose(const Call& call) {
  const Array& x = call.in();
  Integers reversed(x.shape.size());
  std::iota(reversed.rbegin(), reversed.rend(), 0);
  const Integers order = call.integers("perm", reversed);
  const Integers from = steps_of_shape(x.shape);
  Integers steps;
  for (const std::int64_t given : order)
    steps.push_back(from[call.view().axis(given, from.size())]);
  call.give(taken(x, places_of(call.shape(), steps), call.shape()));
}

/// Values at regular steps along some axes, forwards or backwards.
void slice(const Call& call) {
  const Array& x = call.in();
  const Integers starts = call.integers("starts");
  const Integers ends = call.integers("ends");
  Integers all(starts.size());
  std::iota(all.begin(), all.end(), 0);
  const Integers axes = call.integers("axes", all);
  const Integers strides = call.integers("steps", Integers(starts.size(), 1));
  Shape part = x.shape;
  Integers steps = steps_of_shape(x.shape);
  std::int64_t first = 0;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = call.view().axis(axes[i], x.shape.size());
    const std::int64_t size = x.shape[axis];
    const std::int64_t stride = std::clamp(strides[i], -size - 1, size + 1);
    // As Python's slices: from the end where they are negative, and then no further than the ends.
    const std::int64_t least = stride > 0 ? 0 : -1;
    const std::int64_t most = stride > 0 ? size : size - 1;
    const auto place = [&](std::int64_t given) {
      return std::clamp(given < 0 ? std::max(given, -size - 1) + size : given, least, most);
    };
    const std::int64_t begin = place(starts[i]);
    const std::int64_t end = place(ends[i]);
    const std::int64_t distance = stride > 0 ? end - begin : begin - end;
    part[axis] = distance > 0 ? (distance - 1) / std::abs(stride) + 1 : 0;
    first += begin * steps[axis];
    steps[axis] *= stride;
  }
  call.give(taken(x, places_of(part, steps, first), part));
}

/// Parts of an axis, also those of one index each (Unbind).
void split(const Call& call) {
  const Array& x = call.in();
  const std::size_t axis = call.axis(x.shape.size(), 0);
  const Integers steps = steps_of_shape(x.shape);
  std::int64_t first = 0;
  for (std::size_t i = 0; i < call.outputs(); ++i) {
    Shape part = x.shape;
    part[axis] = call.kind() == "Unbind" ? 1 : call.shape(i)[axis];
    call.give(taken(x, places_of(part, steps, first * steps[axis]), part), i);
    first += part[axis];
  }
}

/// Tensors one behind the other along an axis, which Stack adds.
void join(const Call& call) {
  const Shape& whole = call.shape();
  const std::size_t axis = call.axis(whole.size());
  const Integers to = steps_of_shape(whole);
  Array made = call.make();
  std::int64_t first = 0;
  for (std::size_t i = 0; i < call.count("X"); ++i) {
    const Array& x = call.in("X", i);
    Shape part = x.shape;
    if (call.kind() == "Stack") part.insert(part.begin() + static_cast<std::ptrdiff_t>(axis), 1);
    const Integers places = places_of(part, to, first * to[axis]);
    for (std::size_t k = 0; k < places.size(); ++k) {
      const auto place = static_cast<std::size_t>(places[k]);
      if (made.is_real()) {
        made.reals.at(place) = x.reals.at(k);
      } else {
        made.integers.at(place) = x.integers.at(k);
      }
    }
    first += part[axis];
  }
  call.give(std::move(made));
}

void expand(const Call& call) {
  call.give(taken(call.in(), repeated_places(call.in().shape, call.shape()), call.shape()));
}

/// All values of an axis, so many times one after the other.
void tile(const Call& call) {
  const Array& x = call.in();
  Shape from = x.shape;
  from.insert(from.begin(), call.shape().size() - from.size(), 1);
  Shape split;  // each axis as its repetitions and its values
  Integers steps;
  const Integers own = steps_of_shape(from);
  for (std::size_t i = 0; i < from.size(); ++i) {
    split.push_back(from[i] == 0 ? 0 : call.shape()[i] / from[i]);
    split.push_back(from[i]);
    steps.push_back(0);
    steps.push_back(own[i]);
  }
  call.give(taken(x, places_of(split, steps), call.shape()));
}

/// The axes that an attribute `axis` lists, each with a number of another attribute.
std::vector<std::size_t> listed_axes(const Call& call, std::size_t rank) {
  std::vector<std::size_t> axes;
  for (const std::int64_t given : call.integers("axis")) {
    axes.push_back(call.view().axis(given, rank));
  }
  return axes;
}

/// Moves each value along some axes, by a function of its index and the size of the axis.
template <typename From>
void move_along(const Call& call, const std::vector<std::size_t>& axes, const From& from) {
  const Array& x = call.in();
  Array made = x;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const Lines lines = lines_of(x.shape, axes[i]);
    Integers places(x.count());
    lines.each([&](std::int64_t first) {
      for (std::int64_t k = 0; k < lines.count; ++k) {
        places[lines.at(first, k)] = first + from(i, k, lines.count) * lines.inner;
      }
    });
    made = taken(made, places, x.shape);
  }
  call.give(std::move(made));
}

void flip(const Call& call) {
  move_along(call, listed_axes(call, call.in().shape.size()),
             [](std::size_t, std::int64_t k, std::int64_t size) { return size - 1 - k; });
}

void roll(const Call& call) {
  const Integers shifts = call.integers("shifts");
  move_along(call, listed_axes(call, call.in().shape.size()),
             [&](std::size_t i, std::int64_t k, std::int64_t size) {
               const std::int64_t at = (k - shifts[i] % size) % size;
               return at < 0 ? at + size : at;
             });
}

/// The axes that a Pad names, in the order of its numbers.
Integers padded_axes(const Call& call, std::size_t rank) {
  if (call.view().has_attribute("data_format")) {  // Paddle begins with the last one of the image
    return call.channels_last() ? Integers{3, 2, 1} : Integers{4, 3, 2};
  }
  Integers all(rank);
  std::iota(all.begin(), all.end(), 0);
  return call.integers("axes", all);
}

/// The index that stands at a place around the values 0 to size - 1; -1: none.
std::int64_t padded_index(const std::string& mode, std::int64_t at, std::int64_t size) {
  if (at >= 0 && at < size) return at;
  if (mode == "constant" || size == 0) return -1;
  if (mode == "edge" || mode == "replicate") return std::clamp<std::int64_t>(at, 0, size - 1);
  if (mode == "wrap" || mode == "circular") return (at % size + size) % size;
  const std::int64_t period = std::max<std::int64_t>(2 * (size - 1), 1);  // reflect
  const std::int64_t place = (at % period + period) % period;
  return place < size ? place : period - place;
}

/// Axis by axis. Negative numbers take values off.
void pad(const Call& call) {
  const std::string mode = call.text("mode", "constant");
  const double fill = mode == "constant" ? call.number("value", 0) : 0;
  const Integers pads = call.integers("pads");
  Array made = call.in();
  const Integers axes = padded_axes(call, made.shape.size());
  const bool pairs = call.flag("in_pairs");
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = call.view().axis(axes[i], made.shape.size());
    const std::int64_t before = pads[pairs ? 2 * i : i];
    Shape shape = made.shape;
    shape[axis] = call.shape()[axis];
    const Lines from = lines_of(made.shape, axis);
    Integers places(static_cast<std::size_t>(count_of(shape)));
    for (std::size_t k = 0; k < places.size(); ++k) {
      const auto place = static_cast<std::int64_t>(k);
      const std::int64_t at = place / from.inner % shape[axis] - before;
      const std::int64_t index = padded_index(mode, at, from.count);
      const std::int64_t line = place / from.inner / shape[axis] * from.count;
      places[k] = index < 0 ? -1 : (line + index) * from.inner + place % from.inner;
    }
    made = taken(made, places, shape, fill);
  }
  call.give(std::move(made));
}

/// A Reshape to more axes, a Transpose, and a Reshape to the result.
Array turned(const Array& x, const Shape& split, const std::vector<std::size_t>& order) {
  const Integers steps = steps_of_shape(split);
  Shape shape;
  Integers from;
  for (const std::size_t axis : order) {
    shape.push_back(split[axis]);
    from.push_back(steps[axis]);
  }
  return taken(x, places_of(shape, from), shape);
}

/// Blocks of pixels out of channels. With mode CRD the pixels of a block are the last part of the
/// channel's number, else the first one.
void depth_to_space(const Call& call) {
  const Shape& s = call.in().shape;
  const std::int64_t b = call.integer("upscale_factor");
  const bool pixels_last = call.text("mode", "DCR") == "CRD";
  const std::int64_t channels = call.shape()[call.channel_axis()];
  if (call.channels_last()) {
    const Shape split = pixels_last ? Shape{s[0], s[1], s[2], channels, b, b}
                                    : Shape{s[0], s[1], s[2], b, b, channels};
    return call.give(turned(call.in(), split,
                            pixels_last ? std::vector<std::size_t>{0, 1, 4, 2, 5, 3}
                                        : std::vector<std::size_t>{0, 1, 3, 2, 4, 5}));
  }
  const Shape split = pixels_last ? Shape{s[0], channels, b, b, s[2], s[3]}
                                  : Shape{s[0], b, b, channels, s[2], s[3]};
  call.give(turned(call.in(), split,
                   pixels_last ? std::vector<std::size_t>{0, 1, 4, 2, 5, 3}
                               : std::vector<std::size_t>{0, 3, 4, 1, 5, 2}));
}

/// Channels out of blocks of pixels.
void space_to_depth(const Call& call) {
  const Shape& s = call.in().shape;
  const std::int64_t b = call.integer("downscale_factor");
  const bool pixels_last = call.text("mode", "DCR") == "CRD";
  if (call.channels_last()) {
    const Shape split = {s[0], s[1] / b, b, s[2] / b, b, s[3]};
    return call.give(turned(call.in(), split,
                            pixels_last ? std::vector<std::size_t>{0, 1, 3, 5, 2, 4}
                                        : std::vector<std::size_t>{0, 1, 3, 2, 4, 5}));
  }
  const Shape split = {s[0], s[1], s[2] / b, b, s[3] / b, b};
  call.give(turned(call.in(), split,
                   pixels_last ? std::vector<std::size_t>{0, 1, 3, 5, 2, 4}
                               : std::vector<std::size_t>{0, 3, 5, 1, 2, 4}));
}

void shuffle_channels(const Call& call) {
  const Array& x = call.in();
  const std::int64_t groups = call.integer("group");
  const std::size_t axis = call.channel_axis();
  const Lines lines = lines_of(x.shape, axis);
  const Shape split = {lines.outer, groups, lines.count / groups, lines.inner};
  call.give(turned(x, split, {0, 2, 1, 3}));
}

/// Each vector along its own axis.
void mesh(const Call& call) {
  for (std::size_t i = 0; i < call.count("X"); ++i) {
    const Array& x = call.in("X", i);
    Integers steps(call.shape(i).size());
    if (x.count() > 1) steps[i] = 1;
    call.give(taken(x, places_of(call.shape(i), steps), call.shape(i)), i);
  }
}

/// The part of matrices above or below a diagonal, and zeros.
void triangle(const Call& call) {
  Array made = call.in();
  const bool upper =
      call.view().has_attribute("lower") ? !call.flag("lower") : call.flag("upper", true);
  const std::int64_t k = call.integer("k", 0);
  const std::int64_t columns = made.shape.back();
  const std::int64_t rows = *(made.shape.end() - 2);
  for (std::size_t i = 0; i < made.count(); ++i) {
    const auto at = static_cast<std::int64_t>(i);
    const std::int64_t column = at % columns;
    const std::int64_t row = at / columns % rows;
    // In this form k may be any integer.
    const bool stays = upper ? k <= column - row : k >= column - row;
    if (!stays) made.set(i, 0);
  }
  call.give(std::move(made));
}

constexpr Definition kDefinitions[] = {
    {"Identity Reshape Flatten FlattenRange Squeeze Unsqueeze", rearrange},
    {"Transpose", transpose},
    {"Slice", slice},
    {"Split Unbind", split},
    {"Concat Stack", join},
    {"Expand", expand},
    {"Tile", tile},
    {"Flip", flip},
    {"Roll", roll},
    {"Pad", pad},
    {"DepthToSpace", depth_to_space},
    {"SpaceToDepth", space_to_depth},
    {"ChannelShuffle", shuffle_channels},
    {"Meshgrid", mesh},
    {"Trilu", triangle},
};

}  // namespace

Definitions move_definitions() { return {std::begin(kDefinitions), std::end(kDefinitions)}; }

}  // namespace lenet::plain

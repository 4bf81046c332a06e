// Definitions of operators that read or write values at places that indices name.

#include <algorithm>
#include <string>

#include "engines/plain/call.h"
#include "model/element_types.h"

namespace lenet::plain {
namespace {

/// An index of an axis, from its begin or from its end.
std::int64_t place_in(const Call& call, std::int64_t index, std::int64_t size) {
  call.view().require(index >= -size && index < size, "an index out of range");
  return index < 0 ? index + size : index;
}

/// Parts of an axis. Of Paddle the part that padding_idx names counts as zeros.
void gather(const Call& call) {
  const Array& x = call.in();
  const Array& indices = call.in("Indices");
  const Lines lines = lines_of(x.shape, call.axis(x.shape.size(), 0));
  const std::int64_t zeros = call.integer("padding_idx", -1);
  Integers places;
  for (std::int64_t o = 0; o < lines.outer; ++o) {
    for (const std::int64_t index : indices.integers) {
      const std::int64_t first =
          (o * lines.count + place_in(call, index, lines.count)) * lines.inner;
      const bool is_zero = zeros >= 0 && index == zeros;
      for (std::int64_t i = 0; i < lines.inner; ++i) places.push_back(is_zero ? -1 : first + i);
    }
  }
  call.give(taken(x, places, call.shape()));
}

/// For each index the place in X: at the index along an axis, and at its own place along others.
Integers places_of_elements(const Call& call, const Array& x, const Array& indices) {
  const std::size_t axis = call.axis(x.shape.size(), 0);
  const Integers steps = steps_of_shape(x.shape);
  Integers others = steps;
  others[axis] = 0;
  bool fits = indices.shape.size() == x.shape.size();
  for (std::size_t i = 0; fits && i < x.shape.size(); ++i) {
    fits = i == axis || indices.shape[i] <= x.shape[i];
  }
  call.view().require(fits, "the shape of the indices");
  Integers places = places_of(indices.shape, others);
  for (std::size_t i = 0; i < places.size(); ++i) {
    places[i] += place_in(call, indices.integers[i], x.shape[axis]) * steps[axis];
  }
  return places;
}

void gather_elements(const Call& call) {
  const Array& x = call.in();
  call.give(taken(x, places_of_elements(call, x, call.in("Indices")), call.shape()));
}

/// For each value of the parts that the last axis of indices names, the place in X.
Integers places_of_parts(const Call& call, const Array& x, const Array& indices) {
  const auto batch = static_cast<std::size_t>(call.integer("batch_dims", 0));
  const std::int64_t axes = indices.shape.back();
  const Integers steps = steps_of_shape(x.shape);
  const auto first_inner = x.shape.begin() + static_cast<std::ptrdiff_t>(batch) + axes;
  const std::int64_t inner = count_of(Shape(first_inner, x.shape.end()));
  const std::int64_t parts = axes == 0
                                 ? count_of(Shape(indices.shape.begin(), indices.shape.end() - 1))
                                 : static_cast<std::int64_t>(indices.count()) / axes;
  const std::int64_t batches =
      count_of(Shape(x.shape.begin(), x.shape.begin() + static_cast<std::ptrdiff_t>(batch)));
  const std::int64_t of_batch = batches == 0 ? 0 : static_cast<std::int64_t>(x.count()) / batches;
  Integers places;
  for (std::int64_t part = 0; part < parts; ++part) {
    std::int64_t at =
        batches == 0 ? 0 : part / std::max<std::int64_t>(parts / batches, 1) * of_batch;
    for (std::int64_t i = 0; i < axes; ++i) {
      const std::size_t axis = batch + static_cast<std::size_t>(i);
      const std::int64_t index = indices.integers[static_cast<std::size_t>(part * axes + i)];
      at += place_in(call, index, x.shape[axis]) * steps[axis];
    }
    for (std::int64_t i = 0; i < inner; ++i) places.push_back(at + i);
  }
  return places;
}

void gather_parts(const Call& call) {
  const Array& x = call.in();
  call.give(taken(x, places_of_parts(call, x, call.in("Indices")), call.shape()));
}

/// X with other numbers at some places, or with numbers added and so on. Where a place is named
/// twice, the last one counts.
void scatter(const Call& call) {
  Array made = call.in();
  const Array& updates = call.in("Updates");
  const Array& indices = call.in("Indices");
  const std::string how = call.text("reduction", "none");
  const Integers places = call.kind() == "ScatterND" ? places_of_parts(call, made, indices)
                                                     : places_of_elements(call, made, indices);
  call.view().require(places.size() == updates.count() && updates.is_real() == made.is_real(),
                      "the number or type of the updates");
  const auto joined = [&](auto before, auto update) {
    if (how == "add") return before + update;
    if (how == "mul") return before * update;
    if (how == "max") return std::max(before, update);
    if (how == "min") return std::min(before, update);
    return update;
  };
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto at = static_cast<std::size_t>(places[i]);
    if (made.is_real()) {
      made.reals[at] = joined(made.reals[at], updates.reals[i]);
    } else {
      const auto number = joined(static_cast<std::uint64_t>(made.integers[at]),
                                 static_cast<std::uint64_t>(updates.integers[i]));
      const bool orders = how == "max" || how == "min";
      made.integers[at] = orders ? joined(made.integers[at], updates.integers[i])
                                 : wrapped(made.dtype, static_cast<std::int64_t>(number));
    }
  }
  call.give(std::move(made));
}

/// X with other numbers in a slice, along which they are repeated.
void set_value(const Call& call) {
  Array made = call.in();
  Array values;
  if (call.has("Values")) {
    values = call.in("Values");
  } else {
    values = make_array(made.dtype, call.integers("shape"));
    const Numbers numbers = call.numbers("values");
    for (std::size_t i = 0; i < values.count(); ++i) values.set(i, numbers.at(i));
  }
  const Integers starts = call.integers("starts");
  const Integers ends = call.integers("ends");
  const Integers strides = call.integers("steps");
  const Integers axes = call.integers("axes");
  Shape part = made.shape;
  Integers steps = steps_of_shape(made.shape);
  std::int64_t first = 0;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = call.view().axis(axes[i], part.size());
    const std::int64_t size = made.shape[axis];
    const auto place = [&](std::int64_t given) {
      return std::clamp<std::int64_t>(given < 0 ? std::max(given, -size) + size : given, 0, size);
    };
    const std::int64_t distance = place(ends[i]) - place(starts[i]);
    part[axis] = distance > 0 ? (distance - 1) / strides[i] + 1 : 0;
    first += place(starts[i]) * steps[axis];
    steps[axis] *= strides[i];
  }
  const Integers places = places_of(part, steps, first);
  Shape kept;  // without the axes that the values do not have
  std::vector<bool> dropped(part.size());
  for (const std::int64_t given : call.integers("decrease_axes")) {
    dropped[call.view().axis(given, part.size())] = true;
  }
  for (std::size_t i = 0; i < part.size(); ++i) {
    if (!dropped[i]) kept.push_back(part[i]);
  }
  const Integers from = repeated_places(values.shape, kept);
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto at = static_cast<std::size_t>(places[i]);
    const auto value = static_cast<std::size_t>(from[i]);
    if (made.is_real()) {
      made.reals[at] = values.reals[value];
    } else {
      made.integers[at] = values.integers[value];
    }
  }
  call.give(std::move(made));
}

/// For each index a row of numbers, one of which is another. Of Paddle they are 0 and 1.
void one_hot(const Call& call) {
  const Array& x = call.in();
  Array made = call.make();
  const Lines lines = lines_of(call.shape(), call.axis(call.shape().size(), -1, "place"));
  const bool listed = call.has("Values");
  const double off = listed ? call.in("Values").number(0) : 0;
  const double on = listed ? call.in("Values").number(1) : 1;
  std::size_t at = 0;
  for (std::size_t i = 0; i < made.count(); ++i) made.set(i, off);
  lines.each([&](std::int64_t first) {
    const std::int64_t given = make_integer(x.number(at++));
    const std::int64_t index = given < 0 ? given + lines.count : given;
    if (index >= 0 && index < lines.count) made.set(lines.at(first, index), on);
  });
  call.give(std::move(made));
}

constexpr Definition kDefinitions[] = {
    {"Gather", gather},         {"GatherElements", gather_elements},
    {"GatherND", gather_parts}, {"ScatterElements ScatterND", scatter},
    {"SetValue", set_value},    {"OneHot", one_hot},
};

}  // namespace

Definitions indexing_definitions() { return {std::begin(kDefinitions), std::end(kDefinitions)}; }

}  // namespace lenet::plain

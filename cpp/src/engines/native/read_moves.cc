// Operators that move values, leave them as they are or write over some, and constants.

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "engines/native/network_reader.h"
#include "engines/native/read_network.h"
#include "model/index_slices.h"
#include "model/rules/support.h"

namespace lenet::native {
namespace {

/// Gives X with other values in a part of it.
/// \param name the argument that has them \param given their shape, of the rank of X
/// \param part the shape of the part \param to the steps of its axes in X
/// \param first the place in X of its first value
void write_over(NetworkReader& reader, const char* name, const Shape& given, const Shape& part,
                const Integers& to, std::int64_t first) {
  Integers from = steps_of(given);
  for (std::size_t axis = 0; axis < part.size(); ++axis) {
    reader.require(given[axis] == 1 || given[axis] == part[axis],
                   "kernel for tensors of such different shapes");
    if (given[axis] == 1) from[axis] = 0;
  }
  Box over = box_of(part, from, to);
  over.input = 1;
  over.to = first;
  const Shape whole = reader.sizes("X");
  const std::size_t under = reader.tensor_or_constant("X");
  Layer& made = reader.layer(LayerKind::Copy, {under, reader.tensor_or_constant(name)});
  made.get<CopyParams>().boxes = {box_of(whole, steps_of(whole), steps_of(whole)), std::move(over)};
}

/// Reads a SetValue, which writes other values over a part of X.
void read_set_value(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  reader.require(view.has("Values"), "kernel for values that are written and not computed");
  const Shape whole = reader.sizes("X");
  const Integers steps = steps_of(whole);
  const Integers starts = view.integers("starts");
  const Integers ends = view.integers("ends");
  const Integers strides = view.integers("steps");
  const Integers axes = view.integers("axes");
  Shape part = whole;
  Integers to = steps;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = view.axis(axes[i], whole.size());
    const auto [begin, count, step] = strided_slice(starts[i], ends[i], strides[i], whole[axis]);
    reader.require(count > 0, "kernel for a part without values");
    part[axis] = count;
    first += begin * steps[axis];
    to[axis] *= step;
  }
  // The axes of one value that the values do not have.
  std::vector<std::size_t> dropped =
      distinct_axes(view, view.integers("decrease_axes"), whole.size());
  std::sort(dropped.begin(), dropped.end());
  Shape given = aligned(reader.sizes("Values"), whole.size() - dropped.size());
  for (const std::size_t axis : dropped) {
    given.insert(given.begin() + static_cast<std::ptrdiff_t>(axis), 1);
  }
  write_over(reader, "Values", given, part, to, first);
}

/// Reads a ScatterND that writes into a slice: read_index_slices says which one.
void read_scatter(NetworkReader& reader) {
  reader.require(reader.view().text("reduction", "none") == "none", "kernel for a reduction");
  const auto slices = read_index_slices(reader.graph(), reader.at(), reader.path());
  reader.require(slices.has_value(), "kernel for indices but those of a slice");
  const std::size_t of_images = reader.view().in("X").images.axis;
  const Shape whole = reader.sizes("X");
  Shape part = whole;
  Integers to = steps_of(whole);
  std::int64_t first = 0;
  for (std::size_t axis = 0; axis < slices->size(); ++axis) {
    if (axis == of_images) continue;  // each image has its own values
    const IndexSlice& slice = (*slices)[axis];
    part[axis] = slice.count;
    first += slice.start * to[axis];
    to[axis] *= slice.step;
  }
  write_over(reader, "Updates", reader.sizes("Updates"), part, to, first);
}

/// Reads a ScatterElements that writes one entry of an axis, as x[:, 2] = y is exported.
void read_scatter_elements(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  reader.require(view.text("reduction", "none") == "none", "kernel for a reduction");
  const Value* const indices = reader.constant("Indices");
  reader.require(indices != nullptr, "kernel for indices that are not constant");
  const auto place = number_as<std::int64_t>(*indices, 0);
  for (std::size_t i = 0; i < count_values(*indices); ++i) {
    reader.require(number_as<std::int64_t>(*indices, i) == place, "kernel for several indices");
  }
  Shape part = reader.sizes("X");
  const Integers to = steps_of(part);
  const std::size_t axis = view.axis(view.integer("axis", 0), part.size());
  const auto index = view.axis(place, static_cast<std::size_t>(part[axis]));
  part[axis] = 1;
  reader.require(reader.sizes("Updates") == part, "kernel for a part of an axis");
  write_over(reader, "Updates", part, part, to, static_cast<std::int64_t>(index) * to[axis]);
}

/// The number where no box goes to.
float read_fill(NetworkReader& reader) {
  const auto fill = static_cast<float>(reader.view().number("value", 0));
  reader.require(!std::isnan(fill), "kernel for such a value");
  return fill;
}

/// Adds a layer that moves boxes of the inputs to an output: as whole channels, if it can.
void add_move(NetworkReader& reader, std::vector<Box> boxes, const std::vector<std::size_t>& inputs,
              std::size_t index) {
  if (boxes.empty()) {  // all that it takes is cut away
    reader.add_filled(read_fill(reader), index);
    return;
  }
  const TensorShape to = reader.image_shape(reader.given_sizes(index));
  const TensorShape from = reader.shape_of(inputs[0]);
  bool same_pixels = true;
  bool joins = boxes.size() == inputs.size();  // all of one input after the other
  std::int64_t end = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const TensorShape& input = reader.shape_of(inputs[i]);
    same_pixels = same_pixels && input.height() == from.height() && input.width() == from.width();
    joins = joins && boxes[i].is_run(i, end, input.values());
    end += input.values();
  }
  joins = joins && end == to.values();  // nothing is left to be filled
  same_pixels = same_pixels && to.values() % from.pixels() == 0;
  LayerKind kind = LayerKind::Copy;
  const std::int64_t channels = to.values() / from.pixels();
  std::vector<ChannelSource> sources;
  if (same_pixels && joins) {
    kind = inputs.size() == 1 ? LayerKind::Identity : LayerKind::Concat;
  } else if (same_pixels) {
    sources = channel_sources(boxes, from.pixels(), channels);
    if (!sources.empty()) kind = LayerKind::Channels;
  }
  Layer& made = reader.layer(kind, inputs, index);
  if (kind == LayerKind::Channels) made.params = ChannelsParams{std::move(sources)};
  if (kind == LayerKind::Copy) {
    made.params = CopyParams{std::move(boxes), read_fill(reader)};
  } else {
    reader.set_shape(made.output, {channels, from.height(), from.width()});
  }
}

/// Reads an operator that changes the shape in the program alone. The layers after it see the whole
/// image as what is flattened.
void read_reshape(NetworkReader& reader) {
  const std::size_t input = reader.tensor("X");
  const std::int64_t values = reader.image_shape(reader.given_sizes()).values();
  reader.require(values == reader.shape_of(input).values(), "change of shape but of each image");
  reader.layer(LayerKind::Identity, {input});
}

/// Reads constants of more numbers than those few that the check has given a value.
void read_constant(NetworkReader& reader) { reader.fold(); }

void read_identity(NetworkReader& reader) { reader.add_identity(); }

void read_cast(NetworkReader& reader) {
  if (reader.constant("X") != nullptr) return reader.fold();  // to the type of what is computed
  const Value& cast = reader.view().declared("Out");
  reader.require(cast.dtype == kFloat32, "kernel for another type than float32");
  reader.add_identity();
}

constexpr OperatorRow kOperators[] = {
    {"Fill FillLike Constant Eye", read_constant},
    {"Identity", read_identity},
    {"Cast", read_cast},
    {"Reshape Flatten FlattenRange Squeeze Unsqueeze", read_reshape},
    {"SetValue", read_set_value},
    {"ScatterND", read_scatter},
    {"ScatterElements", read_scatter_elements},
};

}  // namespace

void read_moved(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  const std::size_t count = view.count("X");
  std::vector<std::size_t> inputs;
  std::vector<std::size_t> places(count);  // of each of the operator's inputs among those
  for (std::size_t i = 0; i < count; ++i) {
    places[i] = inputs.size();
    if (is_empty(reader.sizes("X", i))) continue;
    inputs.push_back(reader.tensor_or_constant("X", i));
  }
  reader.require(!inputs.empty(), "kernel for a tensor without values");
  const Value* const indices = view.count("Indices") > 0 ? reader.constant("Indices") : nullptr;
  // Operators that share indices may not take longer than as many weights.
  if (indices != nullptr) {
    reader.count_memory(static_cast<double>(count_values(*indices) * sizeof(std::int64_t)));
  }
  std::vector<Boxes> outputs = read_boxes(view, indices);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (is_empty(reader.given_sizes(i))) continue;
    for (Box& box : outputs[i]) box.input = places[box.input];
    add_move(reader, std::move(outputs[i]), inputs, i);
  }
}

OperatorRows moving_operators() { return {std::begin(kOperators), std::end(kOperators)}; }

}  // namespace lenet::native

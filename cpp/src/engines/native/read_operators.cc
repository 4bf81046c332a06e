#include <algorithm>
#include <cmath>
#include <utility>

#include "engines/native/network_reader.h"
#include "engines/native/read_network.h"
#include "model/index_slices.h"
#include "model/rules/support.h"

namespace lenet::native {

void NetworkReader::read_moved() {
  const std::size_t count = view_->count("X");
  std::vector<std::size_t> inputs;
  std::vector<std::size_t> places(count);  // of each of the operator's inputs among those
  for (std::size_t i = 0; i < count; ++i) {
    places[i] = inputs.size();
    if (is_empty(sizes("X", i))) continue;
    const bool computed = is_computed(value("X", i));
    inputs.push_back(computed ? tensor("X", i) : add_constant("X", i));
  }
  const Value* const indices = view_->count("Indices") > 0 ? constant("Indices") : nullptr;
  // Operators that share indices may not take longer than as many weights.
  if (indices != nullptr) {
    layer_memory_.add(static_cast<double>(count_values(*indices) * sizeof(std::int64_t)));
  }
  std::vector<Boxes> outputs = read_boxes(*view_, indices);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (is_empty(given_sizes(i))) continue;
    for (Box& box : outputs[i]) box.input = places[box.input];
    move(std::move(outputs[i]), inputs, i);
  }
}

std::size_t NetworkReader::add_constant(const std::string& name, std::size_t index) {
  std::vector<float> held = numbers(name, index);
  const std::size_t made = network_.add_tensor(image_shape(constant(name, index)->shape));
  Layer& layer = network_.add_layer(LayerKind::Constant, "constant of " + type(), {}, made);
  layer.params = ConstantParams{std::move(held)};
  layer_memory_.add(bytes_of(layer));
  return made;
}

void NetworkReader::read_set_value() {
  require(view_->has("Values"), "kernel for values that are written and not computed");
  const Shape whole = sizes("X");
  const Integers steps = steps_of(whole);
  const Integers starts = view_->integers("starts");
  const Integers ends = view_->integers("ends");
  const Integers strides = view_->integers("steps");
  const Integers axes = view_->integers("axes");
  Shape part = whole;
  Integers to = steps;
  std::int64_t first = 0;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = view_->axis(axes[i], whole.size());
    const auto [begin, count, step] = strided_slice(starts[i], ends[i], strides[i], whole[axis]);
    require(count > 0, "kernel for a part without values");
    part[axis] = count;
    first += begin * steps[axis];
    to[axis] *= step;
  }
  // The axes of one value that the values do not have.
  std::vector<std::size_t> dropped =
      distinct_axes(*view_, view_->integers("decrease_axes"), whole.size());
  std::sort(dropped.begin(), dropped.end());
  Shape given = aligned(sizes("Values"), whole.size() - dropped.size());
  for (const std::size_t axis : dropped) {
    given.insert(given.begin() + static_cast<std::ptrdiff_t>(axis), 1);
  }
  write_over("Values", given, part, to, first);
}

void NetworkReader::read_scatter() {
  require(view_->text("reduction", "none") == "none", "kernel for a reduction");
  const auto slices = read_index_slices(graph_, at_, path_);
  require(slices.has_value(), "kernel for indices but those of a slice");
  const Shape whole = sizes("X");
  Shape part = whole;
  Integers to = steps_of(whole);
  std::int64_t first = 0;
  for (std::size_t axis = 0; axis < slices->size(); ++axis) {
    if (axis == graph_.values[value("X")].images.axis) continue;  // each image has its own values
    const IndexSlice& slice = (*slices)[axis];
    part[axis] = slice.count;
    first += slice.start * to[axis];
    to[axis] *= slice.step;
  }
  write_over("Updates", sizes("Updates"), part, to, first);
}

void NetworkReader::read_scatter_elements() {
  require(view_->text("reduction", "none") == "none", "kernel for a reduction");
  const Value* const indices = constant("Indices");
  require(indices != nullptr, "kernel for indices that are not constant");
  const auto place = number_as<std::int64_t>(*indices, 0);
  for (std::size_t i = 0; i < count_values(*indices); ++i) {
    require(number_as<std::int64_t>(*indices, i) == place, "kernel for several indices");
  }
  Shape part = sizes("X");
  const Integers to = steps_of(part);
  const std::size_t axis = view_->axis(view_->integer("axis", 0), part.size());
  const auto index = view_->axis(place, static_cast<std::size_t>(part[axis]));
  part[axis] = 1;
  require(sizes("Updates") == part, "kernel for a part of an axis");
  write_over("Updates", part, part, to, static_cast<std::int64_t>(index) * to[axis]);
}

void NetworkReader::write_over(const char* name, const Shape& given, const Shape& part,
                               const Integers& to, std::int64_t first) {
  Integers from = steps_of(given);
  for (std::size_t axis = 0; axis < part.size(); ++axis) {
    require(given[axis] == 1 || given[axis] == part[axis],
            "kernel for tensors of such different shapes");
    if (given[axis] == 1) from[axis] = 0;
  }
  Box over = box_of(part, from, to);
  over.input = 1;
  over.to = first;
  const auto operand = [&](const char* of) {
    return is_computed(value(of)) ? tensor(of) : add_constant(of);
  };
  const Shape whole = sizes("X");
  const std::size_t under = operand("X");
  Layer& made = layer(LayerKind::Copy, {under, operand(name)});
  made.get<CopyParams>().boxes = {box_of(whole, steps_of(whole), steps_of(whole)), std::move(over)};
}

void NetworkReader::move(std::vector<Box> boxes, const std::vector<std::size_t>& inputs,
                         std::size_t index) {
  const TensorShape to = image_shape(given_sizes(index));
  const TensorShape from = shape_of(inputs[0]);
  bool same_pixels = true;
  bool joins = boxes.size() == inputs.size();  // all of one input after the other
  std::int64_t end = 0;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const TensorShape& input = shape_of(inputs[i]);
    same_pixels &= input.height() == from.height() && input.width() == from.width();
    joins &= boxes[i].is_run(i, end, input.values());
    end += input.values();
  }
  joins &= end == to.values();  // nothing is left to be filled
  same_pixels &= to.values() % from.pixels() == 0;
  LayerKind kind = LayerKind::Copy;
  const std::int64_t channels = to.values() / from.pixels();
  std::vector<ChannelSource> sources;
  if (same_pixels && joins) {
    kind = inputs.size() == 1 ? LayerKind::Identity : LayerKind::Concat;
  } else if (same_pixels) {
    sources = channel_sources(boxes, from.pixels(), channels);
    if (!sources.empty()) kind = LayerKind::Channels;
  }
  Layer& made = layer(kind, inputs, index);
  if (kind == LayerKind::Channels) made.params = ChannelsParams{std::move(sources)};
  if (kind == LayerKind::Copy) {
    const auto fill = static_cast<float>(view_->number("value", 0));
    require(!std::isnan(fill), "kernel for such a value");
    made.params = CopyParams{std::move(boxes), fill};
  } else {
    network_.tensors[made.output].shape = {channels, from.height(), from.width()};
  }
}

void NetworkReader::read_reshape() {
  const std::size_t input = tensor("X");
  require(image_shape(given_sizes()).values() == shape_of(input).values(),
          "change of shape but of each image");
  layer(LayerKind::Identity, {input});
}

}  // namespace lenet::native

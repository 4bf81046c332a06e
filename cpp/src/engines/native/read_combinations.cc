// Operators that combine two values or more, or a value with constants.

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <optional>
#include <utility>

#include "engines/native/network_reader.h"
#include "engines/native/read_network.h"
#include "model/functions.h"

namespace lenet::native {
namespace {

/// An input by its argument and its place there.
using Input = std::pair<std::string, std::size_t>;

/// What is combined with a constant, and the number for each of its channels.
struct Operand {
  std::size_t tensor;
  std::vector<float> numbers;
};

/// What broadcasts as a layer that combines tensors of the same shape does.
/// \pre is_combination(kind)
BroadcastKind broadcast_of(LayerKind kind) {
  switch (facts_of(kind).combination) {
    case Combination::Add:
      return BroadcastKind::Add;
    case Combination::Subtract:
      return BroadcastKind::Subtract;
    case Combination::Multiply:
      return BroadcastKind::Multiply;
    case Combination::Divide:
      return BroadcastKind::Divide;
    case Combination::Maximum:
      return BroadcastKind::Maximum;
    case Combination::Minimum:
      return BroadcastKind::Minimum;
    case Combination::PRelu:
    case Combination::Scale:
      break;
  }
  return BroadcastKind::PRelu;
}

/// Loops over the values of a shape, along which operands of as many dimensions are repeated where
/// they have the size 1.
std::vector<BroadcastLoop> broadcast_loops(const Shape& to, const std::vector<Shape>& operands) {
  std::vector<BroadcastLoop> loops;
  std::vector<Integers> steps;
  for (const Shape& operand : operands) steps.push_back(steps_of(operand));
  for (std::size_t axis = 0; axis < to.size(); ++axis) {
    if (to[axis] == 1) continue;
    BroadcastLoop loop{to[axis]};
    for (std::size_t i = 0; i < operands.size(); ++i) {
      loop.steps[i] = operands[i][axis] == 1 ? 0 : steps[i][axis];
    }
    const auto joins = [&](std::size_t i) {
      return loops.back().steps[i] == loop.steps[i] * loop.count;
    };
    if (!loops.empty() && joins(0) && joins(1) && joins(2)) {
      loops.back() = {loops.back().count * loop.count, loop.steps};
    } else {
      loops.push_back(loop);
    }
  }
  return loops;
}

/// Combines inputs that are repeated along any axes, constants among them.
Layer& add_broadcast(NetworkReader& reader, BroadcastKind kind, const std::vector<Input>& inputs) {
  const Shape to = reader.given_sizes();
  std::vector<BroadcastOperand> operands;
  std::vector<std::size_t> tensors;
  std::vector<Shape> shapes;
  for (const auto& [name, index] : inputs) {
    BroadcastOperand& operand = operands.emplace_back();
    Shape from = reader.sizes(name, index);
    if (!reader.is_computed(name, index)) {
      if (const Value* const found = reader.constant(name, index)) from = found->shape;
      operand.numbers = reader.numbers(name, index);
    } else {
      operand.input = tensors.size();
      tensors.push_back(reader.tensor(name, index));
    }
    reader.require(from.size() <= to.size(), "kernel for tensors of such different shapes");
    const Shape& repeated =
        shapes.emplace_back(aligned(from, to.size(), reader.view().integer("axis", -1)));
    for (std::size_t i = 0; i < to.size(); ++i) {
      reader.require(repeated[i] == 1 || repeated[i] == to[i],
                     "kernel for tensors of such different shapes");
    }
  }
  Layer& made = reader.layer(LayerKind::Broadcast, std::move(tensors));
  made.params = BroadcastParams{kind, std::move(operands), broadcast_loops(to, shapes)};
  return made;
}

/// Returns what a constant is combined with, and its numbers.
/// \param name the constant: one number, or one for each channel, such as [C, 1, 1]
/// \param whole the argument that it is repeated along
/// \returns nothing for a constant of another shape
std::optional<Operand> operand_along(NetworkReader& reader, const std::string& name,
                                     const std::string& whole) {
  const Value& found = reader.float_constant(name);
  const Shape from = reader.sizes(whole);
  const Shape to = reader.given_sizes();
  if (from != to || found.shape.size() > to.size()) return std::nullopt;
  const Shape of_constant = aligned(found.shape, to.size(), reader.view().integer("axis", -1));
  const auto other_than_1 = [](std::int64_t size) { return size != 1; };
  const auto count = std::count_if(of_constant.begin(), of_constant.end(), other_than_1);
  if (count == 0) {
    const std::size_t input = reader.tensor(whole);
    const auto channels = static_cast<std::size_t>(reader.shape_of(input).channels());
    return Operand{input, std::vector<float>(channels, reader.floats(name)[0])};
  }
  const bool of_channels = count == 1 && to.size() > 1 && of_constant[1] == to[1] &&
                           of_constant[1] != 1 && reader.has_image_axis(whole);
  if (!of_channels) return std::nullopt;
  return Operand{reader.with_channels(whole), reader.floats(name)};
}

/// Combines an operand with a constant. \param vector the argument that is constant
void combine_with_constant(NetworkReader& reader, LayerKind kind, const std::string& vector,
                           Operand operand) {
  const bool first = vector == "X";
  auto& [from, numbers] = operand;
  const std::size_t channels = numbers.size();
  if (kind == LayerKind::Maximum || kind == LayerKind::Minimum) {
    const bool one = std::equal(numbers.begin() + 1, numbers.end(), numbers.begin());
    if (!one) {
      add_broadcast(reader, broadcast_of(kind), {{"X", 0}, {"Y", 0}});
      return;
    }
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const bool max = kind == LayerKind::Maximum;
    const float bound = numbers[0];
    reader.layer(LayerKind::Activate, {from}).activation = {
        ActivationKind::Clip, max ? bound : -kInfinity, max ? kInfinity : bound};
    return;
  }
  if (kind == LayerKind::Divide && first) {
    Layer& made = reader.layer(LayerKind::Activate, {from});
    made.activation.kind = ActivationKind::Reciprocal;
    made.output = reader.add_tensor(reader.shape_of(from));
    from = made.output;
  } else if (kind == LayerKind::Divide) {
    for (float& number : numbers) number = 1 / number;
  }
  if (kind == LayerKind::Multiply || kind == LayerKind::Divide) {
    reader.channel_scale(from, std::move(numbers), std::vector<float>(channels));
    return;
  }
  const bool subtracts = kind == LayerKind::Subtract;
  if (subtracts && !first) {
    for (float& number : numbers) number = -number;
  }
  std::vector<float> scale(channels, subtracts && first ? -1.0F : 1.0F);
  reader.channel_scale(from, std::move(scale), std::move(numbers));
}

/// Combines X and Y, whichever of them is a constant.
void combine(NetworkReader& reader, LayerKind kind) {
  for (const auto& [vector, whole] : {std::pair("Y", "X"), std::pair("X", "Y")}) {
    if (reader.constant(vector) == nullptr || !reader.is_computed(whole)) continue;
    if (auto operand = operand_along(reader, vector, whole)) {
      return combine_with_constant(reader, kind, vector, *std::move(operand));
    }
    add_broadcast(reader, broadcast_of(kind), {{"X", 0}, {"Y", 0}});
    return;
  }
  const std::size_t a = reader.tensor("X");
  std::size_t b = reader.tensor("Y");
  const bool same = reader.sizes("X") == reader.sizes("Y");
  // A tensor that was reshaped may have kept its shape.
  if (same) b = reader.add_view(b, reader.shape_of(a));
  const auto is_vector = [&](std::size_t found) {
    return reader.shape_of(found).height() * reader.shape_of(found).width() == 1;
  };
  // Paddle 1 combines an image with a number for each of its channels so.
  const bool channels = reader.view().integer("axis", -1) == 0 && reader.shape("X").size() == 4 &&
                        reader.shape("Y").size() == 2;
  const bool repeats = reader.has_channels("X") && reader.has_channels("Y") &&
                       (reader.shape("X").size() == reader.shape("Y").size() || channels) &&
                       reader.has_image_axis("X") && reader.has_image_axis("Y") &&
                       reader.shape_of(a).channels() == reader.shape_of(b).channels() &&
                       (is_vector(a) || is_vector(b));
  if (!same && !repeats) {
    add_broadcast(reader, broadcast_of(kind), {{"X", 0}, {"Y", 0}});
    return;
  }
  const TensorShape result = reader.shape_of(is_vector(a) ? b : a);
  reader.layer(kind, {a, b});
  reader.set_shape(reader.given(), result);
}

template <LayerKind Kind>
void read_combination(NetworkReader& reader) {
  combine(reader, Kind);
}

template <BroadcastKind Kind>
void read_comparison(NetworkReader& reader) {
  add_broadcast(reader, Kind, {{"X", 0}, {"Y", 0}});
}

void read_where(NetworkReader& reader) {
  add_broadcast(reader, BroadcastKind::Where, {{"Condition", 0}, {"X", 0}, {"Y", 0}});
}

void read_not_equal(NetworkReader& reader) {
  Layer& made = add_broadcast(reader, BroadcastKind::Equal, {{"X", 0}, {"Y", 0}});
  const std::size_t equal = reader.add_tensor(reader.shape_of(reader.given()));
  made.output = equal;
  reader.layer(LayerKind::Activate, {equal}).activation = {
      ActivationKind::Scalar, 0, 0, [](double x, double, double) { return 1 - x; }};
}

/// Combines two values by a function that has no kernel of vectors.
void read_scalar_combination(NetworkReader& reader) {
  Layer& made = add_broadcast(reader, BroadcastKind::Scalar, {{"X", 0}, {"Y", 0}});
  made.get<BroadcastParams>().combine = read_combining_function(reader.view());
}

/// Whether X and another input have the same shape. Paddle would repeat one along the other, in
/// shapes that are the same for one image.
bool same_shapes(NetworkReader& reader, const std::string& name, std::size_t index) {
  return reader.sizes("X") == reader.sizes(name, index) &&
         reader.shape_of(reader.tensor("X")) == reader.shape_of(reader.tensor(name, index));
}

/// Scales all channels by the same numbers.
void scale_alike(NetworkReader& reader, std::size_t input, float scale, float bias) {
  const auto channels = static_cast<std::size_t>(reader.shape_of(input).channels());
  reader.channel_scale(input, std::vector<float>(channels, scale),
                       std::vector<float>(channels, bias));
}

/// Combines any number of values, one after the other.
void read_several(NetworkReader& reader) {
  const std::string_view kind = reader.op().kind;
  const std::size_t count = reader.view().count("X");
  const BroadcastKind how = kind == "Max"   ? BroadcastKind::Maximum
                            : kind == "Min" ? BroadcastKind::Minimum
                                            : BroadcastKind::Add;
  const bool alike = reader.is_computed("X") && (count == 1 || reader.is_computed("X", 1));
  if (count == 2 && kind != "Mean" && !(alike && same_shapes(reader, "X", 1))) {
    add_broadcast(reader, how, {{"X", 0}, {"X", 1}});
    return;
  }
  std::size_t result = reader.tensor("X");
  for (std::size_t i = 1; i < count; ++i) {
    reader.require(same_shapes(reader, "X", i), "kernel for tensors of such different shapes");
    Layer& made = reader.layer(kind == "Max"   ? LayerKind::Maximum
                               : kind == "Min" ? LayerKind::Minimum
                                               : LayerKind::Add,
                               {result, reader.tensor("X", i)});
    if (i + 1 < count || kind == "Mean") made.output = reader.add_tensor(reader.shape_of(result));
    result = made.output;
  }
  if (kind != "Mean" && count > 1) return;
  scale_alike(reader, result, 1 / static_cast<float>(count), 0);
}

void read_prelu(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  Operand operand{};
  if (!view.has_attribute("mode")) {
    reader.require(reader.constant("Alpha") != nullptr, "operator whose slopes are not constant");
    auto found = operand_along(reader, "Alpha", "X");
    if (!found) {
      add_broadcast(reader, BroadcastKind::PRelu, {{"X", 0}, {"Alpha", 0}});
      return;
    }
    operand = *std::move(found);
  } else {
    reader.require_channels_first();
    const std::string mode = view.text("mode");
    operand = {mode == "channel" ? reader.with_channels("X") : reader.tensor("X"),
               reader.floats("Alpha")};
    if (mode == "element") {
      operand.tensor = reader.add_view(operand.tensor, {reader.shape_of(operand.tensor).values()});
    }
    const auto channels = static_cast<std::size_t>(reader.shape_of(operand.tensor).channels());
    if (mode == "all") operand.numbers.resize(channels, operand.numbers[0]);
    reader.require(operand.numbers.size() == channels, "kernel for so many slopes");
  }
  reader.layer(LayerKind::PRelu, {operand.tensor}).params = ScaleParams{std::move(operand.numbers)};
}

/// Gives X * scale + bias.
void scale_all(NetworkReader& reader, double scale, double bias) {
  if (scale == 1 && bias == 0) return reader.add_identity();
  reader.require(std::isfinite(scale) && std::isfinite(bias), "scale that is not finite");
  scale_alike(reader, reader.tensor("X"), static_cast<float>(scale), static_cast<float>(bias));
}

void read_negation(NetworkReader& reader) { scale_all(reader, -1, 0); }

void read_dropout(NetworkReader& reader) {
  const bool scales = reader.view().text("mode", "") == "downgrade_in_infer";
  scale_all(reader, scales ? 1 - reader.view().number("p") : 1, 0);
}

void read_scale(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  const double scale = view.number("scale");
  const double bias = view.number("bias");
  scale_all(reader, scale, view.flag("bias_after_scale") ? bias : bias * scale);
}

/// Reads a power that products, a root and a division give.
void read_power(NetworkReader& reader) {
  const bool one = reader.op().kind != "Pow" || reader.view().count("Y") == 0 ||
                   (reader.constant("Y") != nullptr && count_values(*reader.constant("Y")) == 1 &&
                    reader.is_computed("X"));
  if (!one) {
    add_broadcast(reader, BroadcastKind::Power, {{"X", 0}, {"Y", 0}});
    return;
  }
  const double power = reader.op().kind == "Square"  ? 2
                       : reader.op().kind == "Rsqrt" ? -0.5
                                                     : reader.view().number("Y");
  const double size = std::abs(power);
  reader.require(size == 0.5 || size == 1 || size == 2 || size == 3 || size == 4,
                 "kernel for another power than 1/2, 1, 2, 3 and 4, or one divided by such");
  const std::size_t x = reader.tensor("X");
  std::size_t result = x;
  const auto add = [&](LayerKind kind, std::vector<std::size_t> inputs, ActivationKind function) {
    Layer& made = reader.add_layer(kind, x, reader.shape_of(x), "part of " + reader.type());
    made.inputs = std::move(inputs);
    made.activation.kind = function;
    result = made.output;
  };
  if (size == 0.5) add(LayerKind::Activate, {x}, ActivationKind::Sqrt);
  for (int i = 1; i < size; ++i) add(LayerKind::Multiply, {result, x}, ActivationKind::None);
  if (power < 0) add(LayerKind::Activate, {result}, ActivationKind::Reciprocal);
  reader.layer(LayerKind::Identity, {result});
}

constexpr OperatorRow kOperators[] = {
    {"Add", read_combination<LayerKind::Add>},
    {"Sub", read_combination<LayerKind::Subtract>},
    {"Mul", read_combination<LayerKind::Multiply>},
    {"Div", read_combination<LayerKind::Divide>},
    {"Maximum", read_combination<LayerKind::Maximum>},
    {"Minimum", read_combination<LayerKind::Minimum>},
    {"Equal", read_comparison<BroadcastKind::Equal>},
    {"Less", read_comparison<BroadcastKind::Less>},
    {"LessOrEqual", read_comparison<BroadcastKind::LessOrEqual>},
    {"Greater", read_comparison<BroadcastKind::Greater>},
    {"GreaterOrEqual", read_comparison<BroadcastKind::GreaterOrEqual>},
    {"And", read_comparison<BroadcastKind::And>},
    {"Or", read_comparison<BroadcastKind::Or>},
    {"Xor", read_comparison<BroadcastKind::Xor>},
    {"NotEqual", read_not_equal},
    {"Where", read_where},
    {"Mod FloorDiv", read_scalar_combination},
    {"Sum Mean Max Min", read_several},
    {"PRelu", read_prelu},
    {"Dropout", read_dropout},
    {"Scale", read_scale},
    {"Neg", read_negation},
    {"Pow Square Rsqrt", read_power},
};

}  // namespace

std::vector<float> repeated_numbers(const std::vector<float>& numbers, const Shape& from,
                                    const Shape& to) {
  std::vector<float> made(static_cast<std::size_t>(product(to, 0, to.size())));
  each_place(repeated_box(from, to), [&](std::int64_t one, std::int64_t place) {
    made[static_cast<std::size_t>(place)] = numbers[static_cast<std::size_t>(one)];
  });
  return made;
}

OperatorRows combination_operators() { return {std::begin(kOperators), std::end(kOperators)}; }

}  // namespace lenet::native

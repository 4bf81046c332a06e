#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "engines/native/network_reader.h"
#include "engines/native/read_network.h"
#include "model/functions.h"

namespace lenet::native {

namespace {

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

}  // namespace

std::vector<float> repeated_numbers(const std::vector<float>& numbers, const Shape& from,
                                    const Shape& to) {
  std::vector<float> made(static_cast<std::size_t>(product(to, 0, to.size())));
  each_place(repeated_box(from, to), [&](std::int64_t one, std::int64_t place) {
    made[static_cast<std::size_t>(place)] = numbers[static_cast<std::size_t>(one)];
  });
  return made;
}

std::optional<NetworkReader::Operand> NetworkReader::operand_along(const std::string& name,
                                                                   const std::string& whole) {
  const Value& found = float_constant(name);
  const Shape from = sizes(whole);
  const Shape to = given_sizes();
  if (from != to || found.shape.size() > to.size()) return std::nullopt;
  const Shape of_constant = aligned(found.shape, to.size(), view_->integer("axis", -1));
  const auto other_than_1 = [](std::int64_t size) { return size != 1; };
  const auto count = std::count_if(of_constant.begin(), of_constant.end(), other_than_1);
  if (count == 0) {
    const std::size_t input = tensor(whole);
    const auto channels = static_cast<std::size_t>(shape_of(input).channels());
    return Operand{input, std::vector<float>(channels, floats(name)[0])};
  }
  const bool of_channels = count == 1 && to.size() > 1 && of_constant[1] == to[1] &&
                           of_constant[1] != 1 && has_image_axis(whole);
  if (!of_channels) return std::nullopt;
  return Operand{with_channels(whole), floats(name)};
}

void NetworkReader::read_combination(LayerKind kind) {
  for (const auto& [vector, whole] : {std::pair("Y", "X"), std::pair("X", "Y")}) {
    if (constant(vector) == nullptr || !is_computed(value(whole))) continue;
    if (auto operand = operand_along(vector, whole)) {
      return combine_with_constant(kind, vector, *std::move(operand));
    }
    return read_broadcast(broadcast_of(kind), {{"X", 0}, {"Y", 0}});
  }
  const std::size_t a = tensor("X");
  std::size_t b = tensor("Y");
  const bool same = sizes("X") == sizes("Y");
  if (same) b = add_view(b, shape_of(a));  // one that was reshaped may have kept its shape
  const auto is_vector = [this](std::size_t found) {
    return shape_of(found).height() * shape_of(found).width() == 1;
  };
  // Paddle 1 combines an image with a number for each of its channels so.
  const bool channels =
      view_->integer("axis", -1) == 0 && shape("X").size() == 4 && shape("Y").size() == 2;
  const bool repeats = has_channels("X") && has_channels("Y") &&
                       (shape("X").size() == shape("Y").size() || channels) &&
                       has_image_axis("X") && has_image_axis("Y") &&
                       shape_of(a).channels() == shape_of(b).channels() &&
                       (is_vector(a) || is_vector(b));
  if (!same && !repeats) {
    return read_broadcast(broadcast_of(kind), {{"X", 0}, {"Y", 0}});
  }
  const TensorShape result = shape_of(is_vector(a) ? b : a);
  layer(kind, {a, b});
  network_.tensors[given()].shape = result;
}

void NetworkReader::read_broadcast(BroadcastKind kind, const std::vector<Input>& inputs) {
  const Shape to = given_sizes();
  std::vector<BroadcastOperand> operands;
  std::vector<std::size_t> tensors;
  std::vector<Shape> shapes;
  for (const auto& [name, index] : inputs) {
    BroadcastOperand& operand = operands.emplace_back();
    Shape from = sizes(name, index);
    if (!is_computed(value(name, index))) {
      if (const Value* const found = constant(name, index)) from = found->shape;
      operand.numbers = numbers(name, index);
    } else {
      operand.input = tensors.size();
      tensors.push_back(tensor(name, index));
    }
    require(from.size() <= to.size(), "kernel for tensors of such different shapes");
    const Shape& repeated =
        shapes.emplace_back(aligned(from, to.size(), view_->integer("axis", -1)));
    for (std::size_t i = 0; i < to.size(); ++i) {
      require(repeated[i] == 1 || repeated[i] == to[i],
              "kernel for tensors of such different shapes");
    }
  }
  Layer& made = layer(LayerKind::Broadcast, std::move(tensors));
  made.params = BroadcastParams{kind, std::move(operands), broadcast_loops(to, shapes)};
}

void NetworkReader::read_where() {
  read_broadcast(BroadcastKind::Where, {{"Condition", 0}, {"X", 0}, {"Y", 0}});
}

void NetworkReader::read_not_equal() {
  read_broadcast(BroadcastKind::Equal, {{"X", 0}, {"Y", 0}});
  const std::size_t equal = network_.add_tensor(shape_of(given()));
  network_.layers.back().output = equal;
  layer(LayerKind::Activate, {equal}).activation = {ActivationKind::Scalar, 0, 0,
                                                    [](double x, double, double) { return 1 - x; }};
}

void NetworkReader::read_scalar_combination() {
  read_broadcast(BroadcastKind::Scalar, {{"X", 0}, {"Y", 0}});
  network_.layers.back().get<BroadcastParams>().combine = read_combining_function(*view_);
}

bool NetworkReader::same_shapes(const std::string& name, std::size_t index) const {
  return sizes("X") == sizes(name, index) && shape_of(tensor("X")) == shape_of(tensor(name, index));
}

void NetworkReader::combine_with_constant(LayerKind kind, const std::string& vector,
                                          Operand operand) {
  const bool first = vector == "X";
  auto& [from, numbers] = operand;
  const std::size_t channels = numbers.size();
  if (kind == LayerKind::Maximum || kind == LayerKind::Minimum) {
    const bool one = std::equal(numbers.begin() + 1, numbers.end(), numbers.begin());
    if (!one) return read_broadcast(broadcast_of(kind), {{"X", 0}, {"Y", 0}});
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const bool max = kind == LayerKind::Maximum;
    const float bound = numbers[0];
    layer(LayerKind::Activate, {from}).activation = {ActivationKind::Clip, max ? bound : -kInfinity,
                                                     max ? kInfinity : bound};
    return;
  }
  if (kind == LayerKind::Divide && first) {
    Layer& made = layer(LayerKind::Activate, {from});
    made.activation.kind = ActivationKind::Reciprocal;
    made.output = network_.add_tensor(shape_of(from));
    from = made.output;
  } else if (kind == LayerKind::Divide) {
    for (float& number : numbers) number = 1 / number;
  }
  if (kind == LayerKind::Multiply || kind == LayerKind::Divide) {
    channel_scale(from, std::move(numbers), std::vector<float>(channels));
    return;
  }
  const bool subtracts = kind == LayerKind::Subtract;
  if (subtracts && !first) {
    for (float& number : numbers) number = -number;
  }
  std::vector<float> scale(channels, subtracts && first ? -1.0F : 1.0F);
  channel_scale(from, std::move(scale), std::move(numbers));
}

void NetworkReader::read_several() {
  const std::string_view kind = op_->kind;
  const std::size_t count = view_->count("X");
  const BroadcastKind how = kind == "Max"   ? BroadcastKind::Maximum
                            : kind == "Min" ? BroadcastKind::Minimum
                                            : BroadcastKind::Add;
  const bool alike = is_computed(value("X")) && (count == 1 || is_computed(value("X", 1)));
  if (count == 2 && kind != "Mean" && !(alike && same_shapes("X", 1))) {
    return read_broadcast(how, {{"X", 0}, {"X", 1}});
  }
  std::size_t result = tensor("X");
  for (std::size_t i = 1; i < count; ++i) {
    require(same_shapes("X", i), "kernel for tensors of such different shapes");
    Layer& made = layer(kind == "Max"   ? LayerKind::Maximum
                        : kind == "Min" ? LayerKind::Minimum
                                        : LayerKind::Add,
                        {result, tensor("X", i)});
    if (i + 1 < count || kind == "Mean") made.output = network_.add_tensor(shape_of(result));
    result = made.output;
  }
  if (kind != "Mean" && count > 1) return;
  scale_alike(result, 1 / static_cast<float>(count), 0);
}

void NetworkReader::read_prelu() {
  Operand operand{};
  if (!view_->has_attribute("mode")) {
    require(constant("Alpha") != nullptr, "operator whose slopes are not constant");
    auto found = operand_along("Alpha", "X");
    if (!found) return read_broadcast(BroadcastKind::PRelu, {{"X", 0}, {"Alpha", 0}});
    operand = *std::move(found);
  } else {
    require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
    const std::string mode = view_->text("mode");
    operand = {mode == "channel" ? with_channels("X") : tensor("X"), floats("Alpha")};
    if (mode == "element") {
      operand.tensor = add_view(operand.tensor, {shape_of(operand.tensor).values()});
    }
    const auto channels = static_cast<std::size_t>(shape_of(operand.tensor).channels());
    if (mode == "all") operand.numbers.resize(channels, operand.numbers[0]);
    require(operand.numbers.size() == channels, "kernel for so many slopes");
  }
  layer(LayerKind::PRelu, {operand.tensor}).params = ScaleParams{std::move(operand.numbers)};
}

void NetworkReader::scale_all(double scale, double bias) {
  if (scale == 1 && bias == 0) return read_identity();
  require(std::isfinite(scale) && std::isfinite(bias), "scale that is not finite");
  scale_alike(tensor("X"), static_cast<float>(scale), static_cast<float>(bias));
}

void NetworkReader::read_dropout() {
  const bool scales = view_->text("mode", "") == "downgrade_in_infer";
  scale_all(scales ? 1 - view_->number("p") : 1, 0);
}

void NetworkReader::read_scale() {
  const double scale = view_->number("scale");
  const double bias = view_->number("bias");
  scale_all(scale, view_->flag("bias_after_scale") ? bias : bias * scale);
}

void NetworkReader::read_power() {
  const bool one =
      op_->kind != "Pow" || view_->count("Y") == 0 ||
      (constant("Y") != nullptr && count_values(*constant("Y")) == 1 && is_computed(value("X")));
  if (!one) return read_broadcast(BroadcastKind::Power, {{"X", 0}, {"Y", 0}});
  const double power = op_->kind == "Square" ? 2 : op_->kind == "Rsqrt" ? -0.5 : view_->number("Y");
  const double size = std::abs(power);
  require(size == 0.5 || size == 1 || size == 2 || size == 3 || size == 4,
          "kernel for another power than 1/2, 1, 2, 3 and 4, or one divided by such");
  const std::size_t x = tensor("X");
  std::size_t result = x;
  const auto add = [&](LayerKind kind, std::vector<std::size_t> inputs, ActivationKind function) {
    Layer& made = add_layer(kind, x, shape_of(x), "part of " + type());
    made.inputs = std::move(inputs);
    made.activation.kind = function;
    result = made.output;
  };
  if (size == 0.5) add(LayerKind::Activate, {x}, ActivationKind::Sqrt);
  for (int i = 1; i < size; ++i) add(LayerKind::Multiply, {result, x}, ActivationKind::None);
  if (power < 0) add(LayerKind::Activate, {result}, ActivationKind::Reciprocal);
  layer(LayerKind::Identity, {result});
}

}  // namespace lenet::native

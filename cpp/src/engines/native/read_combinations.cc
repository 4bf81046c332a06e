#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "engines/native/network_reader.h"
#include "engines/native/read_network.h"

namespace lenet::native {

namespace {

/// As repeated_box has the shapes.
std::vector<float> repeated_numbers(const std::vector<float>& numbers, const Shape& from,
                                    const Shape& to) {
  std::vector<float> made(static_cast<std::size_t>(product(to, 0, to.size())));
  each_place(repeated_box(from, to), [&](std::int64_t one, std::int64_t place) {
    made[static_cast<std::size_t>(place)] = numbers[static_cast<std::size_t>(one)];
  });
  return made;
}

}  // namespace

NetworkReader::Operand NetworkReader::along(const std::string& name, const std::string& whole) {
  const Value& found = float_constant(name);
  const Shape& from = shape(whole);
  const Shape& to = graph_.values[given()].shape;
  require(found.shape.size() <= from.size(), "operator that mixes images");
  const Shape sizes = aligned(found.shape, from.size(), view_->integer("axis", -1));
  require(sizes[0] == 1, "operator that mixes images");
  const bool repeats = std::equal(from.begin() + 1, from.end(), to.begin() + 1, to.end());
  const auto other_than_1 = [](std::int64_t size) { return size != 1; };
  if (repeats && std::none_of(sizes.begin(), sizes.end(), other_than_1)) {
    const std::size_t input = tensor(whole);
    const auto channels = static_cast<std::size_t>(shape_of(input).channels);
    return {input, std::vector<float>(channels, floats(name)[0])};
  }
  if (repeats && sizes[1] == to[1] && std::none_of(sizes.begin() + 2, sizes.end(), other_than_1)) {
    return {with_channels(whole), floats(name)};
  }
  require(!quantized_, "kernel for this operator in int8");
  for (std::size_t i = 1; i < sizes.size(); ++i) {
    require(sizes[i] == 1 || sizes[i] == to[i], "kernel for tensors of such different shapes");
  }
  const TensorShape values{image_shape(to).values()};
  layer_memory_.add(static_cast<double>(values.channels) * sizeof(float));
  return {add_view(repeats ? tensor(whole) : repeated(whole), values),
          repeated_numbers(floats(name), image_of(sizes), image_of(to))};
}

void NetworkReader::read_combination(LayerKind kind) {
  require(kind == LayerKind::Add || !follows_onednn_, "kernel for this operator in int8");
  for (const auto& [vector, whole] : {std::pair("Y", "X"), std::pair("X", "Y")}) {
    if (constant(vector) == nullptr || !is_computed(value(whole))) continue;
    return combine_with_constant(kind, vector, along(vector, whole));
  }
  std::size_t a = tensor("X");
  std::size_t b = tensor("Y");
  const bool same = same_shapes("Y", 0);
  const auto is_vector = [this](std::size_t found) {
    return shape_of(found).height * shape_of(found).width == 1;
  };
  // Of Paddle 1: a number for each channel of each image.
  const bool channels =
      view_->integer("axis", -1) == 0 && shape("X").size() == 4 && shape("Y").size() == 2;
  const bool repeats = has_channels("X") && has_channels("Y") &&
                       (shape("X").size() == shape("Y").size() || channels) &&
                       shape_of(a).channels == shape_of(b).channels &&
                       (is_vector(a) || is_vector(b));
  if (!same && !repeats) {
    a = repeated("X");
    b = repeated("Y");
  }
  const TensorShape result = shape_of(is_vector(a) ? b : a);
  layer(kind, {a, b});
  network_.tensors[given()] = result;
}

std::size_t NetworkReader::repeated(const std::string& name) {
  const std::size_t from = shaped(name);
  const Shape& result = graph_.values[given()].shape;
  const TensorShape to = image_shape(result);
  if (shape_of(from) == to) return from;
  require(shape(name).size() == result.size(), "kernel for tensors of such different shapes");
  return add_copy(repeated_box(image_of(shape(name)), image_of(result)), from, to);
}

bool NetworkReader::same_shapes(const std::string& name, std::size_t index) const {
  const Shape& one = shape("X");
  const Shape& other = shape(name, index);
  return std::equal(one.begin() + 1, one.end(), other.begin() + 1, other.end()) &&
         shape_of(tensor("X")) == shape_of(tensor(name, index));
}

void NetworkReader::combine_with_constant(LayerKind kind, const std::string& vector,
                                          Operand operand) {
  const bool first = vector == "X";
  auto& [from, numbers] = operand;
  const std::size_t channels = numbers.size();
  if (kind == LayerKind::Maximum || kind == LayerKind::Minimum) {
    const bool one = std::equal(numbers.begin() + 1, numbers.end(), numbers.begin());
    require(one, "kernel for bounds that are not the same of all channels");
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
  Layer& made = channel_scale(from, std::move(scale), std::move(numbers));
  if (subtracts) return;
  made.fuses_into_previous = graph_.values[value(vector)].parameter;
  if (const auto found = dequantized_.find(value(vector)); found != dequantized_.end()) {
    made.bias_range = found->second;
  }
}

void NetworkReader::read_several() {
  const std::string_view kind = op_->kind;
  const std::size_t count = view_->count("X");
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
  require(!quantized_, "kernel for this operator in int8");
  Operand operand{};
  if (!view_->has_attribute("mode")) {
    require(constant("Alpha") != nullptr, "operator whose slopes are not constant");
    operand = along("Alpha", "X");
  } else {
    require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
    const std::string mode = view_->text("mode");
    operand = {mode == "channel" ? with_channels("X") : tensor("X"), floats("Alpha")};
    if (mode == "element") {
      operand.tensor = add_view(operand.tensor, {shape_of(operand.tensor).values()});
    }
    const auto channels = static_cast<std::size_t>(shape_of(operand.tensor).channels);
    if (mode == "all") operand.numbers.resize(channels, operand.numbers[0]);
    require(operand.numbers.size() == channels, "kernel for so many slopes");
  }
  layer(LayerKind::PRelu, {operand.tensor}).scale = std::move(operand.numbers);
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
  require(!follows_onednn_, "kernel for this operator in int8");
  const bool one =
      op_->kind != "Pow" || view_->count("Y") == 0 || count_values(view_->in("Y")) == 1;
  require(one, "kernel for powers of each element");
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

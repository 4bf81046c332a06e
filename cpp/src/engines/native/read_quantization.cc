#include <algorithm>
#include <cmath>
#include <cstring>

#include "engines/native/network_reader.h"

namespace lenet::native {
namespace {

/// Whether all integers of 8 bits, times this, are numbers that float32 holds.
bool is_scale(float scale) { return scale >= 0 && std::isfinite(255 * scale); }

}  // namespace

std::vector<float> NetworkReader::ranges(bool zero) const {
  const std::vector<float> found = floats("Scale");
  const bool sound = std::all_of(found.begin(), found.end(), [zero](float range) {
    return std::isfinite(range) && (zero ? range >= 0 : std::isnormal(range) && range > 0);
  });
  if (!sound) {
    refuse_program(path_, printable(op_->type) + " '" + graph_.values[given("Y")].name +
                              "' has a scale that is no positive number");
  }
  const Value* zeros = constant("ZeroPoint");
  bool symmetric = zeros != nullptr;
  for (std::size_t i = 0; symmetric && i < count_values(*zeros); ++i) {
    symmetric = number_at(*zeros, i) == 0;
  }
  require(symmetric, "quantization with another zero point than 0");
  require(view_->integer("round_type", 0) == 0 && view_->integer("qmin", -128) == -128 &&
              view_->integer("qmax", 127) == 127,
          "quantization but to the nearest of -128 to 127");
  return found;
}

// Operators that only observe count as well: Paddle's int8 does not look at that attribute.
void NetworkReader::read_quantize() {
  const float range = ranges(view_->flag("only_observer", false))[0];
  whole_[given("Y")] = range;
  if (constant("X") != nullptr) return keep_contents("Y");  // such as a bias
  Layer& made = layer(LayerKind::Identity, {tensor("X")}, "Y");
  if (std::isnormal(range)) made.quant.range = range;
}

void NetworkReader::read_dequantize() {
  if (const auto found = whole_.find(value("X")); found != whole_.end()) {
    require(ranges(true)[0] == found->second,
            "dequantization by another scale than it was quantized by");
    dequantized_[given("Y")] = found->second;
    if (constant("X") != nullptr) return keep_contents("Y");
    layer(LayerKind::Identity, {tensor("X")}, "Y");
    return;
  }
  const Value* weights = constant("X");
  require(weights != nullptr, "dequantization of what was not quantized");
  require(weights->data_dtype == kInt8, "dequantization of weights that are no int8");
  const QuantizedWeights& made =
      weights_[given("Y")] = {weights, ranges(true), view_->integer("quant_axis")};
  layer_memory_.add(static_cast<double>(made.ranges.size() * sizeof(float)));
}

QuantParams NetworkReader::quant_onnx() const {
  const std::vector<float> scale = floats("Scale");
  const Value* const zero = view_->has("ZeroPoint") ? constant("ZeroPoint") : nullptr;
  require(scale.size() == 1 && (zero != nullptr || !view_->has("ZeroPoint")),
          "kernel for scales but one number");
  if (!std::isnormal(scale[0]) || !is_scale(scale[0])) {
    refuse("has a scale that is no positive number, or too large");
  }
  QuantParams quant{scale[0], 1, 0};  // the integer 1 stands for the scale
  if (zero != nullptr) {
    quant.zero_point = static_cast<std::int32_t>(number_at(*zero, 0));
    if (zero->data_dtype == kInt8) quant.zero_point += 128;
  }
  return quant;
}

void NetworkReader::read_quantize_onnx() {
  const QuantParams quant = quant_onnx();
  layer(LayerKind::Quantize, {tensor("X")}, "Y").quant = quant;
  quants_[given("Y")] = quant;
}

void NetworkReader::read_dequantize_onnx() {
  if (const auto found = quants_.find(value("X")); found != quants_.end()) {
    require(quant_onnx() == found->second,
            "dequantization by another scale than it was quantized by");
    layer(LayerKind::Identity, {tensor("X")}, "Y");
    return;
  }
  const Value* const integers = constant("X");
  require(integers != nullptr, "dequantization of what was not quantized");
  const std::vector<float> scales = floats("Scale");
  if (!std::all_of(scales.begin(), scales.end(), is_scale)) {
    refuse("has a scale that is no positive number, or too large");
  }
  const Value* const zeros = view_->has("ZeroPoint") ? constant("ZeroPoint") : nullptr;
  for (std::size_t i = 0; zeros != nullptr && i < count_values(*zeros); ++i) {
    require(number_at(*zeros, i) == 0, "weights with another zero point than 0");
  }
  const std::size_t rank = integers->shape.size();
  const std::size_t axis = rank == 0 ? 0 : view_->axis(view_->integer("axis", 1), rank);
  const std::size_t count = count_values(*integers);
  if (integers->data_dtype == kInt8) {
    layer_memory_.add(static_cast<double>(scales.size() * sizeof(float)));
    weights_[given("Y")] = {integers, scales, static_cast<std::int64_t>(axis)};
    return;
  }
  // A bias, or another list of numbers.
  const std::size_t inner =
      static_cast<std::size_t>(product(integers->shape, std::min(axis + 1, rank), rank));
  std::string& numbers = fold("Y", 0, kFloat32);
  for (std::size_t i = 0; i < count; ++i) {
    const double scale = double{scales[i / inner % scales.size()]};
    const auto number = static_cast<float>(number_at(*integers, i) * scale);
    std::memcpy(&numbers[i * sizeof(float)], &number, sizeof(number));
  }
}

const Value* NetworkReader::weights(const std::string& name) const {
  const auto quantized = weights_.find(value(name));
  if (quantized != weights_.end()) return quantized->second.integers;
  const Value* found = constant(name);
  return found == nullptr || found->data_dtype == kInt8 ? nullptr : found;
}

void NetworkReader::give_weights(Layer& made, const std::string& name, std::size_t axis) const {
  const std::size_t outputs = made.bias.size();
  const auto outputs_first = [&](auto numbers) {
    if (axis == 0) return numbers;
    const std::size_t inputs = numbers.size() / outputs;
    decltype(numbers) turned(numbers.size());
    for (std::size_t o = 0; o < outputs; ++o) {
      for (std::size_t i = 0; i < inputs; ++i) turned[o * inputs + i] = numbers[i * outputs + o];
    }
    return turned;
  };
  const auto found = weights_.find(value(name));
  if (found == weights_.end()) {
    const Value& stored = float_constant(name);
    const std::size_t count = count_values(stored);
    if (quantized_ || stored.data_dtype != kFloat32) {  // to be rounded as Paddle does; in a list
      made.weights = outputs_first(floats_of(stored));
    } else {
      made.stored = {stored.data.data(), count, axis == 0 ? count / outputs : 1,
                     axis == 0 ? 1 : outputs};
    }
    return;
  }
  const auto& [integers, ranges, ranges_axis] = found->second;
  const bool single = ranges.size() == 1;
  require(single || ranges_axis == static_cast<std::int64_t>(axis),
          "scales but one for each output channel");
  made.integers =
      outputs_first(std::vector<std::int8_t>(integers->data.begin(), integers->data.end()));
  made.weight_scales = single ? std::vector<float>(outputs, ranges[0]) : ranges;
}

}  // namespace lenet::native

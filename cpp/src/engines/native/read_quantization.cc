#include <algorithm>
#include <cmath>
#include <utility>

#include "engines/native/network_reader.h"

namespace lenet::native {
namespace {

/// The integer whose value Paddle's operators store as their scale.
constexpr float kSteps = 127;

}  // namespace

std::vector<float> NetworkReader::ranges(bool zero) {
  const std::vector<float> found = floats("Scale");
  const bool sound = std::all_of(found.begin(), found.end(), [zero](float range) {
    return std::isfinite(range) && (zero ? range >= 0 : std::isnormal(range / kSteps) && range > 0);
  });
  if (!sound) {
    refuse_program(path_, printable(op_->type) + " '" + graph_.values[given()].name +
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

void NetworkReader::read_quantize() {
  const bool observes = view_->flag("only_observer", false);
  const std::vector<float> found = ranges(observes);
  whole_[given()] = found[0];
  const bool is_constant = constant("X") != nullptr;  // such as a bias
  if (observes && is_constant) return keep_contents();
  if (observes) return static_cast<void>(write_quantized(LayerKind::Identity));
  require(found.size() == 1, "kernel for scales but one number");
  const QuantParams quant = {found[0] / kSteps, 128};
  if (is_constant) return round_constant(quant);
  write_quantized(LayerKind::Quantize).get<QuantizeParams>().quant = quant;
  quants_[given()] = quant;
}

Layer& NetworkReader::write_quantized(LayerKind kind) {
  const bool again = is_computed(given());
  Layer& made = layer(kind, {tensor("X")});
  if (again) {
    made.output = network_.add_tensor(shape_of(given()));
    latest_[given()] = made.output;
    views_.erase(given());
    quants_.erase(given());
  }
  return made;
}

void NetworkReader::round_constant(const QuantParams& quant) {
  std::vector<float> numbers = floats("X");
  for (float& number : numbers) {
    const float steps = std::nearbyint(number / quant.scale);
    number = std::clamp(steps, -kSteps - 1, kSteps) * quant.scale;
  }
  const std::size_t bytes = numbers.size() * sizeof(float);
  layer_memory_.add(static_cast<double>(bytes));
  Value made;
  made.data = network_.contents.emplace_back(reinterpret_cast<const char*>(numbers.data()), bytes);
  made.data_dtype = kFloat32;
  keep_contents(given(), made);
}

void NetworkReader::read_dequantize() {
  if (const auto found = whole_.find(value("X")); found != whole_.end()) {
    require(ranges(true)[0] == found->second,
            "dequantization by another scale than it was quantized by");
    if (constant("X") != nullptr) return keep_contents();
    write_quantized(LayerKind::Identity);
    return;
  }
  const Value* weights = constant("X");
  require(weights != nullptr, "dequantization of what was not quantized");
  require(weights->data_dtype == kInt8, "dequantization of weights that are no int8");
  QuantizedWeights& made = weights_[given()];
  made = {weights, {ranges(true), view_->integer("quant_axis"), {}}, at_, true};
  for (float& scale : made.how.scales) scale /= kSteps;
  layer_memory_.add(static_cast<double>(made.how.scales.size() * sizeof(float)));
}

Quantization NetworkReader::quantization() {
  const Value* const zeros = view_->has("ZeroPoint") ? constant("ZeroPoint") : nullptr;
  require(zeros != nullptr || !view_->has("ZeroPoint"),
          "kernel for zero points that are not constant");
  return read_quantization(*view_, graph_.values[value("X")], float_constant("Scale"), zeros);
}

QuantParams NetworkReader::quant_onnx() {
  const float scale = quantization().scales[0];
  require(count_values(float_constant("Scale")) == 1, "kernel for scales but one number");
  if (!std::isnormal(scale)) refuse("has a scale that is no positive number, or too large");
  QuantParams quant{scale, 0};
  if (view_->has("ZeroPoint")) {
    const Value& zero = *constant("ZeroPoint");
    quant.zero_point = static_cast<std::int32_t>(number_at(zero, 0));
    if (zero.data_dtype == kInt8) quant.zero_point += 128;
  }
  return quant;
}

void NetworkReader::read_quantize_onnx() {
  const QuantParams quant = quant_onnx();
  layer(LayerKind::Quantize, {tensor("X")}).get<QuantizeParams>().quant = quant;
  quants_[given()] = quant;
}

void NetworkReader::read_dequantize_onnx() {
  if (const QuantParams before = quant_of(value("X")); before) {
    require(quant_onnx() == before, "dequantization by another scale than it was quantized by");
    layer(LayerKind::Identity, {tensor("X")});
    return;
  }
  const Value* const integers = constant("X");
  require(integers != nullptr, "dequantization of what was not quantized");
  const bool is_byte = integers->data_dtype == kInt8 || integers->data_dtype == kUint8;
  if (!is_byte) return fold(at_);  // such as a bias
  Quantization how = quantization();
  layer_memory_.add(static_cast<double>(how.scales.size() * (sizeof(float) + sizeof(double))));
  weights_[given()] = {integers, std::move(how), at_};
}

const Value* NetworkReader::weights(const std::string& name) {
  const auto quantized = weights_.find(value(name));
  if (quantized != weights_.end()) return quantized->second.integers;
  const Value* found = constant(name);
  return found == nullptr || found->data_dtype == kInt8 ? nullptr : found;
}

void NetworkReader::give_weights(Layer& made, const std::string& name, std::size_t axis) {
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
    if (quantized_ || stored.data_dtype != kFloat32) {  // an int8 program outlives the network
      made.weights = outputs_first(floats_of(stored));
    } else {
      made.stored = {stored.data.data(), count, axis == 0 ? count / outputs : 1,
                     axis == 0 ? 1 : outputs};
    }
    return;
  }
  const QuantizedWeights& quantized = found->second;
  const Value* const integers = quantized.integers;
  const std::vector<float>& scales = quantized.how.scales;
  const bool single = scales.size() == 1;
  require(single || quantized.how.axis == static_cast<std::int64_t>(axis),
          "scales but one for each output channel");
  made.weight_scales = single ? std::vector<float>(outputs, scales[0]) : scales;
  if (quantized.how.zeros.empty() && integers->data_dtype == kInt8) {
    made.integers =
        outputs_first(std::vector<std::int8_t>(integers->data.begin(), integers->data.end()));
    return;
  }
  std::vector<std::int16_t> steps(count_values(*integers));
  bool wide = false;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    steps[i] = static_cast<std::int16_t>(quantized.steps(i));
    wide |= steps[i] < -128 || steps[i] > 127;
  }
  for (const std::int16_t step : outputs_first(std::move(steps))) {
    made.integers.push_back(static_cast<std::int8_t>(wide ? step >> 1 : step));
    if (wide) made.rests.push_back(static_cast<std::int8_t>(step & 1));
  }
  for (float& scale : made.weight_scales) scale *= wide ? 2 : 1;
}

void NetworkReader::split_wide_weights() {
  const auto is_wide = [](const Layer& layer) { return !layer.rests.empty(); };
  if (std::none_of(network_.layers.begin(), network_.layers.end(), is_wide)) return;
  for (Layer& layer : std::exchange(network_.layers, {})) {
    Layer& halves = network_.layers.emplace_back(std::move(layer));
    if (!is_wide(halves)) continue;
    Layer rests = halves;
    rests.integers = std::move(rests.rests);
    rests.rests.clear();
    halves.rests.clear();
    rests.name += ", rests";
    for (float& scale : rests.weight_scales) scale /= 2;
    std::fill(rests.bias.begin(), rests.bias.end(), 0.0F);
    const TensorShape shape = shape_of(halves.output);
    const std::size_t sum = std::exchange(halves.output, network_.add_tensor(shape));
    const std::vector<std::size_t> parts = {halves.output, network_.add_tensor(shape)};
    rests.output = parts[1];
    layer_memory_.add(bytes_of(rests));
    network_.layers.push_back(std::move(rests));
    network_.add_layer(LayerKind::Add, halves.name + ", sum", parts, sum);
  }
}

}  // namespace lenet::native

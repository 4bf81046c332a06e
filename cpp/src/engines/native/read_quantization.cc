// Operators that quantize values and dequantize them, and the weights of other operators, which may
// be quantized.

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "engines/native/network_reader.h"

namespace lenet::native {
namespace {

/// The integer whose value Paddle's operators store as their scale.
constexpr float kSteps = 127;

/// Returns the ranges of this operator. \param zero whether channels of zeros may have none
std::vector<float> ranges(NetworkReader& reader, bool zero) {
  const OperatorView& view = reader.view();
  const std::vector<float> found = reader.floats("Scale");
  const bool sound = std::all_of(found.begin(), found.end(), [zero](float range) {
    return std::isfinite(range) && (zero ? range >= 0 : std::isnormal(range / kSteps) && range > 0);
  });
  if (!sound) {
    refuse_program(reader.path(), printable(reader.op().type) + " '" +
                                      reader.graph().values[reader.given()].name +
                                      "' has a scale that is no positive number");
  }
  const Value* zeros = reader.constant("ZeroPoint");
  bool symmetric = zeros != nullptr;
  for (std::size_t i = 0; symmetric && i < count_values(*zeros); ++i) {
    symmetric = number_at(*zeros, i) == 0;
  }
  reader.require(symmetric, "quantization with another zero point than 0");
  reader.require(view.integer("round_type", 0) == 0 && view.integer("qmin", -128) == -128 &&
                     view.integer("qmax", 127) == 127,
                 "quantization but to the nearest of -128 to 127");
  return found;
}

/// Adds a layer for what Paddle's operator gives. Where a value has several readers, Paddle
/// quantizes it for each into the same variable, and may only observe it for some: those that
/// come afterwards read a tensor of their own.
Layer& write_quantized(NetworkReader& reader, LayerKind kind) {
  const bool again = reader.is_computed(reader.given());
  Layer& made = reader.layer(kind, {reader.tensor("X")});
  if (again) {
    made.output = reader.add_tensor(reader.shape_of(reader.given()));
    reader.replace_tensor(reader.given(), made.output);
    reader.quantized().integers.erase(reader.given());
  }
  return made;
}

/// Gives the output of an operator that quantizes the constant X what its integers stand for.
void round_constant(NetworkReader& reader, const QuantParams& quant) {
  std::vector<float> numbers = reader.floats("X");
  for (float& number : numbers) {
    const float steps = std::nearbyint(number / quant.scale);
    number = std::clamp(steps, -kSteps - 1, kSteps) * quant.scale;
  }
  std::string bytes(reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(float));
  reader.count_memory(static_cast<double>(bytes.size()));
  reader.keep_contents(reader.given(), std::move(bytes), kFloat32);
}

void read_quantize(NetworkReader& reader) {
  const bool observes = reader.view().flag("only_observer", false);
  const std::vector<float> found = ranges(reader, observes);
  reader.quantized().ranges[reader.given()] = found[0];
  const bool is_constant = reader.constant("X") != nullptr;  // such as a bias
  if (observes && is_constant) return reader.keep_contents();
  if (observes) return static_cast<void>(write_quantized(reader, LayerKind::Identity));
  reader.require(found.size() == 1, "kernel for scales but one number");
  const QuantParams quant = {found[0] / kSteps, 128};
  if (is_constant) return round_constant(reader, quant);
  write_quantized(reader, LayerKind::Quantize).get<QuantizeParams>().quant = quant;
  reader.quantized().integers[reader.given()] = quant;
}

void read_dequantize(NetworkReader& reader) {
  const std::map<std::size_t, float>& known = reader.quantized().ranges;
  if (const auto found = known.find(reader.value("X")); found != known.end()) {
    reader.require(ranges(reader, true)[0] == found->second,
                   "dequantization by another scale than it was quantized by");
    if (reader.constant("X") != nullptr) return reader.keep_contents();
    write_quantized(reader, LayerKind::Identity);
    return;
  }
  const Value* weights = reader.constant("X");
  reader.require(weights != nullptr, "dequantization of what was not quantized");
  reader.require(weights->data_dtype == kInt8, "dequantization of weights that are no int8");
  Quantization how{ranges(reader, true), reader.view().integer("quant_axis"), {}};
  for (float& scale : how.scales) scale /= kSteps;
  reader.count_memory(static_cast<double>(how.scales.size() * sizeof(float)));
  reader.quantized().weights[reader.given()] = {weights, std::move(how), reader.at(), true};
}

/// Returns the scales and zero points of an operator of ONNX.
Quantization quantization(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  const Value* const zeros = view.has("ZeroPoint") ? reader.constant("ZeroPoint") : nullptr;
  reader.require(zeros != nullptr || !view.has("ZeroPoint"),
                 "kernel for zero points that are not constant");
  return read_quantization(view, view.in("X"), reader.float_constant("Scale"), zeros);
}

/// Returns the one scale of an operator of ONNX, and where its integers have 0.
QuantParams quant_onnx(NetworkReader& reader) {
  const float scale = quantization(reader).scales[0];
  reader.require(count_values(reader.float_constant("Scale")) == 1,
                 "kernel for scales but one number");
  if (!std::isnormal(scale)) reader.refuse("has a scale that is no positive number, or too large");
  QuantParams quant{scale, 0};
  if (reader.view().has("ZeroPoint")) {
    const Value& zero = *reader.constant("ZeroPoint");
    quant.zero_point = static_cast<std::int32_t>(number_at(zero, 0));
    if (zero.data_dtype == kInt8) quant.zero_point += 128;
  }
  return quant;
}

void read_quantize_onnx(NetworkReader& reader) {
  const QuantParams quant = quant_onnx(reader);
  reader.layer(LayerKind::Quantize, {reader.tensor("X")}).get<QuantizeParams>().quant = quant;
  reader.quantized().integers[reader.given()] = quant;
}

void read_dequantize_onnx(NetworkReader& reader) {
  const QuantParams before = reader.quantized().params_of(reader.value("X"));
  if (before) {
    reader.require(quant_onnx(reader) == before,
                   "dequantization by another scale than it was quantized by");
    reader.layer(LayerKind::Identity, {reader.tensor("X")});
    return;
  }
  const Value* const integers = reader.constant("X");
  reader.require(integers != nullptr, "dequantization of what was not quantized");
  const bool is_byte = integers->data_dtype == kInt8 || integers->data_dtype == kUint8;
  if (!is_byte) return reader.fold();  // such as a bias
  Quantization how = quantization(reader);
  reader.count_memory(static_cast<double>(how.scales.size() * (sizeof(float) + sizeof(double))));
  reader.quantized().weights[reader.given()] = {integers, std::move(how), reader.at()};
}

constexpr OperatorRow kOperators[] = {
    {"QuantizeByRange", read_quantize},
    {"DequantizeByRange", read_dequantize},
    {"QuantizeLinear", read_quantize_onnx},
    {"DequantizeLinear", read_dequantize_onnx},
};

}  // namespace

const Value* weights_of(NetworkReader& reader, const std::string& name) {
  const auto& quantized = reader.quantized().weights;
  const auto integers = quantized.find(reader.value(name));
  if (integers != quantized.end()) return integers->second.integers;
  const Value* found = reader.constant(name);
  return found == nullptr || found->data_dtype == kInt8 ? nullptr : found;
}

void give_weights(NetworkReader& reader, Layer& made, const std::string& name, std::size_t axis) {
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
  const QuantizedValues& values = reader.quantized();
  const auto found = values.weights.find(reader.value(name));
  if (found == values.weights.end()) {
    const Value& stored = reader.float_constant(name);
    const std::size_t count = count_values(stored);
    if (values.any || stored.data_dtype != kFloat32) {  // an int8 program outlives the network
      made.weights = outputs_first(floats_of(stored));
    } else {
      made.stored = {stored.data.data(), count, axis == 0 ? count / outputs : 1,
                     axis == 0 ? 1 : outputs};
    }
    return;
  }
  const QuantizedValues::Weights& quantized = found->second;
  const Value* const integers = quantized.integers;
  const std::vector<float>& scales = quantized.how.scales;
  const bool single = scales.size() == 1;
  reader.require(single || quantized.how.axis == static_cast<std::int64_t>(axis),
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

void split_wide_weights(Network& network, LayerMemory& memory) {
  const auto is_wide = [](const Layer& layer) { return !layer.rests.empty(); };
  if (std::none_of(network.layers.begin(), network.layers.end(), is_wide)) return;
  for (Layer& layer : std::exchange(network.layers, {})) {
    Layer& halves = network.layers.emplace_back(std::move(layer));
    if (!is_wide(halves)) continue;
    Layer rests = halves;
    rests.integers = std::move(rests.rests);
    rests.rests.clear();
    halves.rests.clear();
    rests.name += ", rests";
    for (float& scale : rests.weight_scales) scale /= 2;
    std::fill(rests.bias.begin(), rests.bias.end(), 0.0F);
    const TensorShape shape = network.tensors[halves.output].shape;
    const std::size_t sum = std::exchange(halves.output, network.add_tensor(shape));
    const std::vector<std::size_t> parts = {halves.output, network.add_tensor(shape)};
    rests.output = parts[1];
    memory.add(bytes_of(rests));
    network.layers.push_back(std::move(rests));
    network.add_layer(LayerKind::Add, halves.name + ", sum", parts, sum);
  }
}

OperatorRows quantization_operators() { return {std::begin(kOperators), std::end(kOperators)}; }

}  // namespace lenet::native

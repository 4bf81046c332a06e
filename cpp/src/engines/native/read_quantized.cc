#include <algorithm>
#include <cmath>

#include "engines/native/network_reader.h"
#include "io/printable.h"
#include "model/rules/operator_view.h"

namespace lenet::native {

std::vector<float> NetworkReader::ranges(bool zero) const {
  const std::vector<float>& found = vector("Scale");
  const bool sound = std::all_of(found.begin(), found.end(), [zero](float range) {
    return std::isfinite(range) && (zero ? range >= 0 : std::isnormal(range) && range > 0);
  });
  if (!sound) {
    refuse_program(path_, printable(type_) + " '" + graph_.values[given("Y")].name +
                              "' has a scale that is no positive number");
  }
  const ParameterValues* zeros = parameter("ZeroPoint");
  const auto is_zero = [](auto point) { return point == 0; };
  require(zeros != nullptr && std::all_of(zeros->values.begin(), zeros->values.end(), is_zero) &&
              std::all_of(zeros->integers.begin(), zeros->integers.end(), is_zero),
          "quantization with another zero point than 0");
  const auto is = [this](const char* name, std::int64_t expected) {
    return !view_->has_attribute(name) || view_->integer(name) == expected;
  };
  require(is("round_type", 0) && is("qmin", -128) && is("qmax", 127),
          "quantization but to the nearest of -128 to 127");
  return found;
}

// Operators that only observe count as well: Paddle's int8 does not look at that attribute.
void NetworkReader::read_quantize() {
  const bool observes = view_->has_attribute("only_observer") && view_->flag("only_observer");
  const float range = ranges(observes)[0];
  whole_[given("Y")] = range;
  if (const ParameterValues* found = parameter("X")) {  // such as a bias
    reshaped_[given("Y")] = *found;
    return;
  }
  const std::size_t input = tensor("X");
  tensors_[given("Y")] = input;
  network_.ranges.resize(network_.tensors.size());
  float& known = network_.ranges[input];
  if (known == 0 && std::isnormal(range)) known = range;
}

void NetworkReader::read_dequantize() {
  if (const auto found = whole_.find(value("X")); found != whole_.end()) {
    require(ranges(true)[0] == found->second,
            "dequantization by another scale than it was quantized by");
    dequantized_[given("Y")] = found->second;
    if (const auto parameter = reshaped_.find(value("X")); parameter != reshaped_.end()) {
      reshaped_[given("Y")] = parameter->second;
    } else {
      same("X", "Y");
    }
    return;
  }
  const ParameterValues* weights = parameter("X");
  require(weights != nullptr, "dequantization of what was not quantized");
  require(!weights->integers.empty(), "dequantization of weights that are no int8");
  const QuantizedWeights& made = weights_[given("Y")] = {
      weights->shape, weights->integers, ranges(true), view_->integer("quant_axis")};
  layer_memory_.add(static_cast<double>(made.ranges.size() * sizeof(float)));
}

const NetworkReader::QuantizedWeights* NetworkReader::quantized_weights(
    const std::string& name) const {
  const auto found = weights_.find(value(name));
  return found == weights_.end() ? nullptr : &found->second;
}

Shape NetworkReader::weights_shape(const std::string& name) const {
  if (const QuantizedWeights* quantized = quantized_weights(name)) return quantized->shape;
  const ParameterValues* found = parameter(name);
  return found == nullptr || found->values.empty() ? Shape{} : found->shape;
}

std::vector<float> NetworkReader::steps(const QuantizedWeights& weights, std::int64_t axis,
                                        std::size_t channels) const {
  const bool single = weights.ranges.size() == 1;
  require(single || weights.axis == axis, "scales but one for each output channel");
  std::vector<float> found(channels);
  for (std::size_t c = 0; c < channels; ++c) {
    found[c] = weights.ranges[single ? 0 : c];
  }
  return found;
}

}  // namespace lenet::native

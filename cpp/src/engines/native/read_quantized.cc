#include <algorithm>
#include <cmath>

#include "engines/native/network_reader.h"
#include "io/printable.h"
#include "model/contents.h"

namespace lenet::native {

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
  if (constant("X") != nullptr) return keep_contents("X", "Y");  // such as a bias
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
    if (constant("X") != nullptr) return keep_contents("X", "Y");
    tensors_[given("Y")] = tensor("X");
    return;
  }
  const Value* weights = constant("X");
  require(weights != nullptr, "dequantization of what was not quantized");
  require(weights->data_dtype == kInt8, "dequantization of weights that are no int8");
  const QuantizedWeights& made =
      weights_[given("Y")] = {weights, ranges(true), view_->integer("quant_axis")};
  layer_memory_.add(static_cast<double>(made.ranges.size() * sizeof(float)));
}

const NetworkReader::QuantizedWeights* NetworkReader::quantized_weights(
    const std::string& name) const {
  const auto found = weights_.find(value(name));
  return found == weights_.end() ? nullptr : &found->second;
}

const Value* NetworkReader::weights(const std::string& name) const {
  if (const QuantizedWeights* quantized = quantized_weights(name)) return quantized->value;
  const Value* found = constant(name);
  return found == nullptr || found->data_dtype == kInt8 ? nullptr : found;
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

/// \file
/// A quantized Paddle model made for tests.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "lenet/predictor.h"
#include "program_builder.h"

namespace lenet::tests {

inline constexpr std::int64_t kChannels = 4;  ///< that a QuantizedModel gives

template <typename T>
std::string values_of(const std::vector<T>& values) {
  std::string bytes;
  for (const T value : values) bytes += bytes_of(value);
  return bytes;
}

/// A convolution of 3 x 3 whose input and weights are quantized; each field is what a test changes.
struct QuantizedModel {
  Shape scale = {kChannels};  ///< declared
  Shape stored_scale = {1, kChannels};
  std::int64_t side = 8;  ///< height and width of an image
  std::int64_t axis = 0;
  std::int64_t bits = 8;
  std::int64_t input_axis = -1;
  int weight_dtype = 21;
  bool scale_is_parameter = true;
  std::vector<std::string> attributes;  ///< of the weights' dequantize_linear besides
  std::vector<std::string> operators;   ///< besides
  Arguments training;                   ///< inputs besides

  /// The largest of each channel is 127: by it Paddle's int8 passes quantize them again.
  static std::int8_t weight(std::int64_t i) {
    if (i % 9 == 4) return 127;
    return static_cast<std::int8_t>((i * 37 + 11) % 255 - 127);
  }
  static float weight_scale(std::int64_t channel) {
    return 0.5F + 0.25F * static_cast<float>(channel);
  }

  std::string bytes() const {
    const auto settings = [&](std::int64_t quant_axis) {
      return std::vector<std::string>{int_attribute("bit_length", bits),
                                      int_attribute("quant_axis", quant_axis)};
    };
    std::vector<std::string> weights = settings(axis);
    weights.insert(weights.end(), attributes.begin(), attributes.end());
    Arguments dequantized = {{"X", "w"}, {"Scale", "ws"}, {"ZeroPoint", "wz"}};
    dequantized.insert(dequantized.end(), training.begin(), training.end());
    const Shape input = {-1, 1, side, side};
    const Shape filter = {kChannels, 1, 3, 3};
    TestProgram made{input, {-1, kChannels, side - 2, side - 2}, {}, {}};
    made.variables = {
        tensor_variable("s", {1}, true),    tensor_variable("z", {1}, true),
        tensor_variable("w", filter, true), tensor_variable("wz", scale, true),
        tensor_variable("xq", input),       tensor_variable("xd", input),
        tensor_variable("wd", filter),      tensor_variable("ws", scale, scale_is_parameter)};
    made.operators = {
        make_operator("quantize_linear", {{"X", "x"}, {"Scale", "s"}, {"ZeroPoint", "z"}},
                      {{"Y", "xq"}}, settings(input_axis)),
        make_operator("dequantize_linear", {{"X", "xq"}, {"Scale", "s"}, {"ZeroPoint", "z"}},
                      {{"Y", "xd"}}, settings(-1)),
        make_operator("dequantize_linear", dequantized, {{"Y", "wd"}}, weights),
        make_operator("conv2d", {{"Input", "xd"}, {"Filter", "wd"}}, {{"Output", "y"}},
                      {ints_attribute("strides", {1, 1}), ints_attribute("paddings", {0, 0}),
                       ints_attribute("dilations", {1, 1}), int_attribute("groups", 1),
                       text_attribute("data_format", "NCHW"),
                       text_attribute("padding_algorithm", "EXPLICIT")})};
    made.operators.insert(made.operators.end(), operators.begin(), operators.end());
    return made.bytes();
  }

  /// In the order of their names.
  std::vector<std::pair<std::string, std::string>> records() const {
    std::vector<std::int8_t> whole;
    for (std::int64_t i = 0; i < kChannels * 9; ++i) whole.push_back(weight(i));
    std::vector<float> scales;
    for (std::int64_t i = 0; i < kChannels; ++i) scales.push_back(weight_scale(i));
    const std::vector<float> zeros(kChannels, 0.0F);
    const std::vector<float> same(whole.begin(), whole.end());
    return {{"s", parameter_record({}, values_of<float>({1.0F}))},
            {"w", parameter_record({kChannels, 1, 3, 3},
                                   weight_dtype == 21 ? values_of(whole) : values_of(same),
                                   weight_dtype)},
            {"ws", parameter_record(stored_scale, values_of(scales))},
            {"wz", parameter_record({kChannels}, values_of(zeros))},
            {"z", parameter_record({1}, values_of<float>({0.0F}))}};
  }
  std::string params() const {
    std::string bytes;
    for (const auto& record : records()) bytes += record.second;
    return bytes;
  }

  Config write(const TemporaryFolder& folder) const {
    Config config;
    config.engine = "paddle";
    config.model_file = write_file(folder / "q.pdmodel", bytes());
    config.params_file = write_file(folder / "q.pdiparams", params());
    return config;
  }
};

}  // namespace lenet::tests

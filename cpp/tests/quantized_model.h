/// A quantized Paddle model made for tests.
#pragma once

#include "notation.h"

namespace lenet::tests {

inline constexpr std::int64_t kChannels = 4;  ///< that a QuantizedModel gives

/// A convolution of 3 x 3 whose input and weights are quantized; each field is what a test changes.
struct QuantizedModel {
  std::string text =
      "x[-1,1,8,8] y[-1,4,6,6] s[1]* z[1]* w[4,1,3,3]* wz[4]* xq[-1,1,8,8] xd[-1,1,8,8] "
      "wd[4,1,3,3] ws[4]*:"
      "quantize_linear x Scale=s ZeroPoint=z -> Y=xq | bit_length=8 quant_axis=-1;"
      "dequantize_linear X=xq Scale=s ZeroPoint=z -> Y=xd | bit_length=8 quant_axis=-1;"
      "dequantize_linear X=w Scale=ws ZeroPoint=wz -> Y=wd | bit_length=8 quant_axis=0;"
      "conv2d Input=xd Filter=wd -> Output=y | strides=[1,1] paddings=[0,0] dilations=[1,1] "
      "groups=1 data_format=NCHW padding_algorithm=EXPLICIT";
  Shape stored_scale = {1, kChannels};
  int weight_dtype = 21;

  /// The largest of each channel is 127, so that Paddle's int8 gets the same by quantizing again.
  static std::int8_t weight(std::int64_t i) {
    if (i % 9 == 4) return 127;
    return static_cast<std::int8_t>((i * 37 + 11) % 255 - 127);
  }
  static float weight_scale(std::int64_t channel) {
    return 0.5F + 0.25F * static_cast<float>(channel);
  }

  /// The same for images of another height and width.
  QuantizedModel of(std::int64_t side) const {
    QuantizedModel changed = *this;
    const auto square = [](std::int64_t size) {
      return std::to_string(size) + "," + std::to_string(size) + "]";
    };
    for (int i = 0; i < 3; ++i) changed.text = replaced(changed.text, "8,8]", square(side));
    changed.text = replaced(changed.text, "6,6]", square(side - 2));
    return changed;
  }
  QuantizedModel with(const std::string& part, const std::string& by) const {
    QuantizedModel changed = *this;
    changed.text = replaced(text, part, by);
    return changed;
  }
  std::string bytes() const { return program(text); }

  /// In the order of their names.
  Arguments records() const {
    std::vector<std::int8_t> whole;
    for (std::int64_t i = 0; i < kChannels * 9; ++i) whole.push_back(weight(i));
    std::vector<float> scales;
    for (std::int64_t i = 0; i < kChannels; ++i) scales.push_back(weight_scale(i));
    const std::vector<float> same(whole.begin(), whole.end());
    return {{"s", parameter_record({}, bytes_of(1.0F))},
            {"w",
             parameter_record({kChannels, 1, 3, 3},
                              weight_dtype == 21 ? bytes_of(whole) : bytes_of(same), weight_dtype)},
            {"ws", parameter_record(stored_scale, bytes_of(scales))},
            {"wz", parameter_record({kChannels}, bytes_of(std::vector<float>(kChannels)))},
            {"z", parameter_record({1}, bytes_of(0.0F))}};
  }
  std::string params() const {
    std::string bytes;
    for (const auto& record : records()) bytes += record.second;
    return bytes;
  }

  Config write(const TemporaryFolder& folder) const {
    write_file(folder / "q.pdiparams", params());
    return config_of("engine=paddle model_file=" + write_file(folder / "q.pdmodel", bytes()));
  }
};

}  // namespace lenet::tests

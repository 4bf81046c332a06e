#include <algorithm>

#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

/// Relu, the sum of two tensors, a factor and a bias for each channel, and channels side by side.
class Elementwise final : public Op {
 public:
  explicit Elementwise(const FloatLayer& source)
      : kernels_(source.kernels),
        kind_(source.layer.kind),
        relu_(source.relu()),
        per_channel_(source.interleaved ? source.kernels.lanes : 1),
        pixel_(source.pixel()),
        inputs_(source.inputs),
        to_(source.output),
        scale_(source.layer.scale),
        bias_(source.layer.bias) {}

  void run(const Frame& frame) const override {
    const auto dense = [this](const Placement& tensor) { return tensor.column == pixel_; };
    const bool rows = (kind_ == LayerKind::Add || kind_ == LayerKind::Relu) && dense(to_) &&
                      std::all_of(inputs_.begin(), inputs_.end(), dense);
    const std::int64_t pixels = rows ? to_.shape.width : 1;  // at once
    const std::int64_t count = pixels * pixel_;
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      for (std::int64_t y = 0; y < to_.shape.height; ++y) {
        for (std::int64_t x = 0; x < to_.shape.width; x += pixels) {
          const auto from = [&](const Placement& input) {
            return frame.at<const float>(input, unit) + y * input.row + x * input.column;
          };
          float* to = frame.at<float>(to_, unit) + y * to_.row + x * to_.column;
          if (kind_ == LayerKind::Add) {
            kernels_.add(from(inputs_[0]), from(inputs_[1]), to, count, relu_);
          } else if (kind_ == LayerKind::ChannelScale) {
            scale(from(inputs_[0]), to);
          } else if (kind_ == LayerKind::Concat) {
            for (const Placement& input : inputs_) {
              to = std::copy_n(from(input), input.shape.channels * per_channel_, to);
            }
          } else {
            kernels_.relu(from(inputs_[0]), to, count);
          }
        }
      }
    }
  }
  std::string kernel() const override { return to_string(kind_); }

 private:
  void scale(const float* from, float* to) const {
    for (std::size_t c = 0; c < scale_.size(); ++c) {
      for (std::int64_t i = 0; i < per_channel_; ++i, ++from, ++to) {
        const float value = *from * scale_[c] + bias_[c];
        *to = relu_ ? std::max(value, 0.0F) : value;
      }
    }
  }

  const Kernels& kernels_;
  LayerKind kind_;
  bool relu_;
  std::int64_t per_channel_;
  std::int64_t pixel_;  ///< floats
  std::vector<Placement> inputs_;
  Placement to_;
  std::vector<float> scale_;
  std::vector<float> bias_;
};

}  // namespace

std::unique_ptr<Op> make_elementwise(const FloatLayer& source) {
  return std::make_unique<Elementwise>(source);
}

}  // namespace lenet::native

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
        inputs_(source.inputs),
        to_(source.output),
        scale_(source.layer.scale),
        bias_(source.layer.bias) {
    // What fills the last vector stays 0.
    scale_.resize(static_cast<std::size_t>(to_.planes * to_.column / per_channel_));
    bias_.resize(scale_.size());
  }

  void run(const Frame& frame) const override {
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      if (kind_ == LayerKind::Concat) {
        concat(frame, unit);
        continue;
      }
      for (std::int64_t plane = 0; plane < to_.planes; ++plane) {
        for (std::int64_t y = 0; y < to_.shape.height; ++y) run_row(frame, unit, plane, y);
      }
    }
  }
  std::string kernel() const override { return to_string(kind_); }

 private:
  void run_row(const Frame& frame, std::int64_t unit, std::int64_t plane, std::int64_t y) const {
    const auto row = [&](const Placement& tensor) {
      return frame.at<float>(tensor, unit) + plane * tensor.block + y * tensor.row;
    };
    const std::int64_t count = to_.shape.width * to_.column;
    const float* from = row(inputs_[0]);
    float* to = row(to_);
    if (kind_ == LayerKind::Add) {
      kernels_.add(from, row(inputs_[1]), to, count, relu_);
    } else if (kind_ == LayerKind::Relu) {
      kernels_.relu(from, to, count);
    } else {
      scale(from, static_cast<std::size_t>(plane * to_.lanes), to);
    }
  }

  /// A row. \param channel the first of its plane
  void scale(const float* from, std::size_t channel, float* to) const {
    const auto channels = static_cast<std::size_t>(to_.column / per_channel_);
    for (std::int64_t x = 0; x < to_.shape.width; ++x) {
      for (std::size_t c = channel; c < channel + channels; ++c) {
        for (std::int64_t i = 0; i < per_channel_; ++i, ++from, ++to) {
          const float value = *from * scale_[c] + bias_[c];
          *to = relu_ ? std::max(value, 0.0F) : value;
        }
      }
    }
  }

  void concat(const Frame& frame, std::int64_t unit) const {
    std::int64_t first = 0;
    for (const Placement& input : inputs_) {
      const std::int64_t channels = input.shape.channels;
      // Whole vectors, with what fills the last, where they begin one; else channel by channel.
      const bool apart = first % to_.lanes != 0;
      const std::int64_t step = per_channel_ > 1 ? channels : apart ? 1 : to_.lanes;
      for (std::int64_t c = 0; c < channels; c += step) {
        float* image = frame.at<float>(to_, unit);
        if (apart && (first + c) % to_.lanes == 0) {
          to_.clear_pixels((first + c) / to_.lanes, image);
        }
        copy(frame.at<float>(input, unit) + input.channel_offset(c), input, step * per_channel_,
             image + to_.channel_offset(first + c));
      }
      first += channels;
    }
  }

  /// \param count floats of each pixel
  void copy(const float* from, const Placement& input, std::int64_t count, float* to) const {
    const bool dense = count == input.column && count == to_.column;
    const std::int64_t pixels = dense ? to_.shape.width : 1;  // at once
    for (std::int64_t y = 0; y < to_.shape.height; ++y) {
      for (std::int64_t x = 0; x < to_.shape.width; x += pixels) {
        std::copy_n(from + y * input.row + x * input.column, pixels * count,
                    to + y * to_.row + x * to_.column);
      }
    }
  }

  const Kernels& kernels_;
  LayerKind kind_;
  bool relu_;
  std::int64_t per_channel_;
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

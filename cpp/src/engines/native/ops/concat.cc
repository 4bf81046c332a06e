#include <cstring>

#include "engines/native/ops/ops.h"

namespace lenet::native {
namespace {

/// Of channels.
class Concat final : public Op {
 public:
  explicit Concat(const FloatLayer& source)
      : per_channel_(source.interleaved ? source.kernels.lanes : 1),
        inputs_(source.inputs),
        to_(source.output) {}

  void run(const Frame& frame) const override {
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      std::int64_t first = 0;
      for (const Placement& input : inputs_) {
        const std::int64_t count = input.shape.channels * per_channel_;
        for (std::int64_t y = 0; y < to_.shape.height; ++y) {
          for (std::int64_t x = 0; x < to_.shape.width; ++x) {
            std::memcpy(frame.at<float>(to_, unit) + y * to_.row + x * to_.column + first,
                        frame.at<const float>(input, unit) + y * input.row + x * input.column,
                        static_cast<std::size_t>(count) * sizeof(float));
          }
        }
        first += count;
      }
    }
  }
  std::string kernel() const override { return to_string(LayerKind::Concat); }

 private:
  std::int64_t per_channel_;
  std::vector<Placement> inputs_;
  Placement to_;
};

}  // namespace

std::unique_ptr<Op> make_concat(const FloatLayer& source) {
  return std::make_unique<Concat>(source);
}

}  // namespace lenet::native

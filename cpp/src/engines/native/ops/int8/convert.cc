#include <algorithm>
#include <utility>

#include "engines/native/ops/copy_runs.h"
#include "engines/native/ops/int8/integers.h"

namespace lenet::native::int8 {
namespace {

/// Row by row: what the input stands for, as float32, becomes what the output holds.
class Convert final : public Op {
 public:
  explicit Convert(const PlacedLayer& source)
      : kernels_{source.kernels, source.integers},
        kind_(source.layer.kind),
        from_(seen_as(source.inputs[0], source.output.shape)),
        to_(seen_as(source.output, source.inputs[0].shape)),
        bounds_(to_.quant, source.layer.activation) {}

  void run(const Frame& frame) const override {
    frame.each_rows(frame.count, to_.shape.height(),
                    [&](std::int64_t unit, std::int64_t begin, std::int64_t end) {
                      for (std::int64_t y = begin; y < end; ++y) convert_row(frame, unit, y);
                    });
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return to_string(kind_); }
  std::int64_t scratch_bytes() const override {
    return float_bytes({to_.shape.channels(), 1, to_.shape.width()});
  }

 private:
  /// A tensor that holds its values in the order of the program, as one of another shape.
  static Placement seen_as(Placement tensor, const TensorShape& shape) {
    if (tensor.shape == shape || tensor.layout == Layout::ChannelsLast) return tensor;
    tensor.shape = shape;
    tensor.layout = Layout::Order;
    tensor.lay_out(0);
    return tensor;
  }

  void convert_row(const Frame& frame, std::int64_t unit, std::int64_t y) const {
    auto* const scratch = reinterpret_cast<float*>(frame.scratch);
    const std::int64_t count = to_.shape.width() * to_.shape.channels();
    char* const to = frame.at<char>(to_, unit) + y * to_.row * to_.element_bytes;
    const bool to_floats = to_.layout == Layout::ChannelsLast && !to_.quant;
    const float* const values =
        read(frame, unit, y, to_floats ? reinterpret_cast<float*>(to) : scratch);
    if (to_.quant) {
      quantize(*kernels_.integers, values, count, to_.quant, bounds_, to);
    } else if (to_floats) {
      if (reinterpret_cast<const char*>(values) != to)
        std::copy_n(values, count, reinterpret_cast<float*>(to));
    } else {
      scatter(values, reinterpret_cast<float*>(to));
    }
  }

  /// A row as [width][channels]. \param scratch where it is written if it does not lie so
  const float* read(const Frame& frame, std::int64_t unit, std::int64_t y, float* scratch) const {
    if (from_.layout == Layout::ChannelsLast) {
      return read_row(kernels_, from_, frame.at<char>(from_, unit), y, scratch);
    }
    const float* const from = frame.at<float>(from_, unit) + y * from_.row;
    const auto [channels, height, width] = from_.shape.image();
    for (std::int64_t c = 0; c < channels; c += from_.lanes) {
      const std::int64_t count = std::min(from_.lanes, channels - c);
      copy_runs({count, width, from_.column, channels}, from + from_.channel_offset(c),
                scratch + c);
    }
    return scratch;
  }

  /// Writes a row.
  void scatter(const float* values, float* to) const {
    const auto [channels, height, width] = to_.shape.image();
    for (std::int64_t c = 0; c < channels; c += to_.lanes) {
      const std::int64_t count = std::min(to_.lanes, channels - c);
      copy_runs({count, width, channels, to_.column}, values + c, to + to_.channel_offset(c));
    }
  }

  ProgramKernels kernels_;
  LayerKind kind_;
  Placement from_;
  Placement to_;
  Bounds bounds_;
};

}  // namespace

std::unique_ptr<Op> make_convert(const PlacedLayer& source) {
  return std::make_unique<Convert>(source);
}

}  // namespace lenet::native::int8

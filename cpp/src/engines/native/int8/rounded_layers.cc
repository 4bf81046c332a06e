// Layers that multiply integers in a program whose tensors are float32: they round what they take,
// and give float32.
#include <algorithm>
#include <utility>

#include "engines/native/int8/program.h"
#include "engines/native/kernels/dispatch.h"

namespace lenet::native::int8 {
namespace {

/// The layer as a convolution of integers, without a function that the stages behind its sums do
/// not compute. \param function set to that function, or none
PlannedLayer convolution_of(const Layer& layer, Activation& function) {
  PlannedLayer planned;
  planned.layer.kind = LayerKind::Convolution;
  planned.layer.name = layer.name;
  planned.layer.window = layer.window;
  planned.layer.groups = layer.groups;
  planned.layer.integers = layer.integers;
  planned.layer.weight_scales = layer.weight_scales;
  planned.layer.bias = layer.bias;
  if (layer.bias.empty()) planned.layer.bias.resize(layer.weight_scales.size());
  require_short_sums(planned.layer);
  planned.layer.activation = layer.activation;
  function =
      is_bound(layer.activation) ? Activation() : std::exchange(planned.layer.activation, {});
  return planned;
}

/// Where a tensor of elements lies in scratch memory, from `begin` on.
Placement elements_at(std::int64_t begin, const TensorShape& shape, const Layer& layer,
                      const Kernels& kernels) {
  Placement made;
  made.shape = shape;
  made.quant = layer.quant;
  made.element_bytes = kernels.bytes;
  made.zero = kernels.zero - shift_of(layer.quant);
  made.layout = Layout::ChannelsLast;
  made.pad(layer.window);
  made.lay_out(kernels.lanes);
  const std::int64_t before = made.border * (made.row + made.column);
  made.place = {Place::Shared, begin + before * made.element_bytes};
  return made;
}

std::int64_t bytes_of(const Placement& tensor) {
  return round_up(tensor.size * tensor.element_bytes, kCacheLine);
}

/// Rows of values, such as tokens, times a matrix.
class RoundedProduct final : public Op {
 public:
  explicit RoundedProduct(const FloatLayer& source)
      : kernels_(choose_kernels()),
        floats_(source.kernels),
        quant_(source.layer.quant),
        bounds_(quant_, {}),
        from_(source.inputs[0]),
        to_(source.output),
        rows_(source.layer.product.rows),
        sums_(source.layer.product.sums),
        columns_(source.layer.product.columns) {
    PlannedLayer planned = convolution_of(source.layer, function_);
    // More pixels than one, so that it is no fully connected layer.
    const std::int64_t pixels = std::max<std::int64_t>(std::min(rows_, kRowsAtOnce), 2);
    const Placement rows = elements_at(0, {sums_, 1, pixels}, source.layer, kernels_);
    scratch_bytes_ = bytes_of(rows);
    Placement output;
    output.shape = {columns_, 1, pixels};
    output.layout = Layout::ChannelsLast;
    output.lay_out(kernels_.lanes);
    product_ = make_row_product(
        {kernels_, std::move(planned), {rows}, output, source.memory, source.arena});
  }

  void run(const Frame& frame) const override {
    frame.each_rows(
        frame.count, rows_, [&](std::int64_t unit, std::int64_t row, std::int64_t last) {
          const float* const from = frame.at<float>(from_, unit);
          float* const to = frame.at<float>(to_, unit);
          const std::int64_t chunks = (last - row + kRowsAtOnce - 1) / kRowsAtOnce;
          for (std::int64_t chunk = 0; chunk < chunks; ++chunk) {
            const std::int64_t first = row + (last - row) * chunk / chunks;
            const std::int64_t count = row + (last - row) * (chunk + 1) / chunks - first;
            quantize(kernels_, from + first * sums_, count * sums_, quant_, bounds_, frame.scratch);
            product_->multiply(frame.scratch, count, to + first * columns_);
            activate_run(floats_, function_, to + first * columns_, count * columns_);
          }
          if (last == rows_) clear_behind(to_, to);
        });
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return product_->kernel() + "_int8"; }
  std::int64_t scratch_bytes() const override { return scratch_bytes_; }

 private:
  static constexpr std::int64_t kRowsAtOnce = 96;  ///< while the caches hold their elements

  const Kernels& kernels_;
  const native::Kernels& floats_;
  QuantParams quant_;
  Bounds bounds_;
  Placement from_;
  Placement to_;
  std::int64_t rows_;
  std::int64_t sums_;
  std::int64_t columns_;
  Activation function_;  ///< of what the product gives; or none
  std::unique_ptr<RowProduct> product_;
  std::int64_t scratch_bytes_ = 0;
};

/// A convolution of one image, whose elements and sums lie in scratch memory.
class RoundedConvolution final : public Op {
 public:
  explicit RoundedConvolution(const FloatLayer& source)
      : kernels_(choose_kernels()),
        floats_(source.kernels),
        quant_(source.layer.quant),
        bounds_(quant_, {}),
        window_(source.layer.window),
        whole_image_(is_whole_image(source.inputs[0].shape, source.layer, source.shape)),
        from_(source.inputs[0]),
        to_(source.output) {
    PlannedLayer planned = convolution_of(source.layer, function_);
    elements_ = elements_at(0, from_.shape, source.layer, kernels_);
    row_begin_ = bytes_of(elements_);
    const std::int64_t longest =
        std::max(from_.shape.channels * from_.shape.width, to_.shape.channels * to_.shape.width);
    sums_.shape = to_.shape;
    sums_.layout = Layout::ChannelsLast;
    sums_.lay_out(kernels_.lanes);
    const std::int64_t sums_begin =
        row_begin_ + round_up(longest * std::int64_t{sizeof(float)}, kCacheLine);
    sums_.place = {Place::Shared, sums_begin};
    inner_begin_ = sums_begin + bytes_of(sums_);
    convolution_ = make_convolution(
        {kernels_, std::move(planned), {elements_}, sums_, source.memory, source.arena});
  }

  void run(const Frame& frame) const override {
    Frame inner = frame;
    inner.shared = frame.scratch;
    inner.scratch = frame.scratch + inner_begin_;
    inner.count = 1;
    for (std::int64_t unit = 0; unit < frame.count; ++unit) {
      // The rows are divided as the convolution divides its own, so that a part reads what it
      // wrote.
      inner.each_rows(1, to_.shape.height, [&](std::int64_t, std::int64_t row, std::int64_t last) {
        round_rows(frame, unit, inner, row, last);
      });
      convolution_->run(inner);
      inner.each_rows(1, to_.shape.height, [&](std::int64_t, std::int64_t row, std::int64_t last) {
        for (; row < last; ++row) give_row(frame, unit, inner, row);
      });
    }
  }
  bool splits() const override { return !whole_image_; }
  std::string kernel() const override { return convolution_->kernel() + "_int8"; }
  std::int64_t scratch_bytes() const override {
    return inner_begin_ + convolution_->scratch_bytes();
  }

 private:
  /// Calls `work(values, place, count)` for values of a row that lie side by side: where they lie
  /// in a row of the tensor, and where in [width][channels].
  template <class Work>
  static void each_run(const Placement& tensor, const Work& work) {
    const std::int64_t channels = tensor.shape.channels;
    for (std::int64_t c = 0; c < channels; c += tensor.lanes) {
      const std::int64_t count = std::min(tensor.lanes, channels - c);
      for (std::int64_t x = 0; x < tensor.shape.width; ++x) {
        work(tensor.channel_offset(c) + x * tensor.column, x * channels + c, count);
      }
    }
  }

  /// Rounds the rows of the input that some rows of windows read.
  void round_rows(const Frame& frame, std::int64_t unit, const Frame& inner, std::int64_t row,
                  std::int64_t last) const {
    const std::int64_t begin = row * window_.strides[0] - window_.padding[0];
    const std::int64_t end = (last - 1) * window_.strides[0] - window_.padding[0] +
                             (window_.kernel[0] - 1) * window_.dilations[0] + 1;
    if (elements_.border > 0) clear(inner.shared);
    auto* const values = reinterpret_cast<float*>(inner.shared + row_begin_);
    char* const elements = inner.at<char>(elements_, 0);
    for (std::int64_t y = std::max<std::int64_t>(begin, 0); y < std::min(end, from_.shape.height);
         ++y) {
      const float* const from = frame.at<float>(from_, unit) + y * from_.row;
      each_run(from_, [&](std::int64_t place, std::int64_t at, std::int64_t count) {
        std::copy_n(from + place, count, values + at);
      });
      quantize(kernels_, values, from_.shape.width * from_.shape.channels, quant_, bounds_,
               elements + y * elements_.row * elements_.element_bytes);
    }
  }

  /// Sets all elements to what stands for 0: the border lies among them.
  void clear(char* elements) const {
    if (kernels_.bytes == 1) {
      std::fill_n(elements, elements_.size, static_cast<char>(elements_.zero));
    } else {
      std::fill_n(reinterpret_cast<std::int16_t*>(elements), elements_.size,
                  static_cast<std::int16_t>(elements_.zero));
    }
  }

  void give_row(const Frame& frame, std::int64_t unit, const Frame& inner, std::int64_t row) const {
    float* const sums = inner.at<float>(sums_, 0) + row * sums_.row;
    float* const to = frame.at<float>(to_, unit) + row * to_.row;
    activate_run(floats_, function_, sums, to_.shape.width * to_.shape.channels);
    each_run(to_, [&](std::int64_t place, std::int64_t at, std::int64_t count) {
      std::copy_n(sums + at, count, to + place);
      std::fill(to + place + count, to + place + to_.lanes, 0.0F);
    });
  }

  const Kernels& kernels_;
  const native::Kernels& floats_;
  QuantParams quant_;
  Bounds bounds_;
  Window window_;
  bool whole_image_;
  Placement from_;
  Placement to_;
  Placement elements_;            ///< in scratch memory
  std::int64_t row_begin_ = 0;    ///< of a row of the input, in scratch memory
  Placement sums_;                ///< in scratch memory
  std::int64_t inner_begin_ = 0;  ///< of the convolution's scratch memory
  Activation function_;           ///< of what the convolution gives; or none
  std::unique_ptr<Op> convolution_;
};

}  // namespace

std::unique_ptr<Op> make_rounded_layer(const FloatLayer& source) {
  if (source.layer.kind == LayerKind::MatMul) return std::make_unique<RoundedProduct>(source);
  return std::make_unique<RoundedConvolution>(source);
}

}  // namespace lenet::native::int8

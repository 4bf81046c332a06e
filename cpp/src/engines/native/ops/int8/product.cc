#include <algorithm>
#include <utility>

#include "engines/native/ops/int8/integers.h"

namespace lenet::native::int8 {
namespace {

/// Rows of values, such as tokens, that are rounded a few at a time.
class TokenProduct final : public Op {
 public:
  explicit TokenProduct(const PlacedLayer& source)
      : kernels_(*source.integers),
        floats_(source.kernels),
        quant_(source.layer.product().quant),
        bounds_(quant_, {}),
        from_(source.inputs[0]),
        to_(source.output),
        rows_(source.layer.product().rows),
        sums_(source.layer.product().sums),
        columns_(source.layer.product().columns) {
    const Layer convolution = convolution_of(source.layer);
    // With one pixel the kernel would write whole vectors, behind the last column.
    const std::int64_t pixels = std::max<std::int64_t>(std::min(rows_, kRowsAtOnce), 2);
    Placement rows;
    rows.shape = {sums_, 1, pixels};
    rows.quant = quant_;
    rows.element_bytes = kernels_.bytes;
    rows.zero = kernels_.zero - shift_of(quant_);
    rows.layout = Layout::ChannelsLast;
    rows.lay_out(kernels_.lanes);
    scratch_bytes_ = round_up(rows.size * rows.element_bytes, kCacheLine);
    Placement sums;
    sums.shape = {columns_, 1, pixels};
    sums.layout = Layout::ChannelsLast;
    sums.lay_out(kernels_.lanes);
    product_ = make_row_product({source.kernels,
                                 source.integers,
                                 nullptr,
                                 convolution,
                                 nullptr,
                                 nullptr,
                                 source.method,
                                 source.kernel,
                                 1,
                                 sums.shape,
                                 {rows},
                                 {},
                                 sums,
                                 source.memory,
                                 source.arena});
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
        });
  }
  bool splits() const override { return true; }
  std::string kernel() const override { return product_->kernel(); }
  std::int64_t scratch_bytes() const override { return scratch_bytes_; }

 private:
  static constexpr std::int64_t kRowsAtOnce = 96;  ///< while the caches hold their elements

  /// The layer as a convolution of 1 x 1, without a function that the stages behind its sums do not
  /// compute: that one becomes `function_`.
  Layer convolution_of(const Layer& product) {
    require_only(product, kActivation | kIntegers | kWeightScales | kBias | kRounding);
    Layer made;
    made.set_kind(LayerKind::Convolution);
    made.name = product.name;
    made.integers = product.integers;
    made.weight_scales = product.weight_scales;
    made.bias = product.bias;
    made.bias.resize(static_cast<std::size_t>(columns_));
    (is_bound(product.activation) ? made.activation : function_) = product.activation;
    return made;
  }

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

}  // namespace

std::unique_ptr<Op> make_integer_product(const PlacedLayer& source) {
  return std::make_unique<TokenProduct>(source);
}

}  // namespace lenet::native::int8

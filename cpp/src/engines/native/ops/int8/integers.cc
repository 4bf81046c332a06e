#include "engines/native/ops/int8/integers.h"

#include <algorithm>
#include <limits>

namespace lenet::native::int8 {
namespace {

std::unique_ptr<Op> make(const PlacedLayer& source) {
  switch (source.layer.kind) {
    case LayerKind::Convolution:
      return make_integer_convolution(source);
    case LayerKind::MatMul:
      return make_integer_product(source);
    case LayerKind::Pool:
      return make_integer_pool(source);
    case LayerKind::Concat:
    case LayerKind::Channels:
      return make_integer_channels(source);
    default:
      return make_convert(source);
  }
}

}  // namespace

IntegerOps integer_ops(const Kernels& kernels) { return {&kernels, make}; }

std::unique_ptr<Op> make_integer_pool(const PlacedLayer& source) {
  const Layer& layer = source.layer;
  const Kernels& kernels = *source.integers;
  const QuantParams& from = source.inputs[0].quant;
  const QuantParams& to = source.output.quant;
  // Between the same integers their mean, so that one in the middle of two is rounded to even.
  const bool same = from == to;
  const Bounds bounds(to, layer.activation);
  const float to_steps = to ? 1 / to.scale : 0;
  const IntMean mean = {kernels.zero - shift_of(from),
                        same ? 1 : from.scale,
                        same ? 1 : to_steps,
                        bounds.least,
                        bounds.most,
                        shift_of(to)};
  const bool bounds_values = !is_max_pool(layer) || from.zero_point > 0;
  return native::make_pool(kernels.pool, layer, source.inputs[0], source.output,
                           layer.relu() && bounds_values, mean);
}

Bounds::Bounds(const QuantParams& quant, const Activation& activation)
    : least(quant ? bounds_of(quant).least : -std::numeric_limits<float>::infinity()),
      most(quant ? bounds_of(quant).most : std::numeric_limits<float>::infinity()) {
  if (activation.kind != ActivationKind::None) least = 0;
  if (activation.kind == ActivationKind::Clip) {
    most = std::min(most, quant ? activation.beta / quant.scale : activation.beta);
  }
}

void quantize(const Kernels& kernels, const float* from, std::int64_t count,
              const QuantParams& quant, const Bounds& bounds, char* to) {
  kernels.quantize(from, count, quant.scale, bounds.least, bounds.most, shift_of(quant), to);
}

}  // namespace lenet::native::int8

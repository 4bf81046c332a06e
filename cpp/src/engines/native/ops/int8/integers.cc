#include "engines/native/ops/int8/integers.h"

#include <algorithm>
#include <limits>

#include "engines/native/contradiction.h"

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
    case LayerKind::Quantize:
    case LayerKind::Convert:
      return make_convert(source);
    default:
      contradict("the layer " + source.layer.name + " has no operator for integers");
  }
}

}  // namespace

IntegerOps integer_ops(const Kernels& kernels) { return {&kernels, make}; }

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

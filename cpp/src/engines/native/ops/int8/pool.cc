#include "engines/native/ops/int8/integers.h"

namespace lenet::native::int8 {

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

}  // namespace lenet::native::int8

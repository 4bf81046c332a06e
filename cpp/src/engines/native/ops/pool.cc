#include "engines/native/ops/pool.h"

#include <algorithm>

#include "engines/native/ops/ops.h"
#include "lenet/error.h"

namespace lenet::native {
namespace {

PoolTask task_of(const FloatLayer& source) {
  PoolTask task{};
  task.values = static_cast<std::int32_t>(source.pixel());
  task.average = source.layer.pool != PoolKind::Max;
  task.relu = source.relu();
  return task;
}

class FloatPool final : public Pool<PoolTask> {
 public:
  explicit FloatPool(const FloatLayer& source)
      : Pool(source.kernels.pool, source.layer, source.inputs[0], source.output, task_of(source)) {
    task_.column_size = columns_.sizes.data();
    task_.row_size = rows_.sizes.data();
  }
};

}  // namespace

Windows pool_windows(const Layer& layer, std::size_t direction, std::int64_t image,
                     std::int64_t count) {
  const Window& window = layer.window;
  Windows found;
  for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t begin = i * window.strides[direction] - window.padding[2 * direction];
    std::int64_t end =
        std::min(begin + window.kernel[direction], image + window.padding[2 * direction + 1]);
    if (layer.adaptive) {
      begin = i * image / count;
      end = ((i + 1) * image + count - 1) / count;
    }
    const std::int64_t padded = end - begin;
    begin = std::max<std::int64_t>(begin, 0);
    end = std::min(end, image);
    if (begin >= end) {
      throw Error(ErrorCode::Unsupported,
                  "the native engine has no pool with windows outside the image (" + layer.name +
                      "); use engine paddle");
    }
    found.begins.push_back(static_cast<std::int32_t>(begin));
    found.ends.push_back(static_cast<std::int32_t>(end));
    found.sizes.push_back(
        static_cast<float>(layer.pool == PoolKind::AverageOfWindow ? padded : end - begin));
  }
  return found;
}

std::unique_ptr<Op> make_pool(const FloatLayer& source) {
  return std::make_unique<FloatPool>(source);
}

}  // namespace lenet::native

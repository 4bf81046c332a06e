#include "engines/native/ops/pool_windows.h"

#include <algorithm>

#include "lenet/error.h"

namespace lenet::native {

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

}  // namespace lenet::native

#include "engines/native/compile/compiled.h"

#include <algorithm>

namespace lenet::native {

std::int64_t images_at_once(const Program& program, std::int64_t most) {
  constexpr std::int64_t kMaxBytes = 1 << 26;
  return std::clamp<std::int64_t>(kMaxBytes / program.unit_bytes(), 1, most);
}

}  // namespace lenet::native

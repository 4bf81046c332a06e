#include "engines/native/ops/copy_runs.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace lenet::native {
namespace {

/// Copies runs whose length the compiler knows.
template <std::size_t kCount>
void copy_known(const Runs& runs, const float* from, float* to) {
  for (std::int64_t i = 0; i < runs.times; ++i, from += runs.from_step, to += runs.to_step) {
    std::memcpy(to, from, kCount * sizeof(float));
  }
}

}  // namespace

void copy_runs(const Runs& runs, const float* from, float* to) {
  switch (runs.count) {
    case 1:
      return copy_known<1>(runs, from, to);
    case 4:
      return copy_known<4>(runs, from, to);
    case 8:
      return copy_known<8>(runs, from, to);
    case 16:
      return copy_known<16>(runs, from, to);
    default:
      break;
  }
  for (std::int64_t i = 0; i < runs.times; ++i, from += runs.from_step, to += runs.to_step) {
    std::copy_n(from, runs.count, to);
  }
}

}  // namespace lenet::native

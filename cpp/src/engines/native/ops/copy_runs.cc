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

/// Copies pieces of each run whose length the compiler knows, as many as there are.
/// \param done how many numbers of each run have been copied
template <std::int64_t kCount>
void copy_pieces(const Runs& runs, const float* from, float* to, std::int64_t& done) {
  for (; done + kCount <= runs.count; done += kCount) {
    copy_known<static_cast<std::size_t>(kCount)>(runs, from + done, to + done);
  }
}

}  // namespace

void copy_runs(const Runs& runs, const float* from, float* to) {
  constexpr std::int64_t kLong = 96;  // a call for each takes less time than pieces
  if (runs.count > kLong) {
    for (std::int64_t i = 0; i < runs.times; ++i, from += runs.from_step, to += runs.to_step) {
      std::copy_n(from, runs.count, to);
    }
    return;
  }
  std::int64_t done = 0;
  copy_pieces<32>(runs, from, to, done);
  copy_pieces<16>(runs, from, to, done);
  copy_pieces<8>(runs, from, to, done);
  copy_pieces<4>(runs, from, to, done);
  copy_pieces<1>(runs, from, to, done);
}

}  // namespace lenet::native

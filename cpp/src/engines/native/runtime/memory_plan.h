/// \file
/// Where tensors lie in one block of memory, by when they are needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lenet::native {

/// Memory that is needed from one step of a program to another, both included.
struct Lifetime {
  std::int64_t bytes = 0;  ///< 0: none
  std::size_t first = 0;
  std::size_t last = 0;  ///< not before `first`
};

struct MemoryPlan {
  std::vector<std::int64_t> begins;  ///< of each lifetime, at cache lines
  std::int64_t bytes = 0;            ///< of all together
};

/// Takes n log n time.
/// \param share whether lifetimes that do not overlap may have the same memory
MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes, bool share);

}  // namespace lenet::native

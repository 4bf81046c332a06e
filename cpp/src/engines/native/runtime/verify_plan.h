/// \file
/// Proves of each program, before it is run, that its steps find in memory what they read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engines/native/runtime/program.h"

namespace lenet::native {

/// The steps of a program, and the memory that it gave their tensors.
struct MemoryUse {
  const std::vector<StepIo>& steps;
  std::size_t first_batched;  ///< the steps from this one on run for all units at once
  std::size_t input;          ///< a tensor, which reading the images gives
  const std::vector<OutputSource>& outputs;
  const std::vector<Placement>& placements;  ///< by tensor
  const std::vector<bool>& clears;  ///< by tensor: its border, before each time it is written
  std::int64_t shared_bytes;
  std::int64_t unit_bytes;
};

/// Follows two runs, the second over what the first left in memory. What a step reads must lie in
/// bytes that the step which gives it wrote last, with a border of zeros; a step may write over
/// what it reads where StepIo says so, in the same layout; what a Concat does not copy must lie in
/// its place. Taken for granted: that an operator does what StepIo says, and writes all pixels of
/// its output, what fills their vectors, what is beyond the tensor, and nothing else. That 0 fills
/// the vectors, Program sees to itself, unless StepIo says that the operator keeps zeros: tests
/// prove that with LENET_NATIVE_FORGET. Takes n log n time. \throws Error BackendFailure: the plan
/// is wrong, which is a fault of the engine
void verify_plan(const MemoryUse& use, const NameOfStep& name_of);

}  // namespace lenet::native

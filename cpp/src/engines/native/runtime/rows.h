/// \file
/// Rows of images as they come into a program, and of tensors as they leave it.
#pragma once

#include <cstdint>

#include "engines/native/kernels/int8/kernels.h"
#include "engines/native/kernels/kernels.h"
#include "engines/native/runtime/placement.h"

namespace lenet::native {

/// The kernels of a program.
struct ProgramKernels {
  const Kernels& floats;
  const int8::Kernels* integers = nullptr;  ///< of a program that has tensors of integers
};

/// Writes rows of one channel of a unit's images to a tensor.
/// \param images the first of these rows of each image of the unit; moved on
/// \param begin the first row
/// \param end behind the last row
/// \param first the tensor's first pixel
/// \param scratch keeps a row of all channels between the calls for them
void write_rows(const ProgramKernels& kernels, const Placement& tensor, const float** images,
                std::int64_t images_of_unit, std::int64_t channel, std::int64_t begin,
                std::int64_t end, char* first, char* scratch);

/// A row of all channels of a tensor as float32, in its layout.
/// \param first the tensor's first pixel
/// \param scratch where integers become float32
const float* read_row(const ProgramKernels& kernels, const Placement& tensor, const char* first,
                      std::int64_t row, float* scratch);

}  // namespace lenet::native

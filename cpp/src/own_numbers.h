/// The input of a model whose element type is another one than float32.
#pragma once

#include <cstddef>
#include <string>

#include "lenet/tensor.h"
#include "model/element_types.h"

namespace lenet {

/// An input as an engine reads it, with the memory that it may need.
struct OwnInput {
  TensorView view;
  Tensor values;      ///< float32; or empty
  std::string bytes;  ///< numbers of the model's type; or empty
};

/// Numbers that the type has, as bytes in the processor's order: of an output its values in the
/// model's own type.
std::string converted_to(const ElementType& type, const float* values, std::size_t count);

/// The type of an element in a .npy, such as "<f4".
std::string npy_type(const ElementType& type);

/// Gives an engine what a caller gave: values, pixels or numbers, of a shape that fits. Pixels
/// without a table are the numbers that the model takes, and are not divided by 255.
/// \param spec of the input, whose type is not float32
/// \param as_numbers whether the engine reads numbers of that type, or float32 in their place
/// \param check_finite whether NaN and infinity are refused where the type has them
/// \throws Error BadInput: a value is no number of the model's type. Floating-point values are
///   rounded to the model's type without an error, as everywhere.
OwnInput own_input(const TensorView& input, const TensorSpec& spec, bool as_numbers,
                   bool check_finite);

}  // namespace lenet

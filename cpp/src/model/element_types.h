/// \file
/// The types of a tensor's elements, which each format has its own words for.
#pragma once

#include <cstddef>

namespace lenet {

struct ElementType {
  int dtype;  ///< VarType.Type of framework.proto
  std::size_t size;
  const char* pir = "";  ///< in a .json, behind "0."
  int onnx = 0;          ///< TensorProto.DataType of those that are read of an .onnx
};

inline constexpr ElementType kElementTypes[] = {
    {0, 1, "t_bool", 9},
    {1, 2, "t_i16"},
    {2, 4, "t_i32", 6},
    {3, 8, "t_i64", 7},
    {4, 2, "t_f16"},
    {5, 4, "t_f32", 1},
    {6, 8, "t_f64"},
    {20, 1, "t_ui8"},
    {21, 1, "t_i8"},
    {22, 2, "t_bf16"},
    {23, 8, "t_c64"},
    {24, 16, "t_c128"},
    {32, 1},
    {33, 1},
};
inline constexpr ElementType kNoElementType = {-1, 0};

/// The one of which `is` holds, or kNoElementType.
template <typename Is>
const ElementType& find_element_type(const Is& is) {
  for (const ElementType& type : kElementTypes) {
    if (is(type)) return type;
  }
  return kNoElementType;
}

/// Bytes of one element; 0 of an unknown type.
inline std::size_t element_size(int dtype) {
  return find_element_type([&](const ElementType& type) { return type.dtype == dtype; }).size;
}

}  // namespace lenet

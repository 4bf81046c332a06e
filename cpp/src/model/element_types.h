/// The types of a tensor's elements, which each format has its own words for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lenet {

// VarType.Type of framework.proto.
inline constexpr int kBool = 0;
inline constexpr int kInt32 = 2;
inline constexpr int kInt64 = 3;
inline constexpr int kFloat16 = 4;
inline constexpr int kFloat32 = 5;
inline constexpr int kFloat64 = 6;
inline constexpr int kUint8 = 20;
inline constexpr int kInt8 = 21;
inline constexpr int kBfloat16 = 22;
inline constexpr int kComplex64 = 23;

struct ElementType {
  int dtype;  ///< VarType.Type
  std::size_t size;
  char pir[8] = "";  ///< in a .json, behind "0."
  char name[9] =
      "";        ///< in attributes of a .json, and TensorSpec::dtype, of those that are read there
  int onnx = 0;  ///< TensorProto.DataType of those that are read
  // The integers that it has; of float16 those that it rounds to a finite number.
  std::int64_t least = 0;
  std::int64_t most = 0;
};

inline constexpr ElementType kElementTypes[] = {
    {kBool, 1, "t_bool", "bool", 9, 0, 255},
    {1, 2, "t_i16"},
    {kInt32, 4, "t_i32", "int32", 6, INT32_MIN, INT32_MAX},
    {kInt64, 8, "t_i64", "int64", 7, INT64_MIN, INT64_MAX},
    {kFloat16, 2, "t_f16", "float16", 10, -65519, 65519},
    {kFloat32, 4, "t_f32", "float32", 1},
    {kFloat64, 8, "t_f64", "float64", 11},
    {kUint8, 1, "t_ui8", "uint8", 2, 0, 255},
    {kInt8, 1, "t_i8", "", 3, -128, 127},
    {kBfloat16, 2, "t_bf16", "bfloat16", 16},
    {kComplex64, 8, "t_c64"},
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

/// That of a number in an .onnx.
inline const ElementType& onnx_element_type(std::int64_t number) {
  return find_element_type([=](const auto& type) { return number > 0 && type.onnx == number; });
}

inline const ElementType& element_type(int dtype) {
  return find_element_type([=](const ElementType& type) { return type.dtype == dtype; });
}
inline const ElementType& element_type_named(std::string_view name) {
  return find_element_type([=](const auto& type) { return !name.empty() && name == type.name; });
}

/// Bytes of one element; 0 of an unknown type.
inline std::size_t element_size(int dtype) { return element_type(dtype).size; }

/// Whether it is a floating-point type of 16 bits.
inline bool is_half(int dtype) { return dtype == kFloat16 || dtype == kBfloat16; }

/// The type that checks and our engine compute values of a type in: float32 has all numbers of the
/// types of 16 bits.
inline int computed_dtype(int dtype) { return is_half(dtype) ? kFloat32 : dtype; }

inline bool is_real(int dtype) { return dtype == kFloat32 || dtype == kFloat64 || is_half(dtype); }
/// Whether it is the NumPy name of such a type.
inline bool is_real(std::string_view name) { return is_real(element_type_named(name).dtype); }

/// Whether an input may be of it; runs have float32 in its place.
inline bool is_number(int dtype) {
  return is_real(dtype) || dtype == kUint8 || dtype == kInt32 || dtype == kInt64;
}

/// Whether an output may be of it; runs have float32 in its place.
inline bool is_output(int dtype) { return is_number(dtype) || dtype == kBool; }
inline constexpr const char* kOutputTypes =
    "float32, float16, bfloat16, float64, int32, int64, uint8 or bool";

}  // namespace lenet

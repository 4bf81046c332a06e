#include "own_numbers.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "finite.h"
#include "io/printable.h"
#include "lenet/error.h"
#include "model/element_types.h"
#include "model/graph.h"
#include "pixels.h"

namespace lenet {
namespace {

/// Integers have to be that in float32; floating-point numbers are rounded.
void require_numbers_of(const TensorSpec& spec, const float* values, std::size_t count) {
  const ElementType& type = element_type_named(spec.dtype);
  const auto least = static_cast<float>(type.least);
  const float beyond = static_cast<float>(type.most) + 1;
  if (type.most == 0) return;  // it has what float32 has
  for (std::size_t i = 0; i < count; ++i) {
    const float value = values[i];
    const bool whole = value == std::floor(value) || is_real(type.dtype);
    if (value >= least && value < beyond && whole) continue;
    throw Error(ErrorCode::BadInput, "input '" + spec.name + "' has the value " +
                                         print("%.9g", static_cast<double>(value)) +
                                         ", which is no number of the model's " + spec.dtype);
  }
}

/// To the nearest, to even in the middle; what is too large becomes infinity.
std::uint16_t to_float16(float number) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &number, sizeof(bits));
  const auto sign = static_cast<std::uint16_t>(bits >> 16U & 0x8000U);
  bits &= 0x7fffffffU;
  constexpr std::uint32_t kLeastNormal = 0x38800000U;  // 2^-14
  if (bits < kLeastNormal) {
    const auto steps = static_cast<std::uint16_t>(std::nearbyint(std::abs(number) * 0x1p24F));
    return sign | steps;
  }
  bits += 0xfffU + (bits >> 13U & 1U) - 0x38000000U;
  return sign | static_cast<std::uint16_t>(std::min(bits >> 13U, 0x7c00U));
}

/// Rounds to the nearest bfloat16, of two to the even one. A NaN stays one.
std::uint16_t to_bfloat16(float number) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &number, sizeof(bits));
  if (std::isnan(number)) return static_cast<std::uint16_t>(bits >> 16U | 0x40U);
  return static_cast<std::uint16_t>((bits + 0x7fffU + (bits >> 16U & 1U)) >> 16U);
}

template <typename Number>
Number cast(float number) {
  return static_cast<Number>(number);
}

}  // namespace

std::string converted_to(const ElementType& type, const float* values, std::size_t count) {
  std::string bytes(count * type.size, '\0');
  const auto convert = [&](auto function) {
    for (std::size_t i = 0; i < count; ++i) {
      const auto number = function(values[i]);
      std::memcpy(&bytes[i * sizeof(number)], &number, sizeof(number));
    }
  };
  if (type.dtype == kBool) convert(cast<bool>);
  if (type.dtype == kUint8) convert(cast<std::uint8_t>);
  if (type.dtype == kInt32) convert(cast<std::int32_t>);
  if (type.dtype == kInt64) convert(cast<std::int64_t>);
  if (type.dtype == kFloat16) convert(to_float16);
  if (type.dtype == kBfloat16) convert(to_bfloat16);
  if (type.dtype == kFloat32) convert(cast<float>);
  if (type.dtype == kFloat64) convert(cast<double>);
  return bytes;
}

std::string npy_type(const ElementType& type) {
  if (type.dtype == kBool) return "|b1";
  if (type.dtype == kUint8) return "|u1";
  return (is_real(type.dtype) ? "<f" : "<i") + std::to_string(type.size);
}

OwnInput own_input(const TensorView& input, const TensorSpec& spec, bool as_numbers,
                   bool check_finite) {
  const ElementType& type = element_type_named(spec.dtype);
  const std::size_t count = element_count(input.shape);
  OwnInput own;
  own.view = input;
  const auto take_values = [&] { own.view = own.values.view(); };
  if (input.pixels != nullptr && input.table != nullptr) {
    read_values(input, own.values);
    take_values();
  } else if (input.pixels != nullptr && type.dtype == kUint8) {
    own.view = {nullptr, input.shape, nullptr, nullptr, input.pixels};
  } else if (input.pixels != nullptr) {
    own.values = {{input.pixels, input.pixels + count}, input.shape};
    take_values();
  }
  const bool values = own.view.numbers == nullptr;
  const std::string_view numbers(static_cast<const char*>(own.view.numbers),
                                 values ? 0 : count * type.size);
  const bool finite = values ? all_finite(own.view.data, count) : all_finite(numbers, type.dtype);
  if (check_finite && !finite) {
    throw Error(ErrorCode::BadInput, "input '" + spec.name +
                                         "' holds NaN or infinity; clean the data, or set "
                                         "check_finite to false to let it through");
  }
  std::string_view given = numbers;
  if (values) {
    require_numbers_of(spec, own.view.data, count);
    // All other types have the numbers that a float32 value was found to be.
    if (!as_numbers && !is_half(type.dtype)) return own;
    given = own.bytes = converted_to(type, own.view.data, count);
    own.view = {nullptr, input.shape, nullptr, nullptr, own.bytes.data()};
  }
  if (!as_numbers) {
    Value contents;
    contents.data_dtype = type.dtype;
    contents.data = given;
    own.values = {floats_of(contents), input.shape};
    take_values();
  }
  return own;
}

}  // namespace lenet

// The input of a model of another type than float32, as each kind of engine gets it.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "own_numbers.h"
#include "support.h"

namespace lenet::tests {
namespace {

TensorSpec spec_of(const std::string& dtype) { return {"x", {-1, 2}, dtype}; }

template <typename Number>
std::vector<Number> numbers_of(const OwnInput& own, std::size_t count) {
  std::vector<Number> numbers(count);
  std::memcpy(numbers.data(), own.view.numbers, count * sizeof(Number));
  return numbers;
}

}  // namespace

TEST_CASE("float values become numbers of the model's type, or stay") {
  const std::vector<float> values = {0, 255};
  const TensorView input{values.data(), {1, 2}};
  const OwnInput bytes = own_input(input, spec_of("uint8"), true, true);
  CHECK(numbers_of<std::uint8_t>(bytes, 2) == std::vector<std::uint8_t>{0, 255});
  CHECK(bytes.view.data == nullptr);
  const OwnInput floats = own_input(input, spec_of("uint8"), false, true);
  CHECK(floats.view.data == values.data());
  CHECK(floats.view.numbers == nullptr);
  CHECK(numbers_of<std::int64_t>(own_input(input, spec_of("int64"), true, true), 2) ==
        std::vector<std::int64_t>{0, 255});
  CHECK(numbers_of<double>(own_input(input, spec_of("float64"), true, true), 2) ==
        std::vector<double>{0, 255});
}

TEST_CASE("float values are rounded to types of 16 bits, to even in the middle") {
  // bfloat16 has 8 bits: 1 + 2^-8 lies between 1 and the next number, 1 + 2^-7.
  const std::vector<float> values = {1 + 0x1p-8F, 1 + 3 * 0x1p-8F};
  const TensorView input{values.data(), {1, 2}};
  CHECK(numbers_of<std::uint16_t>(own_input(input, spec_of("bfloat16"), true, true), 2) ==
        std::vector<std::uint16_t>{0x3f80, 0x3f82});
  const OwnInput floats = own_input(input, spec_of("bfloat16"), false, true);
  CHECK(floats.values.data == std::vector<float>{1, 1 + 0x1p-6F});
  CHECK(floats.view.data == floats.values.data.data());
  const std::vector<float> steps = {1 + 0x1p-11F, 1 + 3 * 0x1p-11F};  // of float16, 11 bits
  const OwnInput halves = own_input({steps.data(), {1, 2}}, spec_of("float16"), false, true);
  CHECK(halves.values.data == std::vector<float>{1, 1 + 0x1p-9F});
  // A NaN whose bits would be cut off stays one.
  const float nan[] = {0, std::nanf("1")};
  const OwnInput unchecked = own_input({nan, {1, 2}}, spec_of("bfloat16"), false, false);
  CHECK(std::isnan(unchecked.values.data[1]));
}

TEST_CASE("pixels are the numbers that they are") {
  const std::uint8_t pixels[] = {7, 200};
  const TensorView input{nullptr, {1, 2}, pixels};
  CHECK(own_input(input, spec_of("uint8"), true, true).view.numbers == pixels);
  const OwnInput floats = own_input(input, spec_of("uint8"), false, true);
  CHECK(std::vector<float>(floats.view.data, floats.view.data + 2) == std::vector<float>{7, 200});
  CHECK(numbers_of<std::int32_t>(own_input(input, spec_of("int32"), true, true), 2) ==
        std::vector<std::int32_t>{7, 200});
}

TEST_CASE("numbers of the model's type are not changed") {
  const std::int64_t numbers[] = {(std::int64_t{1} << 53) + 1, -3};
  const TensorView input{nullptr, {1, 2}, nullptr, nullptr, numbers};
  CHECK(own_input(input, spec_of("int64"), true, true).view.numbers == numbers);
  const OwnInput floats = own_input(input, spec_of("int64"), false, true);
  CHECK(floats.view.data[0] == static_cast<float>(numbers[0]));  // as a Cast in the model does
  CHECK(floats.view.data[1] == -3);
  CHECK(floats.view.numbers == nullptr);
}

TEST_CASE("what is no number of the model's type is refused") {
  const auto refuses = [](float value, const std::string& dtype, const char* text) {
    const float values[] = {0, value};
    for (const bool as_numbers : {true, false}) {
      CHECK_ERROR(BadInput, text, own_input({values, {1, 2}}, spec_of(dtype), as_numbers, true));
    }
  };
  refuses(256, "uint8", "the value 256, which is no number of the model's uint8");
  refuses(-1, "uint8", "the value -1");
  refuses(0.5F, "int32", "the value 0.5");
  refuses(0x1p31F, "int32", "the value 2.14748365e+09");
  refuses(0x1p63F, "int64", "no number of the model's int64");
  refuses(std::numeric_limits<float>::quiet_NaN(), "float64", "NaN");
  const double infinite[] = {0, std::numeric_limits<double>::infinity()};
  const TensorView input{nullptr, {1, 2}, nullptr, nullptr, infinite};
  CHECK_ERROR(BadInput, "infinity", own_input(input, spec_of("float64"), true, true));
  CHECK(own_input(input, spec_of("float64"), true, false).view.numbers == infinite);
  // NaN is no integer, whatever is checked.
  const float nan[] = {0, std::nanf("")};
  CHECK_ERROR(BadInput, "no number", own_input({nan, {1, 2}}, spec_of("int64"), true, false));
}

}  // namespace lenet::tests

#include "engines/plain/array.h"

#include <cmath>
#include <limits>

#include "model/element_types.h"

namespace lenet::plain {

bool Array::is_real() const { return dtype == kFloat64; }

void Array::set(std::size_t at, double number) {
  if (is_real()) {
    reals[at] = number;
  } else {
    integers[at] = wrapped(dtype, make_integer(number));
  }
}

int plain_dtype(int dtype) { return lenet::is_real(dtype) ? kFloat64 : dtype; }

void contradict(const std::string& what) {
  throw Error(ErrorCode::BackendFailure,
              "the plain engine contradicts itself: " + what +
                  "; this is a fault of lenet_cpp: please report it, and use another engine");
}

std::int64_t wrapped(int dtype, std::int64_t number) {
  switch (dtype) {
    case kBool:
      return number != 0 ? 1 : 0;
    case kUint8:
      return static_cast<std::uint8_t>(number);
    case kInt8:
      return static_cast<std::int8_t>(number);
    case kInt32:
      return static_cast<std::int32_t>(number);
    default:
      return number;
  }
}

std::int64_t make_integer(double number) {
  constexpr double kBehind = 0x1p63;
  if (std::isnan(number) || number < -kBehind) return std::numeric_limits<std::int64_t>::min();
  if (number >= kBehind) return std::numeric_limits<std::int64_t>::max();
  return static_cast<std::int64_t>(number);
}

std::int64_t count_of(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  return count;
}

Array make_array(int dtype, const Shape& shape) {
  Array made;
  made.dtype = plain_dtype(dtype);
  made.shape = shape;
  const auto count = static_cast<std::size_t>(count_of(shape));
  if (made.is_real()) {
    made.reals.resize(count);
  } else {
    made.integers.resize(count);
  }
  return made;
}

Array read_array(const Value& value, const Shape& shape) {
  Array made = make_array(value.dtype, shape);
  const std::size_t count = count_values(value);
  if (count != made.count()) {
    throw Error(ErrorCode::BadModel, "'" + value.name + "' is damaged: it holds " +
                                         std::to_string(count) + " values, and its shape is " +
                                         to_string(shape));
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (made.is_real()) {
      made.reals[i] = number_as<double>(value, i);
    } else {
      made.integers[i] = wrapped(made.dtype, number_as<std::int64_t>(value, i));
    }
  }
  return made;
}

Integers steps_of_shape(const Shape& shape) {
  Integers steps(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) steps[i - 1] = steps[i] * shape[i];
  return steps;
}

Integers repeated_steps(const Shape& from, const Shape& to, std::int64_t axis) {
  const Integers own = steps_of_shape(from);
  const std::size_t behind = to.size() - from.size();
  const std::size_t begin = axis < 0 ? behind : static_cast<std::size_t>(axis);
  bool fits = from.size() <= to.size() && begin + from.size() <= to.size();
  Integers steps(to.size(), 0);
  for (std::size_t i = 0; fits && i < from.size(); ++i) {
    if (from[i] != 1) steps[begin + i] = own[i];
    fits = from[i] == 1 || from[i] == to[begin + i];
  }
  if (!fits) contradict("it repeats " + to_string(from) + " to " + to_string(to));
  return steps;
}

Integers places_of(const Shape& shape, const Integers& steps, std::int64_t first) {
  const auto count = static_cast<std::size_t>(count_of(shape));
  Integers places(count);
  Integers index(shape.size());
  std::int64_t at = first;
  for (std::size_t i = 0; i < count; ++i) {
    places[i] = at;
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      at += steps[axis];
      if (++index[axis] < shape[axis]) break;
      at -= steps[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return places;
}

Integers repeated_places(const Shape& from, const Shape& to, std::int64_t axis) {
  return places_of(to, repeated_steps(from, to, axis));
}

Array taken(const Array& from, const Integers& places, const Shape& shape, double fill) {
  Array made = make_array(from.dtype, shape);
  if (places.size() != made.count()) contradict("it gives another number of values");
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto place = static_cast<std::size_t>(places[i]);
    if (places[i] >= 0 && place >= from.count()) contradict("it reads behind a tensor");
    if (places[i] < 0) {
      made.set(i, fill);
    } else if (made.is_real()) {
      made.reals[i] = from.reals[place];
    } else {
      made.integers[i] = from.integers[place];
    }
  }
  return made;
}

Lines lines_of(const Shape& shape, std::size_t axis) {
  const auto middle = shape.begin() + static_cast<std::ptrdiff_t>(axis);
  return {count_of(Shape(shape.begin(), middle)), shape[axis],
          count_of(Shape(middle + 1, shape.end()))};
}

}  // namespace lenet::plain

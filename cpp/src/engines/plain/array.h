/// \file
/// The tensors that the plain program computes with, and how their values are counted through.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "model/graph.h"

namespace lenet::plain {

/// A tensor in the order of its shape. Every floating-point type is double here, and every other
/// type is an int64 that holds a value of the type.
struct Array {
  int dtype = 0;  ///< kFloat64, or the program's type of integers or bools
  Shape shape;
  Numbers reals;      ///< of floating-point numbers
  Integers integers;  ///< of other types

  bool is_real() const;
  std::size_t count() const { return is_real() ? reals.size() : integers.size(); }
  double number(std::size_t at) const {
    return is_real() ? reals[at] : static_cast<double>(integers[at]);
  }
  /// Sets a value, cut to the type as make_integer does.
  void set(std::size_t at, double number);
};

/// The type that values of a type of the program have in an Array.
int plain_dtype(int dtype);

/// Reports a fault of this engine. \throws Error BackendFailure.
[[noreturn]] void contradict(const std::string& what);

/// A value of an integer type that has the low bits of a number; of bool, whether it is not 0.
std::int64_t wrapped(int dtype, std::int64_t number);
/// Cuts off the fraction. What is out of the range of int64 becomes its nearest number, and NaN the
/// least one.
std::int64_t make_integer(double number);

std::int64_t count_of(const Shape& shape);

/// An Array of zeros. \param dtype of the program
Array make_array(int dtype, const Shape& shape);

/// What a value holds whose contents the model fixes. \param shape that it has for this run
Array read_array(const Value& value, const Shape& shape);

/// How far the next value of each axis lies.
Integers steps_of_shape(const Shape& shape);

/// The steps along `to` through a tensor that is repeated there: 0 along an axis where it has one
/// value and `to` has more. \param axis of `to` with which `from` begins; -1: they end together
/// \throws Error BackendFailure: it cannot be repeated so
Integers repeated_steps(const Shape& from, const Shape& to, std::int64_t axis = -1);

/// For each index of `shape`, in order: `first` and the index of each axis times its step.
Integers places_of(const Shape& shape, const Integers& steps, std::int64_t first = 0);

/// For each value of `to`, the place in a tensor that is repeated along it.
Integers repeated_places(const Shape& from, const Shape& to, std::int64_t axis = -1);

/// Values of `from` by their places. \param fill in the place of -1
/// \throws Error BackendFailure: there is no such place
Array taken(const Array& from, const Integers& places, const Shape& shape, double fill = 0);

/// The values along one axis of a shape, and how many such lines there are.
struct Lines {
  std::int64_t outer = 1;
  std::int64_t count = 1;  ///< values of a line
  std::int64_t inner = 1;  ///< how far the next one lies

  /// Calls `work(first)` with the place of the first value of each line.
  template <typename Work>
  void each(const Work& work) const {
    if (count == 0) return;
    for (std::int64_t o = 0; o < outer; ++o) {
      for (std::int64_t i = 0; i < inner; ++i) work(o * count * inner + i);
    }
  }
  std::size_t at(std::int64_t first, std::int64_t i) const {
    return static_cast<std::size_t>(first + i * inner);
  }
};
Lines lines_of(const Shape& shape, std::size_t axis);

}  // namespace lenet::plain

/// \file
/// Sums of products, which the plain program spends its time with.
#pragma once

#include <cstdint>

namespace lenet::plain {

/// A matrix of numbers in the order of its rows, or a part of one.
template <typename Number>
struct Matrix {
  Number* numbers;
  std::int64_t step;  ///< from one row to the next
};

/// Adds the product of `left` [rows, terms] and `right` [terms, columns] to `sums` [rows, columns].
/// \tparam Number double, or std::uint64_t for integers, which wrap around
template <typename Number>
void add_products(const Matrix<const Number>& left, const Matrix<const Number>& right,
                  const Matrix<Number>& sums, std::int64_t rows, std::int64_t terms,
                  std::int64_t columns);

}  // namespace lenet::plain

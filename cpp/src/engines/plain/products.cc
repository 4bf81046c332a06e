#include "engines/plain/products.h"

#include <algorithm>

namespace lenet::plain {
namespace {

// So many columns and terms of the right matrix stay in a cache while all rows are computed.
constexpr std::int64_t kColumns = 256;
constexpr std::int64_t kTerms = 64;

template <typename Number>
void add_part(const Number* left, std::int64_t left_step, const Number* right,
              std::int64_t right_step, Number* sums, std::int64_t sum_step, std::int64_t rows,
              std::int64_t terms, std::int64_t columns) {
  for (std::int64_t row = 0; row < rows; ++row) {
    const Number* const factors = left + row * left_step;
    Number* const to = sums + row * sum_step;
    std::int64_t k = 0;
    for (; k + 4 <= terms; k += 4) {
      const Number* const one = right + k * right_step;
      const Number* const two = one + right_step;
      const Number* const three = two + right_step;
      const Number* const four = three + right_step;
      for (std::int64_t i = 0; i < columns; ++i) {
        to[i] += factors[k] * one[i] + factors[k + 1] * two[i] + factors[k + 2] * three[i] +
                 factors[k + 3] * four[i];
      }
    }
    for (; k < terms; ++k) {
      const Number* const one = right + k * right_step;
      for (std::int64_t i = 0; i < columns; ++i) to[i] += factors[k] * one[i];
    }
  }
}

}  // namespace

template <typename Number>
void add_products(const Matrix<const Number>& left, const Matrix<const Number>& right,
                  const Matrix<Number>& sums, std::int64_t rows, std::int64_t terms,
                  std::int64_t columns) {
  for (std::int64_t column = 0; column < columns; column += kColumns) {
    for (std::int64_t term = 0; term < terms; term += kTerms) {
      add_part(left.numbers + term, left.step, right.numbers + term * right.step + column,
               right.step, sums.numbers + column, sums.step, rows, std::min(kTerms, terms - term),
               std::min(kColumns, columns - column));
    }
  }
}

template void add_products(const Matrix<const double>&, const Matrix<const double>&,
                           const Matrix<double>&, std::int64_t, std::int64_t, std::int64_t);
template void add_products(const Matrix<const std::uint64_t>&, const Matrix<const std::uint64_t>&,
                           const Matrix<std::uint64_t>&, std::int64_t, std::int64_t, std::int64_t);

}  // namespace lenet::plain

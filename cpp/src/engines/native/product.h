/// \file
/// Products of matrices: what a layer of the kind MatMul computes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engines/native/tensor.h"

namespace lenet::native {

/// Products of the matrices of one image: of each, [rows][sums] times [sums][columns] is
/// [rows][columns]. The matrices of a tensor may lie at any steps. Those of an operand have the
/// values of a row or of a column side by side, those of the output the values of a row.
struct Product {
  /// How the matrices of a tensor lie in it, in values.
  struct Matrix {
    std::int64_t begin = 0;   ///< where the first one begins
    std::int64_t row = 0;     ///< from a value to the one below it
    std::int64_t column = 0;  ///< from a value to the one beside it
  };
  /// Over the matrices, the outermost first: how far the next matrix lies in each tensor, in
  /// values; 0 where an operand has one that is taken for several.
  struct Loop {
    std::int64_t count = 1;
    std::int64_t first = 0;
    std::int64_t second = 0;
    std::int64_t output = 0;
  };
  std::vector<Loop> matrices;
  std::int64_t rows = 1;
  std::int64_t sums = 1;
  std::int64_t columns = 1;
  Matrix first;   ///< [rows][sums]
  Matrix second;  ///< [sums][columns]; of weights, which are [columns][sums], as of a tensor
  Matrix output;  ///< [rows][columns]
  /// After plan_integers, how a product of integers rounds its first operand.
  QuantParams quant = {};

  std::int64_t count() const {
    std::int64_t product = 1;
    for (const Loop& loop : matrices) product *= loop.count;
    return product;
  }
  double multiply_adds() const {
    return static_cast<double>(count() * rows) * static_cast<double>(sums * columns);
  }
  /// Places each matrix without gaps, and those of the output one after the other. The steps of
  /// the loops in the operands stay as they are. A transposed matrix lies column by column.
  void lay_out(bool first_transposed = false, bool second_transposed = false) {
    const auto matrix = [](std::int64_t of_rows, std::int64_t of_columns, bool transposed) {
      return transposed ? Matrix{0, 1, of_rows} : Matrix{0, of_columns, 1};
    };
    first = matrix(rows, sums, first_transposed);
    second = matrix(sums, columns, second_transposed);
    output = matrix(rows, columns, false);
    std::int64_t values = rows * columns;
    for (auto loop = matrices.rbegin(); loop != matrices.rend(); ++loop) {
      loop->output = values;
      values *= loop->count;
    }
  }
  /// Whether the rows of the first operand have their values apart.
  bool is_turned() const { return sums > 1 && first.column != 1; }
  /// Returns the same products with as few matrices as there can be. Matrices that follow one
  /// another in the first operand and in the output, and are multiplied by the same, become one
  /// with more rows.
  /// \param weights whether the second operand is one matrix for all
  Product joined(bool weights) const;
  /// Whether it writes each of so many values of its output, once.
  bool writes_all(std::int64_t values) const;
  /// Whether rows lie one after the other in the first operand and in the output, as kernels of
  /// integers read and write them.
  bool has_plain_rows() const {
    return matrices.empty() && first.begin == 0 && first.column == 1 &&
           (rows == 1 || (first.row == sums && output.row == columns));
  }
  std::size_t bytes() const { return 0; }
};

/// One of the operands of a product, or what it gives.
struct ProductSide {
  Product::Matrix Product::*matrix;
  std::int64_t Product::Loop::*step;
  std::int64_t Product::*rows;
  std::int64_t Product::*columns;
};
inline constexpr ProductSide kFirstOperand = {&Product::first, &Product::Loop::first,
                                              &Product::rows, &Product::sums};
inline constexpr ProductSide kSecondOperand = {&Product::second, &Product::Loop::second,
                                               &Product::sums, &Product::columns};
inline constexpr ProductSide kProductOutput = {&Product::output, &Product::Loop::output,
                                               &Product::rows, &Product::columns};

}  // namespace lenet::native

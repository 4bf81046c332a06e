#include "engines/native/ops/families.h"

#include <cstddef>
#include <cstdint>

#include "engines/native/contradiction.h"

namespace lenet::native {

// Passes leave no View and no Identity, and IntegerOps makes the operator of a Quantize.
extern const LayerFamily kFamilyWithoutOperator = {
    [](const LayerCheck& of) { of.require_same_values(); }, nullptr};

void LayerCheck::require(bool condition, const char* what) const {
  if (!condition) contradict("the layer " + layer.name + " " + what);
}

void LayerCheck::require_same_values() const {
  require(output().values() == input().values(), "gives another number of values than it takes");
}

void LayerCheck::require_axis(const Axis& axis) const {
  require(axis.count > 0 && axis.inner > 0 && input().values() % (axis.count * axis.inner) == 0,
          "has an axis that does not divide its values");
}

void LayerCheck::require_matrices(const Product& product, const ProductSide& side,
                                  std::int64_t values) const {
  const char* const outside = "has matrices that lie outside of a tensor";
  const Product::Matrix& matrix = product.*side.matrix;
  const std::int64_t rows = product.*side.rows;
  const std::int64_t columns = product.*side.columns;
  require(matrix.begin >= 0 && matrix.row >= 0 && matrix.column >= 0, outside);
  std::int64_t last = matrix.begin + (rows - 1) * matrix.row + (columns - 1) * matrix.column;
  for (const Product::Loop& loop : product.matrices) {
    require(loop.*side.step >= 0, outside);
    last += (loop.count - 1) * (loop.*side.step);
  }
  require(last < values, outside);
  require(rows == 1 || columns == 1 || matrix.row == 1 || matrix.column == 1,
          "has matrices in which no values lie side by side");
}

}  // namespace lenet::native

// Rules of products of matrices.

#include <algorithm>
#include <array>

#include "model/rules/rules.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

void infer_matmul(OperatorView& op) {
  const Value& x = op.in("X");
  const Value& y = op.in("Y");
  op.require(x.dtype == y.dtype, "the element type");
  op.supports(!op.is_onnx() || (x.shape.size() >= 2 && y.shape.size() == 2),
              "product with what is no matrix");
  op.require(x.shape.size() >= 2 && y.shape.size() >= 2, "the rank");
  const auto matrix = [&](const Value& value, const std::string& transposed) {
    std::array<std::int64_t, 2> sizes = {value.shape[value.shape.size() - 2], value.shape.back()};
    if (op.flag(transposed, false)) std::swap(sizes[0], sizes[1]);
    return sizes;
  };
  const auto left = matrix(x, op.present({"trans_x", "transpose_x", "transA"}));
  const auto right = matrix(y, op.present({"trans_y", "transpose_y", "transB"}));
  op.require(fits(left[1], right[0]), "matrices that do not match");
  Shape shape = broadcast(op, Shape(x.shape.begin(), x.shape.end() - 2),
                          Shape(y.shape.begin(), y.shape.end() - 2));
  shape.push_back(left[0]);
  shape.push_back(right[1]);
  op.count_work(volume(shape) * static_cast<double>(std::max(left[1], right[0])));
  op.give_shape(shape);
}

void infer_bmm(OperatorView& op) {
  const Shape& x = op.in("X").shape;
  const Shape& y = op.in("Y").shape;
  op.require(x.size() == 3 && y.size() == 3, "the rank");
  op.require(fits(x[0], y[0]), "matrices that do not match");  // one is not repeated for the others
  infer_matmul(op);
}

constexpr OperatorRule kRules[] = {
    {kPaddle, "matmul_v2/matmul", "X Y", "Out",
     "trans_x:bool/transpose_x:bool trans_y:bool/transpose_y:bool", infer_matmul},
    {kOnnx, "MatMul", "X Y", "Out", "", infer_matmul},
    {kOnnx, "Gemm", "X Y Bias?", "Out", "alpha:float? beta:float? transA:long? transB:long?",
     infer_matmul},
    {kPaddle, "bmm", "X Y", "Out", "", infer_bmm},
};

}  // namespace

RuleRows linear_rules() { return kRules; }

}  // namespace lenet

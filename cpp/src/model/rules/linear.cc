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
  op.give("Out", shape, x.dtype);
}

void infer_bmm(OperatorView& op) {
  const Value& x = op.in("X");
  const Value& y = op.in("Y");
  op.require(x.dtype == y.dtype, "the element type");
  op.require(x.shape.size() == 3 && y.shape.size() == 3, "the rank");
  op.require(fits(x.shape[0], y.shape[0]) && fits(x.shape[2], y.shape[1]),
             "matrices that do not match");
  const Shape shape = {std::max(x.shape[0], y.shape[0]), x.shape[1], y.shape[2]};
  op.count_work(volume(shape) * static_cast<double>(std::max(x.shape[2], y.shape[1])));
  op.give("Out", shape, x.dtype);
}

constexpr OperatorRule kRules[] = {
    {kDesc, "matmul_v2", "X Y", "Out", "trans_x:bool trans_y:bool", infer_matmul},
    {kPir, "matmul", "X Y", "Out", "transpose_x:bool transpose_y:bool", infer_matmul},
    {kOnnx, "MatMul", "X Y", "Out", "", infer_matmul},
    {kOnnx, "Gemm", "X Y Bias?", "Out", "alpha:float? beta:float? transA:long? transB:long?",
     infer_matmul},
    {kPaddle, "bmm", "X Y", "Out", "", infer_bmm},
};

}  // namespace

RuleRows linear_rules() { return kRules; }

}  // namespace lenet

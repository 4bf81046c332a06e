#include <cstddef>
#include <string>

#include "engines/paddle/accelerator_rules.h"

namespace lenet {
namespace {

// What was compared with Paddle's own kernels, and nothing else: the operators of the networks in
// lenet_cpp.models, with the attributes that they have there.

/// OpenVINO gives empty outputs for some inputs that are vectors.
std::string refuse_feed(const OperatorInProgram& op) {
  const Value* given = op.output("Out");
  return given != nullptr && given->shape.size() == 4 ? "" : "an input that is no image";
}

std::string refuse_convolution(const OperatorInProgram& op) {
  const Integers strides = op.integers("strides");
  if (strides.size() != 2 || strides[0] != strides[1]) return op.with("strides");
  const Value* filter = op.input("Filter");
  if (filter == nullptr || !filter->parameter || filter->shape.size() != 4 ||
      filter->shape[2] != filter->shape[3]) {
    return op.with_shape("Filter");
  }
  const Integers paddings = op.integers("paddings");
  // A 1x1 convolution with padding is wrong.
  const bool fits =
      paddings.size() == 2 && paddings[0] == paddings[1] && paddings[0] <= filter->shape[2] / 2;
  return fits ? "" : op.with("paddings");
}

std::string refuse_pool(const OperatorInProgram& op) {
  if (op.is("adaptive=1")) return op.other_than("pooling_type=avg ksize=[1,1]");
  if (op.is("pooling_type=avg")) {
    return op.other_than("ksize=[2,2] strides=[2,2] padding_algorithm=SAME");
  }
  if (op.is("ksize=[3,3] paddings=[1,1]")) {
    return op.other_than("strides=[2,2] padding_algorithm=EXPLICIT");
  }
  return op.other_than(
      "ksize=[2,2] ksize=[3,3] strides=[2,2] padding_algorithm=EXPLICIT paddings=[0,0]");
}

std::string refuse_matrix(const OperatorInProgram& op) {
  const Value* y = op.input("Y");
  return y != nullptr && y->parameter && y->shape.size() == 2 ? "" : op.with_shape("Y");
}

/// A bias for each channel or feature, or the sum of two branches.
std::string refuse_sum(const OperatorInProgram& op) {
  const Shape& x = op.input("X")->shape;
  const Value* y = op.input("Y");
  const Shape bias = x.size() == 2 ? Shape{x[1]} : Shape{1, x[1], 1, 1};
  return y != nullptr && (y->shape == bias || y->shape == x) ? "" : op.with_shape("Y");
}

/// Exporters reshape the bias of a convolution; OpenVINO was compared for no other reshape.
std::string refuse_reshape(const OperatorInProgram& op) {
  if (!op.input("X")->parameter) return op.with_shape("X");
  const Integers shape = op.integers("shape");
  const bool channel = shape.size() == 4 && shape[0] == 1 && shape[2] == 1 && shape[3] == 1;
  return channel ? "" : op.with("shape");
}

struct Compared {
  std::string_view type;
  std::string_view settings;  ///< of attributes
  std::string_view ranks;     ///< of the input X; empty: any
  std::string (*refuse)(const OperatorInProgram&) = [](const OperatorInProgram&) {
    return std::string();
  };
};

constexpr Compared kCompared[] = {
    {"feed", "", "", refuse_feed},
    {"fetch", "", ""},
    {"conv2d", "data_format=NCHW padding_algorithm=EXPLICIT groups=1 dilations=[1,1]", "",
     refuse_convolution},
    {"pool2d", "data_format=NCHW ceil_mode=0 exclusive=1 global_pooling=0", "", refuse_pool},
    {"matmul_v2", "trans_x=0 trans_y=0", "2", refuse_matrix},
    {"elementwise_add", "axis=-1", "2 4", refuse_sum},
    {"relu", "", "2 4"},
    {"batch_norm", "data_layout=NCHW", "4", refuse_plain_normalization},
    {"flatten_contiguous_range", "start_axis=1 stop_axis=3 stop_axis=-1", "4"},
    {"reshape2", "", "1", refuse_reshape},
    {"softmax", "axis=-1 axis=1", "2"},
    {"dropout", "is_test=1", "2"},
};

}  // namespace

std::string refuse_for_openvino(const OperatorInProgram& op) {
  if (op.dialect() != Dialect::ProgramDesc) return "the format of a .json";
  for (const Compared& row : kCompared) {
    if (row.type != op.type()) continue;
    std::string refusal = op.other_than(row.settings);
    if (!refusal.empty()) return refusal;
    const Value* x = op.input("X");
    const std::string rank = x == nullptr ? "" : std::to_string(x->shape.size());
    return row.ranks.empty() || has_word(row.ranks, rank) ? row.refuse(op) : op.with_shape("X");
  }
  return printable(op.type());
}

}  // namespace lenet

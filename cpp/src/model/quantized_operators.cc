#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include "model/readers.h"

namespace lenet {
namespace {

constexpr std::size_t kNoPlace = 99;  ///< of an argument

/// An operator of integers, and the one of floating-point numbers that it stands for. After each
/// operand follow its scale and its zero point, and after the place of the result those of it.
/// Sources: onnx/docs/Operators.md, onnxruntime/docs/ContribOperators.md.
struct Form {
  std::string_view type;
  std::string_view becomes;
  std::size_t operands;         ///< the first is at 0; any number of them behind the result's
  std::size_t result;           ///< the place of its scale
  std::size_t least;            ///< arguments
  std::size_t bias = kNoPlace;  ///< integers, whose scale is the product of the operands'
};

constexpr Form kForms[] = {
    {"QLinearConv", "Conv", 2, 6, 8, 8},
    {"QLinearMatMul", "MatMul", 2, 6, 8},
    {"com.microsoft.QGemm", "Gemm", 2, 7, 6, 6},
    {"com.microsoft.QLinearAdd", "Add", 2, 6, 7},
    {"com.microsoft.QLinearMul", "Mul", 2, 6, 7},
    {"com.microsoft.QLinearSigmoid", "Sigmoid", 1, 3, 4},
    {"com.microsoft.QLinearLeakyRelu", "LeakyRelu", 1, 3, 4},
    {"com.microsoft.QLinearAveragePool", "AveragePool", 1, 3, 4},
    {"com.microsoft.QLinearGlobalAveragePool", "GlobalAveragePool", 1, 3, 4},
    {"com.microsoft.QLinearSoftmax", "Softmax", 1, 3, 5},
    {"com.microsoft.QLinearConcat", "Concat", 0, 0, 5},
};

template <typename Number>
Number number(const Operator& op, std::string_view name, Number otherwise) {
  const auto* value = op.attribute<Number>(name);
  return value == nullptr ? otherwise : *value;
}

bool is_given(const Arguments& given, std::size_t place) {
  return place < given.size() && !given[place].second.empty();
}

/// What does not fit has no kernel, and is named as such.
bool fits(const Form& form, const Operator& op, std::int64_t opset) {
  const std::size_t count = op.inputs.size();
  const std::size_t last =
      form.bias == kNoPlace ? form.result + 1 : std::max(form.result + 1, form.bias);
  const bool whole = form.operands == 0 ? (count - 2) % 3 == 0 : count <= last + 1;
  return count >= form.least && whole && op.outputs.size() == 1 &&
         // A result without a zero point has the type of the operand, which is not known here.
         is_given(op.inputs, form.result) == is_given(op.inputs, form.result + 1) &&
         number(op, "channels_last", std::int64_t{0}) == 0 &&
         // From 13 on along one axis, before along all from there on.
         (number(op, "opset", opset) < 13) == (opset < 13) &&
         (form.becomes != "Gemm" || number(op, "alpha", 1.0) == 1);
}

/// \param scale place of its scale \param zero place of its zero point, if it has one
Operator scaled(std::string type, const Argument& of, const Arguments& given, std::size_t scale,
                std::size_t zero, std::int64_t axis) {
  Operator op;
  op.type = std::move(type);
  op.inputs.emplace_back("", of);
  op.inputs.emplace_back("", given[scale].second);
  if (is_given(given, zero)) op.inputs.emplace_back("", given[zero].second);
  op.attributes.emplace_back("axis", Attribute{AttributeType::Long, axis});
  return op;
}

/// Gives it an output.
Argument add(Graph& graph, Operator op) {
  Value value;
  value.name = op.type + " of integers " + std::to_string(graph.operators.size());
  value.has_shape = false;
  graph.values.push_back(std::move(value));
  const Argument made(graph.values.size() - 1);
  op.outputs.emplace_back("", made);
  graph.operators.push_back(std::move(op));
  return made;
}

void expand(Graph& graph, const Form& form, Operator op) {
  const Arguments given = std::exchange(op.inputs, {});
  const auto dequantized = [&](std::size_t place, std::size_t scale, std::size_t zero, int axis) {
    return add(graph, scaled("DequantizeLinear", given[place].second, given, scale, zero, axis));
  };
  const bool columns = form.becomes == "MatMul" ||
                       (form.becomes == "Gemm" && number(op, "transB", std::int64_t{0}) == 0);
  const bool any = form.operands == 0;
  const std::size_t operands = any ? (given.size() - 2) / 3 : form.operands;
  for (std::size_t i = 0; i < operands; ++i) {
    const std::size_t place = 3 * i + (any ? 2 : 0);
    const int axis = i > 0 && columns ? 1 : 0;  // of the weights' scales
    op.inputs.emplace_back("", dequantized(place, place + 1, place + 2, axis));
  }
  if (is_given(given, form.bias)) {
    Operator bias;
    bias.type = "Mul";
    bias.inputs.emplace_back("", dequantized(form.bias, 4, kNoPlace, 0));
    bias.inputs.emplace_back("", given[1].second);
    op.inputs.emplace_back("", add(graph, std::move(bias)));
  }
  op.type = form.becomes;
  for (const char* const name : {"channels_last", "opset"}) {
    const auto found = op.attributes.find(name);
    if (found != op.attributes.end()) op.attributes.erase(found);
  }
  if (!is_given(given, form.result)) return graph.operators.push_back(std::move(op));
  const Argument result = std::exchange(op.outputs, {})[0].second;
  const Argument unrounded = add(graph, std::move(op));
  Operator rounding = scaled("QuantizeLinear", unrounded, given, form.result, form.result + 1, 0);
  rounding.outputs.emplace_back("", result);
  graph.operators.push_back(std::move(rounding));
}

}  // namespace

void expand_quantized_operators(Graph& graph) {
  for (Operator& op : std::exchange(graph.operators, {})) {
    const auto* const form = std::find_if(std::begin(kForms), std::end(kForms),
                                          [&](const Form& each) { return each.type == op.type; });
    if (form == std::end(kForms) || !fits(*form, op, graph.opset)) {
      graph.operators.push_back(std::move(op));
    } else {
      expand(graph, *form, std::move(op));
    }
  }
}

}  // namespace lenet

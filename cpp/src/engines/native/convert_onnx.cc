#include "engines/native/convert_onnx.h"

#include <map>
#include <utility>

#include "engines/native/read_network.h"
#include "model/check_graph.h"
#include "model/rules/support.h"

namespace lenet::native {
namespace {

constexpr int kUnread = -1;

int dtype_of(int onnx) {
  switch (onnx) {
    case kOnnxFloat:
      return kFloat32;
    case kOnnxInt32:
      return kInt32;
    case kOnnxInt64:
      return kInt64;
    case kOnnxBool:
      return kBool;
    default:
      return kUnread;
  }
}

template <class Number>
std::string_view bytes_of(const SharedNumbers<Number>& numbers) {
  return {reinterpret_cast<const char*>(numbers.data()), numbers.size() * sizeof(Number)};
}

class Converter {
 public:
  explicit Converter(const std::string& path) : path_(path) {}

  Graph convert(const OnnxGraph& onnx) {
    graph_.dialect = Dialect::Onnx;
    graph_.opset = onnx.opset;
    if (onnx.sparse_constants) graph_.unsupported = "sparse constants";
    if (onnx.own_functions) graph_.unsupported = "functions of its own";
    for (const OnnxTensor& tensor : onnx.constants) {
      if (!indices_.emplace(tensor.name, add_constant(tensor)).second) {
        refuse_program(path_, "is damaged: the constant '" + tensor.name + "' is there twice");
      }
    }
    for (const OnnxValue& input : onnx.inputs) {
      if (indices_.count(input.name) == 0) graph_.inputs.push_back(declare(input));
    }
    for (const OnnxValue& output : onnx.outputs) graph_.outputs.push_back(declare(output));
    for (const OnnxNode& node : onnx.nodes) add_operator(node);
    return std::move(graph_);
  }

 private:
  std::size_t add_constant(const OnnxTensor& tensor) {
    Value value;
    value.name = tensor.name;
    value.dtype = dtype_of(tensor.dtype);
    value.shape = tensor.shape;
    value.parameter = true;
    if (value.dtype != kUnread) {
      const bool real = value.dtype == kFloat32;
      value.data = real ? bytes_of(tensor.floats) : bytes_of(tensor.integers);
      value.data_dtype = real ? kFloat32 : kInt64;
    }
    graph_.values.push_back(std::move(value));
    return graph_.values.size() - 1;
  }

  std::size_t index_of(const std::string& name) {
    const auto [found, is_new] = indices_.emplace(name, graph_.values.size());
    if (is_new) {
      Value value;
      value.name = name;
      value.has_shape = false;
      graph_.values.push_back(std::move(value));
    }
    return found->second;
  }

  std::size_t declare(const OnnxValue& said) {
    const std::size_t index = index_of(said.name);
    Value& value = graph_.values[index];
    value.dtype = dtype_of(said.dtype);
    value.has_shape = said.has_shape;
    value.shape = said.shape;
    return index;
  }

  std::vector<Argument> arguments(const std::vector<std::string>& names) {
    std::vector<Argument> values;
    for (const std::string& name : names) {
      values.push_back(name.empty() ? Argument() : Argument{index_of(name)});
    }
    while (!values.empty() && values.back().empty()) values.pop_back();
    return values;
  }

  Attribute attribute_of(const OnnxAttribute& onnx) {
    switch (onnx.type) {
      case OnnxAttribute::kFloat:
        return {AttributeType::Float, static_cast<double>(onnx.number)};
      case OnnxAttribute::kInteger:
        return {AttributeType::Long, onnx.integer};
      case OnnxAttribute::kText:
        return {AttributeType::Text, onnx.text};
      case OnnxAttribute::kTensor:
        return {AttributeType::Tensor, static_cast<std::int64_t>(add_constant(onnx.tensor))};
      case OnnxAttribute::kFloats:
        return {AttributeType::Floats, Numbers(onnx.numbers.begin(), onnx.numbers.end())};
      case OnnxAttribute::kIntegers:
        return {AttributeType::Longs, onnx.integers};
      default:
        return {AttributeType::Other, {}};
    }
  }

  void add_operator(const OnnxNode& node) {
    Operator op;
    op.type = node.domain.empty() ? node.type : node.domain + "." + node.type;
    op.positional_inputs = arguments(node.inputs);
    op.positional_outputs = arguments(node.outputs);
    for (const auto& [name, attribute] : node.attributes) {
      op.attributes.emplace(name, attribute_of(attribute));
    }
    graph_.operators.push_back(std::move(op));
  }

  const std::string& path_;
  Graph graph_;
  std::map<std::string, std::size_t> indices_;
};

}  // namespace

Graph graph_of(const OnnxGraph& onnx, const std::string& path) {
  Graph graph = Converter(path).convert(onnx);
  link_values(graph);
  return graph;
}

Network read_onnx(const OnnxGraph& onnx, const std::string& path, bool check_finite) {
  Graph graph = graph_of(onnx, path);
  check_graph(graph, path);
  return read_network(std::move(graph), path, onnx.file_bytes, check_finite);
}

}  // namespace lenet::native

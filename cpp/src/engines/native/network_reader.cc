#include "engines/native/network_reader.h"

#include <algorithm>

#include "io/printable.h"
#include "lenet/error.h"

namespace lenet::native {

void NetworkReader::unsupported(const std::string& what) const {
  std::string gives;
  for (const auto& [name, values] : op_->outputs) {
    if (!values.empty()) gives = ", which gives '" + graph_.values[values[0]].name + "'";
    if (name == "Out" || name == "Output" || name == "Y") break;
  }
  throw Error(ErrorCode::Unsupported, "'" + path_ + "': the native engine has no " + what + " (" +
                                          printable(type_) + gives + "); use engine paddle");
}

void NetworkReader::require(bool condition, const std::string& what) const {
  if (!condition) unsupported(what);
}

std::size_t NetworkReader::value(const std::string& name, std::size_t index) const {
  return op_->inputs.at(name).at(index);
}

const ParameterValues* NetworkReader::parameter(const std::string& name) const {
  if (const auto other = reshaped_.find(value(name)); other != reshaped_.end()) {
    return &other->second;
  }
  const Value& found = graph_.values[value(name)];
  const auto at = parameters_.find(found.name);
  return found.parameter && at != parameters_.end() ? &at->second : nullptr;
}

const std::vector<float>& NetworkReader::vector(const std::string& name) const {
  const ParameterValues* found = parameter(name);
  require(found != nullptr, "operator whose " + name + " is no parameter");
  return found->values.vector();
}

std::size_t NetworkReader::tensor(const std::string& name, std::size_t index) const {
  const auto found = tensors_.find(value(name, index));
  require(found != tensors_.end(), "operator on a value that is not computed from the image");
  return found->second;
}

TensorShape NetworkReader::image_shape(const Shape& shape) const {
  require(shape.size() == 2 || shape.size() == 4,
          "tensor of " + std::to_string(shape.size()) + " dimensions");
  const bool known =
      std::all_of(shape.begin() + 1, shape.end(), [](auto size) { return size > 0; });
  require(known, "size that is not fixed");
  if (shape.size() == 2) return {shape[1], 1, 1};
  return {shape[1], shape[2], shape[3]};
}

std::size_t NetworkReader::add_tensor(const TensorShape& shape) {
  network_.tensors.push_back(shape);
  return network_.tensors.size() - 1;
}

Layer& NetworkReader::layer_for(LayerKind kind, std::vector<std::size_t> inputs,
                                const std::string& output) {
  const Value& declared = graph_.values[given(output)];
  Layer layer;
  layer.kind = kind;
  layer.name = type_ + " '" + declared.name + "'";
  // What was flattened keeps its shape here.
  const bool reshapes =
      kind == LayerKind::Convolution || kind == LayerKind::Pool || kind == LayerKind::Concat;
  layer.output = add_tensor(reshapes ? image_shape(declared.shape) : shape_of(inputs[0]));
  layer.inputs = std::move(inputs);
  tensors_[given(output)] = layer.output;
  network_.layers.push_back(std::move(layer));
  return network_.layers.back();
}

void NetworkReader::layer(LayerKind kind, std::vector<std::size_t> inputs,
                          const std::string& output) {
  layer_for(kind, std::move(inputs), output);
}

void NetworkReader::same(const std::string& input, const std::string& output) {
  tensors_[given(output)] = tensor(input);
}

}  // namespace lenet::native

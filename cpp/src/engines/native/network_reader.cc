#include "engines/native/network_reader.h"

#include <algorithm>

#include "finite.h"
#include "io/printable.h"
#include "model/contents.h"

namespace lenet::native {

void NetworkReader::refuse(const std::string& what) const {
  refuse_program(path_, "is damaged: " + plain_type(graph_, *op_) + " " + what);
}

const Value* NetworkReader::constant(const std::string& name) const {
  const Value& found = graph_.values[value(name)];
  return is_known(found) && count_values(found) > 0 ? &found : nullptr;
}

void NetworkReader::keep_contents(const std::string& input, const std::string& output) {
  const Value& from = graph_.values[value(input)];
  Value& to = graph_.values[given(output)];
  to.data = from.data;
  to.data_dtype = from.data_dtype;
}

std::vector<float> NetworkReader::floats(const std::string& name) const {
  const Value* found = constant(name);
  require(found != nullptr && found->dtype == kFloat32 && found->data_dtype != kInt8,
          "operator whose " + name + " is no float32 constant");
  std::vector<float> numbers = floats_of(*found);
  require(
      static_cast<std::int64_t>(numbers.size()) == product(found->shape, 0, found->shape.size()),
      "operator whose " + name + " has another number of values");
  if (check_finite_ && !all_finite(numbers.data(), numbers.size())) {
    refuse("takes a " + name + " '" + found->name +
           "' that holds NaN or infinity; set check_finite to false to let it through");
  }
  return numbers;
}

std::size_t NetworkReader::tensor(const std::string& name, std::size_t index) const {
  const auto found = tensors_.find(value(name, index));
  require(found != tensors_.end(), "operator on a value that is not computed from the image");
  return found->second;
}

std::size_t NetworkReader::image(const std::string& name) const {
  const std::size_t found = tensor(name);
  require(shape(name).size() == 4 && has_channels(name), "kernel but for images in two dimensions");
  return found;
}

bool NetworkReader::has_channels(const std::string& name, std::size_t index) const {
  const auto& [channels, height, width] = shape_of(tensor(name, index));
  const Shape& sizes = shape(name, index);
  const bool vector = sizes.size() == 2 && sizes[1] == channels && height * width == 1;
  return vector ||
         (sizes.size() == 4 && sizes[1] == channels && sizes[2] == height && sizes[3] == width);
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

Layer& NetworkReader::layer(LayerKind kind, std::vector<std::size_t> inputs,
                            const std::string& output) {
  const Value& declared = graph_.values[given(output)];
  Layer layer;
  layer.kind = kind;
  layer.name = plain_type(graph_, *op_) + " '" + printable(declared.name) + "'";
  // What was flattened keeps its shape here.
  const bool reshapes =
      kind == LayerKind::Convolution || kind == LayerKind::Pool || kind == LayerKind::Concat;
  layer.output = add_tensor(reshapes ? image_shape(declared.shape) : shape_of(inputs[0]));
  layer.inputs = std::move(inputs);
  tensors_[given(output)] = layer.output;
  network_.layers.push_back(std::move(layer));
  return network_.layers.back();
}

}  // namespace lenet::native

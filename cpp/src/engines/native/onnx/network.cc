#include "engines/native/onnx/network.h"

#include <algorithm>
#include <utility>

#include "io/printable.h"
#include "lenet/error.h"
#include "model/check_graph.h"

namespace lenet::native {

const char* OnnxNetwork::add_tensor(TensorShape shape, double multiply_adds) {
  values_ += static_cast<double>(shape.channels) * static_cast<double>(shape.height) *
             static_cast<double>(shape.width);
  multiply_adds_ += multiply_adds;
  if (values_ > static_cast<double>(kMaxValuesPerImage)) return "its tensors are absurdly large";
  if (multiply_adds_ > static_cast<double>(kMaxMultiplyAdds)) {
    return "it asks for an absurd amount of work";
  }
  network_.tensors.push_back(shape);
  return nullptr;
}

void OnnxNetwork::set_input(const std::string& name, const Shape& shape, const std::string& path) {
  if (const char* problem = add_tensor({shape[1], shape[2], shape[3]}, 0)) {
    throw Error(ErrorCode::BadModel, "'" + path + "' is damaged: " + problem);
  }
  network_.input = network_.tensors.size() - 1;
  network_.input_name = printable(name);
  network_.input_shape = shape;
  images_[name] = {network_.input, {shape.begin() + 1, shape.end()}};
}

void OnnxNetwork::set_output(const std::string& name, const std::string& path) {
  const auto found = images_.find(name);
  if (found == images_.end()) {
    throw Error(ErrorCode::Unsupported, "'" + path + "' has an output '" + printable(name) +
                                            "' that is not computed from the image");
  }
  network_.output = found->second.tensor;
  network_.output_name = printable(name);
  network_.output_shape = {network_.input_shape[0]};
  const Shape& sizes = found->second.sizes;
  network_.output_shape.insert(network_.output_shape.end(), sizes.begin(), sizes.end());
}

Network OnnxNetwork::take() {
  std::vector<bool> used(network_.tensors.size());
  used[network_.output] = true;
  std::vector<Layer> layers;
  for (auto layer = network_.layers.rbegin(); layer != network_.layers.rend(); ++layer) {
    if (!used[layer->output]) continue;
    for (const std::size_t input : layer->inputs) used[input] = true;
    layers.push_back(std::move(*layer));
  }
  std::reverse(layers.begin(), layers.end());
  network_.layers = std::move(layers);
  return std::move(network_);
}

const OnnxImage& OnnxNetwork::input(const OnnxStep& step, std::size_t index) const {
  const auto found = images_.find(step.node().inputs[index]);
  step.require(found != images_.end(), "operator on a constant in this place");
  return found->second;
}

const OnnxImage& OnnxNetwork::image(const OnnxStep& step) const {
  const OnnxImage& found = input(step);
  const TensorShape& shape = shape_of(found);
  step.require(found.sizes == Shape{shape.channels, shape.height, shape.width},
               "kernel but for images in two dimensions");
  return found;
}

const OnnxImage& OnnxNetwork::flat(const OnnxStep& step) const {
  const OnnxImage& found = input(step);
  step.require(found.sizes == Shape{shape_of(found).values()}, "kernel but for vectors");
  return found;
}

Layer& OnnxNetwork::layer(const OnnxStep& step, LayerKind kind, std::vector<std::size_t> inputs,
                          TensorShape shape, Shape sizes, double multiply_adds) {
  if (const char* problem = add_tensor(shape, multiply_adds)) step.damaged(problem);
  Layer made;
  made.kind = kind;
  made.name = step.node().type + " " + step.gives();
  made.inputs = std::move(inputs);
  made.output = network_.tensors.size() - 1;
  give(step, {made.output, std::move(sizes)});
  network_.layers.push_back(std::move(made));
  return network_.layers.back();
}

void OnnxNetwork::give(const OnnxStep& step, OnnxImage image) {
  images_[step.node().outputs[0]] = std::move(image);
}

}  // namespace lenet::native

#include "engines/native/read_network.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "engines/native/int8/onednn_rounding.h"
#include "engines/native/network_reader.h"
#include "lenet/error.h"
#include "model/rules/operator_view.h"

namespace lenet::native {

Network NetworkReader::read() {
  quantized_ = std::any_of(
      graph_.operators.begin(), graph_.operators.end(),
      [](const Operator& op) { return op.type.find("quantize_linear") != std::string::npos; });
  for (std::size_t i = 0; i < graph_.operators.size(); ++i) {
    const Operator& op = graph_.operators[i];
    type_ =
        graph_.dialect == Dialect::Pir && op.type.rfind("1.", 0) == 0 ? op.type.substr(2) : op.type;
    const std::string where = "operator " + std::to_string(i) + " (" + op.type + ")";
    const OperatorView view(graph_, op, where, path_);
    op_ = &op;
    view_ = &view;
    read_operator();
    for (; counted_ < network_.layers.size(); ++counted_) {
      layer_memory_.add(bytes_of(network_.layers[counted_]));
    }
  }
  if (quantized_) int8::round_as_onednn(network_);
  return std::move(network_);
}

void NetworkReader::read_operator() {
  if (type_ == "feed" || type_ == "data") return read_input();
  if (type_ == "fetch") return read_output();
  if (type_ == "full") return read_full();
  // Constants that other operators take; the check has seen that they are.
  if (type_ == "full_int_array" || type_ == "fill_constant") return;
  if (type_ == "conv2d" || type_ == "depthwise_conv2d") return read_convolution();
  if (type_ == "pool2d") return read_pool();
  if (type_ == "matmul_v2" || type_ == "matmul") return read_matmul();
  if (type_ == "elementwise_add" || type_ == "add") return read_add();
  if (type_ == "batch_norm" || type_ == "batch_norm_") return read_batch_norm();
  if (type_ == "relu") return layer(LayerKind::Relu, {tensor("X")}, "Out");
  if (type_ == "softmax") return read_softmax();
  if (type_ == "concat") return read_concat();
  if (type_ == "dropout") return read_dropout();
  if (type_ == "scale") return read_scale();
  if (type_ == "assign") return same("X", "Out");
  if (type_ == "quantize_linear") return read_quantize();
  if (type_ == "dequantize_linear") return read_dequantize();
  if (type_ == "reshape2" || type_ == "reshape" || type_ == "flatten_contiguous_range" ||
      type_ == "flatten" || type_ == "squeeze2" || type_ == "squeeze") {
    return read_flatten();
  }
  unsupported("kernel for this operator");
}

void NetworkReader::read_input() {
  const Value& declared = graph_.values[given("Out")];
  require(declared.shape.size() == 4, "input that is not [N, channels, height, width]");
  require(declared.dtype == kFloat32, "input that is not float32");
  network_.input = add_tensor(image_shape(declared.shape));
  network_.input_name = graph_.dialect == Dialect::Pir ? view_->text("name") : declared.name;
  network_.input_shape = declared.shape;
  tensors_[given("Out")] = network_.input;
}

void NetworkReader::read_output() {
  if (view_->integer("col") != 0) return;
  const Value& declared = graph_.values[value("X")];
  network_.output = tensor("X");
  network_.output_name = graph_.dialect == Dialect::Pir ? view_->text("name") : declared.name;
  network_.output_shape = declared.shape;
  require(!declared.shape.empty(), "output without images");
  network_.output_shape[0] = network_.input_shape[0];
}

void NetworkReader::read_full() { numbers_[given("Out")] = view_->number("value"); }

double NetworkReader::number(const std::string& name) const {
  if (view_->has_attribute(name)) return view_->number(name);
  const auto found = numbers_.find(value(name));
  require(found != numbers_.end(), name + " that is not constant");
  return found->second;
}

Window NetworkReader::window(const Integers& kernel, const TensorShape& image) const {
  Window found;
  const Integers strides = view_->integers("strides");
  const Integers paddings = view_->integers("paddings");
  const Integers dilations =
      view_->has_attribute("dilations") ? view_->integers("dilations") : Integers{1, 1};
  const std::array<std::int64_t, 2> sizes = {image.height, image.width};
  const std::string& algorithm = view_->text("padding_algorithm");
  for (std::size_t i = 0; i < 2; ++i) {
    found.kernel[i] = kernel[i];
    found.strides[i] = strides[i];
    // Where Paddle pads so that the sizes stay the same, it leaves dilation out.
    found.dilations[i] = algorithm == "SAME" ? 1 : dilations[i];
    if (algorithm == "EXPLICIT") {
      found.padding[2 * i] = paddings[paddings.size() == 4 ? 2 * i : i];
      found.padding[2 * i + 1] = paddings[paddings.size() == 4 ? 2 * i + 1 : i];
    } else if (algorithm == "SAME") {
      const std::int64_t outputs = (sizes[i] + strides[i] - 1) / strides[i];
      const std::int64_t all =
          std::max<std::int64_t>((outputs - 1) * strides[i] + kernel[i] - sizes[i], 0);
      found.padding[2 * i] = all / 2;
      found.padding[2 * i + 1] = all - all / 2;
    }
  }
  return found;
}

void NetworkReader::read_convolution() {
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  const Shape filter = weights_shape("Filter");
  require(filter.size() == 4, "convolution whose filter is no parameter");
  const std::size_t input = tensor("Input");
  const Window found = window({filter[2], filter[3]}, shape_of(input));
  Layer& layer = layer_for(LayerKind::Convolution, {input}, "Output");
  layer.window = found;
  layer.groups = view_->integer("groups");
  layer.bias.assign(static_cast<std::size_t>(filter[0]), 0);
  layer.quantized = dequantized_.count(value("Input")) > 0;
  if (const QuantizedWeights* quantized = quantized_weights("Filter")) {
    layer.integers = quantized->integers.vector();
    layer.weight_scales = steps(*quantized, 0, layer.bias.size());
  } else {
    layer.weights = parameter("Filter")->values;
  }
}

void NetworkReader::read_pool() {
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  const std::size_t input = tensor("X");
  const TensorShape image = shape_of(input);
  const bool max = view_->text("pooling_type") == "max";
  Integers kernel = view_->integers("ksize");
  if (kernel.size() == 1) kernel.push_back(kernel[0]);
  const bool global = view_->flag("global_pooling");
  const bool adaptive = view_->flag("adaptive") || global;
  const bool exclusive = view_->flag("exclusive");
  const Window found = adaptive ? Window() : window(kernel, image);
  Layer& layer = layer_for(LayerKind::Pool, {input}, "Out");
  layer.window = found;
  layer.adaptive = adaptive;
  layer.pool = max                     ? PoolKind::Max
               : exclusive || adaptive ? PoolKind::Average
                                       : PoolKind::AverageOfWindow;
  // Where Paddle counts the padding in a window, it takes that before the image for that after it.
  for (std::size_t i = 0; i < 2; ++i) layer.window.padding[2 * i + 1] = found.padding[2 * i];
}

void NetworkReader::read_matmul() {
  const std::size_t input = tensor("X");
  const Shape weights = weights_shape("Y");
  require(weights.size() == 2, "product with what is no matrix");
  require(!view_->flag(view_->present("trans_x", "transpose_x")), "transposed product");
  require(graph_.values[value("X")].shape.size() == 2, "product of more than two dimensions");
  const bool transposed = view_->flag(view_->present("trans_y", "transpose_y"));
  const auto inputs = static_cast<std::size_t>(weights[transposed ? 1 : 0]);
  const auto outputs = static_cast<std::size_t>(weights[transposed ? 0 : 1]);
  const TensorShape image = shape_of(input);
  require(weights[transposed ? 1 : 0] == image.values(), "product with a matrix of another size");
  Layer& layer = layer_for(LayerKind::Convolution, {input}, "Out");
  layer.window.kernel = {image.height, image.width};  // what was flattened
  layer.bias.assign(outputs, 0);
  layer.quantized = dequantized_.count(value("X")) > 0;
  layer.matrix = !transposed;
  const auto by_outputs = [&](const auto& from, auto& to) {
    to.resize(inputs * outputs);
    for (std::size_t o = 0; o < outputs; ++o) {
      for (std::size_t i = 0; i < inputs; ++i) {
        to[o * inputs + i] = from[transposed ? o * inputs + i : i * outputs + o];
      }
    }
  };
  if (const QuantizedWeights* quantized = quantized_weights("Y")) {
    by_outputs(quantized->integers.vector(), layer.integers);
    layer.weight_scales = steps(*quantized, transposed ? 0 : 1, outputs);
  } else {
    by_outputs(parameter("Y")->values.vector(), layer.weights);
  }
}

const std::vector<float>* NetworkReader::channel_vector(const std::string& name,
                                                        const Shape& whole) const {
  const ParameterValues* found = parameter(name);
  if (found == nullptr) return nullptr;
  Shape shape = found->shape;
  if (shape.size() > whole.size()) return nullptr;
  const std::int64_t axis = view_->has_attribute("axis") ? view_->integer("axis") : -1;
  if (axis >= 0) shape.resize(whole.size() - static_cast<std::size_t>(axis), 1);
  shape.insert(shape.begin(), whole.size() - shape.size(), 1);
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != (i == 1 ? whole[1] : 1)) return nullptr;
  }
  return &found->values.vector();
}

void NetworkReader::read_add() {
  for (const auto& [vector, whole] : {std::pair("Y", "X"), std::pair("X", "Y")}) {
    const Shape& shape = graph_.values[value(whole)].shape;
    const std::vector<float>* bias = channel_vector(vector, shape);
    if (bias == nullptr || tensors_.count(value(whole)) == 0) continue;
    require(shape_of(tensor(whole)).channels == static_cast<std::int64_t>(bias->size()),
            "sum with what was flattened");
    Layer& layer = layer_for(LayerKind::ChannelScale, {tensor(whole)}, "Out");
    layer.scale.assign(bias->size(), 1);
    layer.bias = *bias;
    layer.fuses_into_previous = reshaped_.count(value(vector)) == 0;
    if (const auto found = dequantized_.find(value(vector)); found != dequantized_.end()) {
      layer.bias_range = found->second;
    }
    return;
  }
  const std::size_t a = tensor("X");
  const std::size_t b = tensor("Y");
  // Paddle would repeat one along the other, in shapes that are the same for one image.
  require(graph_.values[value("X")].shape.size() == graph_.values[value("Y")].shape.size(),
          "sum of tensors of different rank");
  require(shape_of(a).channels == shape_of(b).channels &&
              shape_of(a).height == shape_of(b).height && shape_of(a).width == shape_of(b).width,
          "sum of different shapes");
  layer(LayerKind::Add, {a, b}, "Out");
}

void NetworkReader::read_batch_norm() {
  require(!channels_last(*view_, view_->present("data_layout", "data_format")),
          "kernel for data_format NHWC");
  const std::size_t input = tensor("X");
  const double epsilon = view_->number("epsilon");
  const std::vector<float>& mean = vector("Mean");
  const std::vector<float>& variance = vector("Variance");
  const std::vector<float>& gain = vector("Scale");
  const std::vector<float>& bias = vector("Bias");
  // After a flatten a statistic belongs to a value, but a scale here to a channel of the image.
  const auto channels = static_cast<std::size_t>(shape_of(input).channels);
  for (const std::vector<float>* part : {&mean, &variance, &gain, &bias}) {
    require(part->size() == channels, "normalization of each value of what was flattened");
  }
  Layer& layer = layer_for(LayerKind::ChannelScale, {input}, "Y");
  layer.fuses_into_previous = true;
  for (std::size_t c = 0; c < channels; ++c) {
    const double spread = variance[c] + epsilon;
    require(spread > 0, "normalization by a variance that is not positive");
    const double scale = gain[c] / std::sqrt(spread);
    layer.scale.push_back(static_cast<float>(scale));
    layer.bias.push_back(static_cast<float>(bias[c] - mean[c] * scale));
  }
}

void NetworkReader::read_softmax() {
  const std::size_t input = tensor("X");
  const Shape& shape = graph_.values[value("X")].shape;
  const bool vector = shape_of(input).height * shape_of(input).width == 1;
  require(vector && view_->axis(view_->integer("axis"), shape.size()) == 1,
          "softmax but over the classes");
  layer(LayerKind::Softmax, {input}, "Out");
}

void NetworkReader::read_concat() {
  const Integers axis = view_->integers("axis");
  const Shape& shape = graph_.values[value("X")].shape;
  require(view_->axis(axis[0], shape.size()) == 1, "concat but of channels");
  std::vector<std::size_t> inputs;
  bool flat = true;
  for (std::size_t i = 0; i < view_->count("X"); ++i) {
    inputs.push_back(tensor("X", i));
    flat &= shape_of(inputs[i]).height * shape_of(inputs[i]).width == 1;
  }
  require(shape.size() == 4 || flat, "concat of what was flattened");
  layer(LayerKind::Concat, inputs, "Out");
}

void NetworkReader::scaled(const std::string& name, double scale, double bias) {
  if (scale == 1 && bias == 0) return same(name, "Out");
  require(std::isfinite(scale) && std::isfinite(bias), "scale that is not finite");
  const std::size_t input = tensor(name);
  const auto channels = static_cast<std::size_t>(shape_of(input).channels);
  Layer& layer = layer_for(LayerKind::ChannelScale, {input}, "Out");
  layer.scale.assign(channels, static_cast<float>(scale));
  layer.bias.assign(channels, static_cast<float>(bias));
}

void NetworkReader::read_dropout() {
  const bool upscaled =
      view_->text(view_->present("dropout_implementation", "mode")) == "upscale_in_train";
  const double dropped = number(view_->has_attribute("dropout_prob") ? "dropout_prob" : "p");
  scaled("X", upscaled ? 1 : 1 - dropped, 0);
}

void NetworkReader::read_scale() {
  const double scale = number("scale");
  const double bias = view_->number("bias");
  scaled("X", scale, view_->flag("bias_after_scale") ? bias : bias * scale);
}

void NetworkReader::read_flatten() {
  if (const ParameterValues* found = parameter("X")) {  // a bias, before it is added
    const Shape& shape = graph_.values[given("Out")].shape;
    require(std::all_of(shape.begin(), shape.end(), [](auto size) { return size > 0; }),
            "parameter of a size that is not fixed");
    require(product(shape, 0, shape.size()) == static_cast<std::int64_t>(found->values.size()),
            "change of a parameter's shape to another number of values");
    reshaped_[given("Out")] = {shape, found->values};
    return;
  }
  const std::size_t input = tensor("X");
  const Shape& shape = graph_.values[given("Out")].shape;
  const TensorShape image = shape_of(input);
  const bool flat = shape.size() == 2 && (shape[1] == image.values());
  const bool same_image = shape.size() == 4 && shape[1] == image.channels &&
                          shape[2] == image.height && shape[3] == image.width;
  require(flat || same_image, "change of shape but flattening");
  // Flattened, it may be rounded by another range.
  if (quantized_ && flat && type_.rfind("reshape", 0) != 0) {
    return layer(LayerKind::Identity, {input}, "Out");
  }
  tensors_[given("Out")] = input;
}

Network read_network(const Graph& graph, const Parameters& parameters, const std::string& path,
                     double file_bytes) {
  return NetworkReader(graph, parameters, path, file_bytes).read();
}

}  // namespace lenet::native

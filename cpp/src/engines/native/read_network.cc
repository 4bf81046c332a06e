#include "engines/native/read_network.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <string_view>
#include <utility>

#include "engines/native/int8/onednn_rounding.h"
#include "engines/native/network_reader.h"
#include "io/printable.h"
#include "lenet/error.h"
#include "model/contents.h"
#include "model/rules/windows.h"

namespace lenet::native {

Network NetworkReader::read() {
  quantized_ = std::any_of(
      graph_.operators.begin(), graph_.operators.end(),
      [](const Operator& op) { return op.type.find("quantize_linear") != std::string::npos; });
  const bool onnx = graph_.dialect == Dialect::Onnx;
  std::vector<bool> needed(graph_.operators.size(), true);
  if (onnx) {
    needed = needed_operators(graph_);  // without what computes shapes
    set_input(graph_.inputs[0], printable(graph_.values[graph_.inputs[0]].name));
  }
  for (std::size_t i = 0; i < graph_.operators.size(); ++i) {
    if (!needed[i]) continue;
    const Operator& op = graph_.operators[i];
    const std::string where = "operator " + std::to_string(i) + " (" + op.type + ")";
    const OperatorView view(graph_, op, where, path_);
    op_ = &op;
    view_ = &view;
    read_operator();
    for (; counted_ < network_.layers.size(); ++counted_) {
      layer_memory_.add(bytes_of(network_.layers[counted_]));
    }
  }
  if (onnx) set_output(graph_.outputs[0], printable(graph_.values[graph_.outputs[0]].name));
  if (quantized_) int8::round_as_onednn(network_);
  return std::move(network_);
}

void NetworkReader::read_operator() {
  using Reader = NetworkReader;
  struct Kind {
    std::string_view types;
    void (Reader::*read)();
  };
  static constexpr Kind kKinds[] = {
      {"feed data", &Reader::read_input},
      {"fetch", &Reader::read_output},
      // Constants that other operators take; the check has seen that they are.
      {"full full_int_array fill_constant", &Reader::read_nothing},
      {"conv2d depthwise_conv2d Conv", &Reader::read_convolution},
      {"pool2d MaxPool AveragePool GlobalMaxPool GlobalAveragePool ReduceMean", &Reader::read_pool},
      {"matmul_v2 matmul MatMul Gemm", &Reader::read_matmul},
      {"elementwise_add add Add", &Reader::read_add},
      {"Mul", &Reader::read_multiply},
      {"batch_norm batch_norm_ BatchNormalization", &Reader::read_batch_norm},
      {"relu Relu", &Reader::read_relu},
      {"Clip", &Reader::read_clip},
      {"softmax Softmax", &Reader::read_softmax},
      {"concat Concat", &Reader::read_concat},
      {"dropout Dropout", &Reader::read_dropout},
      {"scale", &Reader::read_scale},
      {"assign Identity Cast", &Reader::read_identity},
      {"quantize_linear", &Reader::read_quantize},
      {"dequantize_linear", &Reader::read_dequantize},
      {"reshape2 reshape flatten_contiguous_range flatten squeeze2 squeeze Reshape Flatten Squeeze "
       "Unsqueeze",
       &Reader::read_reshape},
  };
  const std::string type = plain_type(graph_, *op_);
  for (const Kind& kind : kKinds) {
    if (has_word(kind.types, type)) return (this->*kind.read)();
  }
  view_->no_kernel("kernel for this operator");
}

void NetworkReader::set_input(std::size_t value, const std::string& name) {
  const Shape& shape = graph_.values[value].shape;
  network_.input = tensors_[value] = add_tensor({shape[1], shape[2], shape[3]});
  network_.input_name = name;
  network_.input_shape = shape;
}

void NetworkReader::set_output(std::size_t value, const std::string& name) {
  const auto found = tensors_.find(value);
  if (found == tensors_.end()) {
    throw Error(ErrorCode::Unsupported,
                "'" + path_ + "' has an output '" + name + "' that is not computed from the image");
  }
  network_.output = found->second;
  network_.output_name = name;
  network_.output_shape = graph_.values[value].shape;
  network_.output_shape.at(0) = network_.input_shape[0];
}

void NetworkReader::read_input() {
  const Value& declared = graph_.values[given("Out")];
  require(declared.shape.size() == 4, "input that is not [N, channels, height, width]");
  require(declared.dtype == kFloat32, "input that is not float32");
  image_shape(declared.shape);  // sizes that are known
  set_input(given("Out"), graph_.dialect == Dialect::Pir ? view_->text("name") : declared.name);
}

void NetworkReader::read_output() {
  if (view_->integer("col") != 0) return;
  const Value& declared = graph_.values[value("X")];
  require(!declared.shape.empty(), "output without images");
  set_output(value("X"), graph_.dialect == Dialect::Pir ? view_->text("name") : declared.name);
}

void NetworkReader::read_convolution() {
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  const std::size_t input = image("Input");
  const Value* filter = weights("Filter");
  require(filter != nullptr && filter->shape.size() == 4,
          "convolution whose filter is no parameter");
  const Shape& sizes = filter->shape;
  const TensorShape& from = shape_of(input);
  const Window window =
      plan_window(*view_, {sizes[2], sizes[3]}, {from.height, from.width}, false).window;
  Layer& made = layer(LayerKind::Convolution, {input}, "Output");
  made.window = window;
  made.groups = view_->integer(view_->present({"groups", "group"}), 1);
  made.bias.assign(static_cast<std::size_t>(sizes[0]), 0);
  if (view_->has("Bias")) made.bias = floats("Bias");
  made.quantized = dequantized_.count(value("Input")) > 0;
  if (const QuantizedWeights* quantized = quantized_weights("Filter")) {
    made.integers = integers_of(*quantized->value);
    made.weight_scales = steps(*quantized, 0, made.bias.size());
  } else {
    made.weights = floats("Filter");
  }
}

void NetworkReader::read_pool() {
  const bool onnx = view_->is_onnx();
  const std::string& type = op_->type;
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  const std::size_t input = image("X");
  if (type == "ReduceMean") {
    std::set<std::size_t> axes;
    for (const std::int64_t axis : view_->integers("axes")) axes.insert(view_->axis(axis, 4));
    require(axes == std::set<std::size_t>{2, 3}, "mean but over height and width");
  }
  const bool max =
      onnx ? type.find("Max") != std::string::npos : view_->text("pooling_type") == "max";
  const bool whole = onnx ? !view_->has_attribute("kernel_shape")
                          : view_->flag("adaptive") || view_->flag("global_pooling");
  const bool of_window = onnx ? view_->flag("count_include_pad", false) : !view_->flag("exclusive");
  const TensorShape& from = shape_of(input);
  Window window;
  if (!whole) {
    window = plan_window(*view_, pool_kernel(*view_), {from.height, from.width}, true).window;
  }
  // Where Paddle counts the padding in a window, it takes that before the image for that after it.
  for (std::size_t i = 0; i < 2 && !onnx; ++i) window.padding[2 * i + 1] = window.padding[2 * i];
  Layer& made = layer(LayerKind::Pool, {input}, "Out");
  made.window = window;
  made.adaptive = whole;
  made.pool = max                   ? PoolKind::Max
              : of_window && !whole ? PoolKind::AverageOfWindow
                                    : PoolKind::Average;
}

void NetworkReader::read_matmul() {
  const std::size_t input = tensor("X");
  const TensorShape from = shape_of(input);
  const Value* matrix = weights("Y");
  require(matrix != nullptr && matrix->shape.size() == 2, "product with what is no matrix");
  const auto is_set = [this](std::initializer_list<const char*> names) {
    return view_->flag(view_->present(names), false);
  };
  require(!is_set({"trans_x", "transpose_x", "transA"}), "transposed product");
  require(shape("X").size() == 2 && shape("X")[1] == from.values(), "kernel but for vectors");
  const bool transposed = is_set({"trans_y", "transpose_y", "transB"});
  const auto inputs = static_cast<std::size_t>(matrix->shape[transposed ? 1 : 0]);
  const auto outputs = static_cast<std::size_t>(matrix->shape[transposed ? 0 : 1]);
  require(matrix->shape[transposed ? 1 : 0] == from.values(),
          "product with a matrix of another size");
  Layer& made = layer(LayerKind::Convolution, {input}, "Out");
  made.window.kernel = {from.height, from.width};  // what was flattened
  made.bias.assign(outputs, 0);
  made.quantized = dequantized_.count(value("X")) > 0;
  made.matrix = !transposed;
  const auto by_outputs = [&](auto numbers) {
    if (transposed) return numbers;
    decltype(numbers) turned(inputs * outputs);
    for (std::size_t o = 0; o < outputs; ++o) {
      for (std::size_t i = 0; i < inputs; ++i) turned[o * inputs + i] = numbers[i * outputs + o];
    }
    return turned;
  };
  if (const QuantizedWeights* quantized = quantized_weights("Y")) {
    made.integers = by_outputs(integers_of(*quantized->value));
    made.weight_scales = steps(*quantized, transposed ? 0 : 1, outputs);
    return;
  }
  made.weights = by_outputs(floats("Y"));
  // Of Gemm.
  const auto alpha = static_cast<float>(view_->number("alpha", 1));
  const auto beta = static_cast<float>(view_->number("beta", 1));
  if (!std::isfinite(alpha) || !std::isfinite(beta)) refuse("has a factor that is not finite");
  for (float& weight : made.weights) weight *= alpha;
  if (!view_->has("Bias")) return;
  const std::vector<float> bias = floats("Bias");
  const Shape& sizes = shape("Bias");
  const auto classes = static_cast<std::int64_t>(outputs);
  const bool one = bias.size() == 1;
  require((one && sizes.size() <= 2) || sizes == Shape{classes} || sizes == Shape{1, classes},
          "kernel for a bias but one number for each class");
  for (std::size_t o = 0; o < outputs; ++o) made.bias[o] = beta * bias[one ? 0 : o];
}

std::vector<float> NetworkReader::channel_vector(const std::string& name,
                                                 const std::string& whole) const {
  const Value* found = constant(name);
  if (found == nullptr || tensors_.count(value(whole)) == 0) return {};
  const Shape& to = shape(whole);
  const std::int64_t channels = shape_of(tensor(whole)).channels;
  Shape sizes = found->shape;
  const char* const other = "kernel for a constant but one number for each channel";
  require(sizes.size() <= to.size(), other);
  if (count_values(*found) == 1) {
    return std::vector<float>(static_cast<std::size_t>(channels), floats(name)[0]);
  }
  const std::int64_t axis = view_->integer("axis", -1);
  if (axis >= 0) sizes.resize(to.size() - static_cast<std::size_t>(axis), 1);
  sizes.insert(sizes.begin(), to.size() - sizes.size(), 1);
  for (std::size_t i = 0; i < sizes.size(); ++i) require(sizes[i] == (i == 1 ? to[1] : 1), other);
  require(to.size() > 1 && to[1] == channels, "operator on channels of what was flattened");
  return floats(name);
}

void NetworkReader::read_add() {
  for (const auto& [vector, whole] : {std::pair("Y", "X"), std::pair("X", "Y")}) {
    std::vector<float> bias = channel_vector(vector, whole);
    if (bias.empty()) continue;
    Layer& made = layer(LayerKind::ChannelScale, {tensor(whole)}, "Out");
    made.scale.assign(bias.size(), 1);
    made.bias = std::move(bias);
    made.fuses_into_previous = graph_.values[value(vector)].parameter;
    if (const auto found = dequantized_.find(value(vector)); found != dequantized_.end()) {
      made.bias_range = found->second;
    }
    return;
  }
  const std::size_t a = tensor("X");
  const std::size_t b = tensor("Y");
  const auto same = [](const TensorShape& one, const TensorShape& other) {
    return one.channels == other.channels && one.height == other.height && one.width == other.width;
  };
  // Paddle would repeat one along the other, in shapes that are the same for one image.
  require(shape("X").size() == shape("Y").size(), "sum of tensors of different rank");
  require(std::equal(shape("X").begin() + 1, shape("X").end(), shape("Y").begin() + 1) &&
              same(shape_of(a), shape_of(b)),
          "sum of different shapes");
  layer(LayerKind::Add, {a, b}, "Out");
}

void NetworkReader::read_multiply() {
  const bool first = constant("X") != nullptr;
  const char* const whole = first ? "Y" : "X";
  std::vector<float> scale = channel_vector(first ? "X" : "Y", whole);
  require(!scale.empty(), "product of what is no float32 constant");
  Layer& made = layer(LayerKind::ChannelScale, {tensor(whole)}, "Out");
  made.bias.assign(scale.size(), 0);
  made.scale = std::move(scale);
}

void NetworkReader::read_batch_norm() {
  require(!channels_last(*view_, view_->present({"data_layout", "data_format"})),
          "kernel for data_format NHWC");
  const std::size_t input = tensor("X");
  const double epsilon = view_->number("epsilon", static_cast<double>(1e-5F));
  const std::vector<float> mean = floats("Mean");
  const std::vector<float> variance = floats("Variance");
  const std::vector<float> gain = floats("Scale");
  const std::vector<float> bias = floats("Bias");
  // After a flatten a statistic belongs to a value, but a scale here to a channel of the image.
  const auto channels = static_cast<std::size_t>(shape_of(input).channels);
  for (const std::vector<float>* part : {&mean, &variance, &gain, &bias}) {
    require(part->size() == channels, "normalization of each value of what was flattened");
  }
  Layer& made = layer(LayerKind::ChannelScale, {input}, "Y");
  made.fuses_into_previous = true;
  for (std::size_t c = 0; c < channels; ++c) {
    const double spread = variance[c] + epsilon;
    if (view_->is_onnx() && !(spread > 0)) refuse("has a variance that is not positive");
    require(spread > 0, "normalization by a variance that is not positive");
    const double scale = gain[c] / std::sqrt(spread);
    made.scale.push_back(static_cast<float>(scale));
    made.bias.push_back(static_cast<float>(bias[c] - mean[c] * scale));
  }
}

void NetworkReader::read_clip() {
  constexpr double kMax = std::numeric_limits<float>::max();
  const double min = view_->number("min", -kMax);
  require(view_->number("max", kMax) >= kMax && (min == 0 || min <= -kMax),
          "kernel for such bounds");
  if (min == 0) return read_relu();
  read_identity();
}

void NetworkReader::read_softmax() {
  const std::size_t input = tensor("X");
  const bool vector = shape_of(input).height * shape_of(input).width == 1;
  require(vector && has_channels("X") && view_->axis(softmax_axis(*view_), shape("X").size()) == 1,
          "softmax but over the classes");
  layer(LayerKind::Softmax, {input}, "Out");
}

void NetworkReader::read_concat() {
  require(view_->axis(view_->integer("axis"), shape("X").size()) == 1, "concat but of channels");
  std::vector<std::size_t> inputs;
  for (std::size_t i = 0; i < view_->count("X"); ++i) {
    inputs.push_back(tensor("X", i));
    require(has_channels("X", i), "concat of what was flattened");
  }
  layer(LayerKind::Concat, std::move(inputs), "Out");
}

void NetworkReader::scaled(const std::string& name, double scale, double bias) {
  if (scale == 1 && bias == 0) return read_identity();
  require(std::isfinite(scale) && std::isfinite(bias), "scale that is not finite");
  const std::size_t input = tensor(name);
  const auto channels = static_cast<std::size_t>(shape_of(input).channels);
  Layer& made = layer(LayerKind::ChannelScale, {input}, "Out");
  made.scale.assign(channels, static_cast<float>(scale));
  made.bias.assign(channels, static_cast<float>(bias));
}

void NetworkReader::read_dropout() {
  if (view_->is_onnx()) return read_identity();
  const bool upscaled =
      view_->text(view_->present({"dropout_implementation", "mode"})) == "upscale_in_train";
  const double dropped = view_->number(view_->present({"dropout_prob", "p"}));
  scaled("X", upscaled ? 1 : 1 - dropped, 0);
}

void NetworkReader::read_scale() {
  const double scale = view_->number("scale");
  const double bias = view_->number("bias");
  scaled("X", scale, view_->flag("bias_after_scale") ? bias : bias * scale);
}

void NetworkReader::read_reshape() {
  const Shape& sizes = graph_.values[given("Out")].shape;
  if (const Value* found = constant("X")) {  // a bias, before it is added
    require(product(sizes, 0, sizes.size()) == static_cast<std::int64_t>(count_values(*found)),
            "change of a parameter's shape to another number of values");
    return keep_contents("X", "Out");
  }
  const std::size_t input = tensor("X");
  const std::int64_t values = shape_of(input).values();
  const std::int64_t images = network_.input_shape[0];
  require(!sizes.empty() && (sizes[0] == images || sizes[0] == kUnknown) &&
              product(sizes, 1, sizes.size()) == values,
          "change of shape but of each image");
  tensors_[given("Out")] = input;
  // Flattened, it may be rounded by another range.
  const bool flat = sizes.size() == 2 && op_->type.find("reshape") == std::string::npos;
  if (quantized_ && flat) layer(LayerKind::Identity, {input}, "Out");
}

Network read_network(Graph graph, const std::string& path, double file_bytes, bool check_finite) {
  return NetworkReader(std::move(graph), path, file_bytes, check_finite).read();
}

}  // namespace lenet::native

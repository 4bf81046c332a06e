#include <algorithm>
#include <cmath>
#include <utility>

#include "engines/native/network_reader.h"
#include "model/rules/windows.h"

namespace lenet::native {

void NetworkReader::read_input() {
  const Value& declared = graph_.values[given()];
  require(!declared.shape.empty(), "input without images");
  set_input(given(), view_->text("name", declared.name));
}

void NetworkReader::read_output() {
  const Value& declared = graph_.values[value("X")];
  require(!declared.shape.empty(), "output without images");
  const auto column = static_cast<std::size_t>(view_->integer("col"));
  if (column >= output_names_.size()) return;  // there is but the value that is asked for
  output_names_[column] = view_->text("name", declared.name);
}

void NetworkReader::read_convolution() {
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  const std::size_t input = image_or_line("X");
  const Value* filter = weights("Filter");
  require(filter != nullptr && filter->shape.size() == shape("X").size(),
          "convolution whose filter is no parameter");
  Shape sizes = filter->shape;
  if (sizes.size() == 3) sizes.insert(sizes.begin() + 2, 1);
  const TensorShape& from = shape_of(input);
  const Window window =
      plan_window(*view_, {sizes[2], sizes[3]}, {from.height, from.width}, false).window;
  Layer& made = layer(LayerKind::Convolution, {input});
  made.window = window;
  made.groups = view_->integer("group", 1);
  made.bias.assign(static_cast<std::size_t>(sizes[0]), 0);
  if (view_->has("Bias")) made.bias = floats("Bias");
  made.quantized = dequantized_.count(value("X")) > 0;
  give_weights(made, "Filter", 0);
}

void NetworkReader::read_pool() {
  const bool onnx = op_->kind != "pool2d";
  const std::string_view kind = op_->kind;
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  const std::size_t input = image_or_line("X");
  const bool max =
      onnx ? kind.find("Max") != std::string_view::npos : view_->text("pooling_type") == "max";
  const bool whole = onnx ? !view_->has_attribute("kernel_shape")
                          : view_->flag("adaptive") || view_->flag("global_pooling");
  const bool of_window = onnx ? view_->flag("count_include_pad", false) : !view_->flag("exclusive");
  const TensorShape& from = shape_of(input);
  Window window;
  if (!whole) {
    window = plan_window(*view_, pool_kernel(*view_), {from.height, from.width}, true).window;
  }
  require(!quantized_ || window.dilations == std::array<std::int64_t, 2>{1, 1},
          "kernel for this operator in int8");
  // Where Paddle counts the padding in a window, it takes that before the image for that after
  // it.
  for (std::size_t i = 0; i < 2 && !onnx; ++i) window.padding[2 * i + 1] = window.padding[2 * i];
  Layer& made = layer(LayerKind::Pool, {input});
  made.window = window;
  made.adaptive = whole;
  made.pool = max                   ? PoolKind::Max
              : of_window && !whole ? PoolKind::AverageOfWindow
                                    : PoolKind::Average;
}

void NetworkReader::read_reduce(ReduceKind kind) {
  std::size_t input = tensor("X");
  const Shape& sizes = shape("X");
  image_shape(sizes);
  const Integers axes = view_->integers("axes", Integers());
  std::vector<bool> gone(sizes.size(), axes.empty() || view_->flag("reduce_all", false));
  for (const std::int64_t axis : axes) gone[view_->axis(axis, sizes.size())] = true;
  require(!gone[0], "operator that mixes images");
  const bool pools = kind == ReduceKind::Mean || kind == ReduceKind::Max;
  if (pools && gone == std::vector<bool>{false, false, true, true}) {
    Layer& made = layer(LayerKind::Pool, {image("X")});
    made.adaptive = true;
    made.pool = kind == ReduceKind::Max ? PoolKind::Max : PoolKind::Average;
    return;
  }
  require(!quantized_, "kernel for this operator in int8");
  const Integers steps = steps_of(sizes);
  Box reduced;
  for (std::size_t i = 1; i < sizes.size(); ++i) {
    if (gone[i]) reduced.add({sizes[i], steps[i], 0});
  }
  Axis axis{reduced.values(), reduced.loops.size() == 1 ? reduced.loops[0].from : 1};
  if (reduced.loops.size() > 1) {  // they are not side by side
    Box box;
    std::int64_t to = shape_of(input).values();
    for (const bool last : {false, true}) {
      for (std::size_t i = 1; i < sizes.size(); ++i) {
        if (gone[i] == last) box.add({sizes[i], steps[i], to /= sizes[i]});
      }
    }
    input = add_copy(box, input, shape_of(input));
  }
  Layer& made = layer(LayerKind::Reduce, {input});
  made.axis = axis;
  made.reduce = kind;
}

void NetworkReader::read_matmul() {
  const bool x_transposed = view_->flag("transA", false);
  const bool y_transposed = view_->flag("transB", false);
  const bool first = !is_computed(value("X"));  // the constant
  const std::string constant_name = first ? "X" : "Y";
  const std::string computed_name = first ? "Y" : "X";
  const Value* found = weights(constant_name);
  require(found != nullptr, "product with what is not constant");
  Shape matrix = found->shape;
  Shape sizes = shape(computed_name);
  if (op_->kind == "mul") {  // the axes behind the first ones are one, and so those of the matrix
    require(!first && view_->integer("y_num_col_dims") == 1 && matrix.size() == 2,
            "product with a constant but a matrix");
    const auto rows = static_cast<std::size_t>(view_->integer("x_num_col_dims"));
    const std::int64_t last = product(sizes, rows, sizes.size());
    sizes.resize(rows);
    sizes.push_back(last);
  }
  const std::size_t rank = sizes.size();
  if (matrix.size() == 1) matrix.insert(matrix.begin() + (first ? 0 : 1), 1);
  require(matrix.size() <= rank && product(matrix, 0, matrix.size() - 2) == 1,
          "product with a constant of a matrix for each image");
  matrix.erase(matrix.begin(), matrix.end() - 2);
  // The axis of the constant that goes into the result; along the other one products are summed.
  const std::size_t axis = first == (first ? x_transposed : y_transposed) ? 1 : 0;
  const std::int64_t outputs = matrix[axis];
  const std::int64_t sums = matrix[1 - axis];
  // The dimension that is summed up is the last but one of the second, the last of the first.
  const bool last_sums = first == (first ? y_transposed : x_transposed);
  require(rank > 2 || last_sums, "operator that mixes images");
  // Of what is computed: rows or columns that go into the result, and matrices of an image.
  const std::int64_t others = rank > 2 ? sizes[rank - (last_sums ? 2 : 1)] : 1;
  const std::int64_t batch = rank > 2 ? product(sizes, 1, rank - 2) : 1;
  const std::size_t from = tensor(computed_name);
  const TensorShape image = shape_of(from);
  require(image.values() == sums * others * batch, "product with a matrix of another size");
  const bool flat = others * batch == 1;
  require(flat || !quantized_, "kernel for this operator in int8");
  std::size_t input = from;
  if (!flat) {  // the dimension that is summed up becomes the channels
    Box box;
    box.add({sums, last_sums ? 1 : others, batch * others});
    box.add({batch, sums * others, others});
    box.add({others, last_sums ? sums : 1, 1});
    input = arranged(std::move(box), from, {sums, 1, batch * others});
  }
  Layer& made = layer(LayerKind::Convolution, {input});
  if (flat) made.window.kernel = {image.height, image.width};  // what was flattened
  made.bias.assign(static_cast<std::size_t>(outputs), 0);
  made.quantized = dequantized_.count(value(computed_name)) > 0;
  made.matrix = axis == 1;
  give_weights(made, constant_name, axis);
  add_factors(made);
  if (!flat) {
    made.output = network_.add_tensor({outputs, 1, batch * others});
    Box box;
    box.add({batch, others, others * outputs});
    box.add({outputs, batch * others, first ? others : 1});
    box.add({others, 1, first ? 1 : outputs});
    const TensorShape to = image_shape(graph_.values[given()].shape);
    layer(LayerKind::Identity, {arranged(std::move(box), made.output, to)});
  } else {
    network_.tensors[made.output] = {outputs};
  }
}

void NetworkReader::add_factors(Layer& made) {
  const auto alpha = static_cast<float>(view_->number("alpha", 1));
  const auto beta = static_cast<float>(view_->number("beta", 1));
  if (!std::isfinite(alpha) || !std::isfinite(beta)) refuse("has a factor that is not finite");
  for (float& weight : made.weights) weight *= alpha;
  for (float& scale : made.weight_scales) scale *= alpha;
  if (alpha != 1 && made.stored.data != nullptr) made.weight_scales.resize(made.bias.size(), alpha);
  if (!view_->has("Bias")) return;
  const std::vector<float> bias = floats("Bias");
  const Shape& sizes = shape("Bias");
  const auto classes = static_cast<std::int64_t>(made.bias.size());
  const bool one = bias.size() == 1;
  require((one && sizes.size() <= 2) || sizes == Shape{classes} || sizes == Shape{1, classes},
          "kernel for a bias but one number for each class");
  for (std::size_t o = 0; o < made.bias.size(); ++o) made.bias[o] = beta * bias[one ? 0 : o];
}

void NetworkReader::read_batch_norm() {
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  const bool trains = view_->outputs("MeanOut") > 0 || view_->flag("training_mode", false);
  require(!trains || view_->has_attribute("is_test"),
          "normalization while training, as its outputs ask for");
  const std::size_t input = with_channels("X");
  const double epsilon = view_->number("epsilon", static_cast<double>(1e-5F));
  const std::vector<float> mean = floats("Mean");
  const std::vector<float> variance = floats("Variance");
  const auto channels = static_cast<std::size_t>(shape_of(input).channels);
  const auto given_or = [&](const char* name, float otherwise) {
    return view_->has(name) ? floats(name) : std::vector<float>(channels, otherwise);
  };
  const std::vector<float> gain = given_or("Scale", 1);
  const std::vector<float> bias = given_or("Bias", 0);
  for (const std::vector<float>* part : {&mean, &variance, &gain, &bias}) {
    require(part->size() == channels, "normalization of so many channels");
  }
  std::vector<float> scales;
  std::vector<float> biases;
  for (std::size_t c = 0; c < channels; ++c) {
    const double spread = variance[c] + epsilon;
    require(spread > 0, "normalization by a variance that is not positive");
    const double scale = gain[c] / std::sqrt(spread);
    scales.push_back(static_cast<float>(scale));
    biases.push_back(static_cast<float>(bias[c] - mean[c] * scale));
  }
  channel_scale(input, std::move(scales), std::move(biases)).fuses_into_previous = true;
}

void NetworkReader::read_affine_channel() {
  require(!channels_last(*view_, "data_format"), "kernel for data_layout NHWC");
  const std::size_t input = with_channels("X");
  channel_scale(input, floats("Scale"), floats("Bias")).fuses_into_previous = true;
}

void NetworkReader::read_lrn() {
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  const std::size_t input = with_channels("X");
  const TensorShape sizes = shape_of(input);
  const std::int64_t channels = sizes.channels;
  const bool fluid = op_->kind == "lrn";  // it does not divide the sum by the size
  const std::int64_t size = view_->integer("size");
  layer_memory_.add(static_cast<double>(channels) * static_cast<double>(channels) * sizeof(float));
  const auto add = [&](LayerKind kind, std::vector<std::size_t> inputs) -> Layer& {
    Layer& made = layer(kind, std::move(inputs));
    made.output = network_.add_tensor(sizes);
    return made;
  };
  const std::size_t squares = add(LayerKind::Multiply, {input, input}).output;
  Layer& sum = add(LayerKind::Convolution, {squares});
  const auto count = static_cast<std::size_t>(channels);
  sum.bias.assign(count, static_cast<float>(view_->number("bias", 1)));
  sum.weights.assign(count * count, 0);
  const double share = view_->number("alpha", 1e-4) / (fluid ? 1 : static_cast<double>(size));
  for (std::int64_t c = 0; c < channels; ++c) {
    const std::int64_t end = std::min(channels, c + size / 2 + 1);
    for (std::int64_t i = std::max<std::int64_t>(0, c - (size - 1) / 2); i < end; ++i) {
      sum.weights[static_cast<std::size_t>(c * channels + i)] = static_cast<float>(share);
    }
  }
  Layer& logarithm = add(LayerKind::Activate, {sum.output});
  logarithm.activation.kind = ActivationKind::Log;
  Layer& power = add(LayerKind::ChannelScale, {logarithm.output});
  power.scale.assign(count, -static_cast<float>(view_->number("beta", 0.75)));
  power.bias.assign(count, 0);
  Layer& factor = add(LayerKind::Activate, {power.output});
  factor.activation.kind = ActivationKind::Exp;
  layer(LayerKind::Multiply, {input, factor.output});
}

void NetworkReader::read_softmax() {
  const Shape& sizes = shape("X");
  const std::size_t rank = sizes.size();
  image_shape(sizes);
  const std::size_t axis = view_->axis(softmax_axis(*view_), rank);
  require(axis > 0, "operator that mixes images");
  const std::int64_t inner = product(sizes, axis + 1, rank);
  const bool flattens = view_->opset() < 13;  // the axes behind it too
  Layer& made = layer(LayerKind::Softmax, {tensor("X")});
  made.axis = flattens ? Axis{sizes[axis] * inner, 1} : Axis{sizes[axis], inner};
  made.logarithm = op_->kind == "LogSoftmax";
}

}  // namespace lenet::native

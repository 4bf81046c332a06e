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

void NetworkReader::read_norm() {
  const double p = view_->number("p");
  require(p == 1 || p == 2, "kernel for such a norm");
  read_reduce(p == 1 ? ReduceKind::L1 : ReduceKind::L2);
}

void NetworkReader::read_reduce(ReduceKind kind) {
  std::size_t input = tensor("X");
  const Shape whole = sizes("X");
  const Integers axes = view_->integers("axes", Integers());
  if (axes.empty() && view_->flag("noop_with_empty_axes", false)) {
    const bool plain = kind == ReduceKind::Sum || kind == ReduceKind::Mean ||
                       kind == ReduceKind::Max || kind == ReduceKind::Min ||
                       kind == ReduceKind::Product;
    require(plain, "kernel for this operator without axes");
    return read_identity();
  }
  std::vector<bool> gone(whole.size(), axes.empty() || view_->flag("reduce_all", false));
  for (const std::int64_t axis : axes) gone[view_->axis(axis, whole.size())] = true;
  const bool pools = kind == ReduceKind::Mean || kind == ReduceKind::Max;
  if (pools && has_image_axis("X") && gone == std::vector<bool>{false, false, true, true}) {
    Layer& made = layer(LayerKind::Pool, {image("X")});
    made.adaptive = true;
    made.pool = kind == ReduceKind::Max ? PoolKind::Max : PoolKind::Average;
    return;
  }
  require(!quantized_, "kernel for this operator in int8");
  const Integers steps = steps_of(whole);
  Box reduced;
  for (std::size_t i = 0; i < whole.size(); ++i) {
    if (gone[i]) reduced.add({whole[i], steps[i], 0});
  }
  Axis axis{reduced.values(), reduced.loops.size() == 1 ? reduced.loops[0].from : 1};
  if (reduced.loops.size() > 1) {  // they are not side by side
    Box box;
    std::int64_t to = shape_of(input).values();
    for (const bool last : {false, true}) {
      for (std::size_t i = 0; i < whole.size(); ++i) {
        if (gone[i] == last) box.add({whole[i], steps[i], to /= whole[i]});
      }
    }
    input = add_copy(box, input, shape_of(input));
  }
  Layer& made = layer(LayerKind::Reduce, {input});
  made.axis = axis;
  made.reduce = kind;
}

void NetworkReader::read_matmul() {
  const bool first = !is_computed(value("X"));  // the constant
  const std::string constant_name = first ? "X" : "Y";
  const std::string computed_name = first ? "Y" : "X";
  if (is_computed(value(constant_name))) return read_product();
  const Value* found = weights(constant_name);
  require(found != nullptr, "product with what is not constant");
  Shape matrix = found->shape;
  if (matrix.size() == 1) matrix.insert(matrix.begin() + (first ? 0 : 1), 1);
  // The axis of the constant that goes into the result; along the other one products are summed.
  const bool transposed = view_->flag(first ? "transA" : "transB", false);
  const std::size_t axis = first == transposed ? 1 : 0;
  const std::size_t rank = matrix.size();
  const std::int64_t outputs = matrix[rank - 2 + axis];
  const std::int64_t sums = matrix[rank - 1 - axis];
  const std::size_t input = tensor(computed_name);
  const TensorShape image = shape_of(input);
  const bool flat = image.values() == sums && product(matrix, 0, rank - 2) == 1;
  if (!flat) return read_product();
  Layer& made = layer(LayerKind::Convolution, {input});
  made.window.kernel = {image.height, image.width};  // what was flattened
  made.bias.assign(static_cast<std::size_t>(outputs), 0);
  made.quantized = dequantized_.count(value(computed_name)) > 0;
  made.matrix = axis == 1;
  give_weights(made, constant_name, axis);
  add_factors(made);
  network_.tensors[made.output] = {outputs};
}

void NetworkReader::read_product() {
  require(!quantized_, "kernel for this operator in int8");
  Shape a = sizes("X");
  Shape b = sizes("Y");
  Product of;
  of.first_transposed = view_->flag("transA", false);
  of.second_transposed = view_->flag("transB", false);
  if (op_->kind ==
      "FlatMatMul") {  // the axes behind the first ones are one, and so those of the matrix
    require(view_->integer("y_num_col_dims") == 1 && b.size() == 2,
            "product with a constant but a matrix");
    const auto rows = static_cast<std::size_t>(view_->integer("x_num_col_dims"));
    a = {product(a, 0, rows), product(a, rows, a.size())};
  }
  if (a.size() == 1) a.insert(a.begin(), 1);
  if (b.size() == 1) b.push_back(1);
  of.rows = a[a.size() - (of.first_transposed ? 1 : 2)];
  of.sums = a[a.size() - (of.first_transposed ? 2 : 1)];
  of.columns = b[b.size() - (of.second_transposed ? 2 : 1)];
  require(of.sums == b[b.size() - (of.second_transposed ? 1 : 2)],
          "product of matrices of such different sizes");
  const std::size_t rank = std::max(a.size(), b.size()) - 2;
  const Shape first = aligned({a.begin(), a.end() - 2}, rank);
  const Shape second = aligned({b.begin(), b.end() - 2}, rank);
  const bool weighs = constant("Y") != nullptr && product(second, 0, rank) == 1;
  const Shape given = given_sizes();
  if (weighs && !of.first_transposed) {
    of.rows *= product(first, 0, rank);
  } else {
    of.matrices = read_matrices(first, second, of);
  }
  require(of.count() * of.rows * of.columns == product(given, 0, given.size()),
          "product with a constant of a matrix for each image");
  std::vector<std::size_t> inputs = {is_computed(value("X")) ? tensor("X") : add_constant("X")};
  if (!weighs) inputs.push_back(is_computed(value("Y")) ? tensor("Y") : add_constant("Y"));
  require(weighs || (view_->number("alpha", 1) == 1 && !view_->has("Bias")),
          "kernel for a Gemm of two tensors that scales or adds");
  Layer& made = layer(LayerKind::MatMul, std::move(inputs));
  made.product = std::move(of);
  if (!weighs) return;
  made.bias.assign(static_cast<std::size_t>(made.product.columns), 0);
  give_weights(made, "Y", made.product.second_transposed ? 0 : 1);
  add_factors(made);
}

std::vector<Product::Loop> NetworkReader::read_matrices(const Shape& first, const Shape& second,
                                                        const Product& of) const {
  const Integers first_steps = steps_of(first);
  const Integers second_steps = steps_of(second);
  std::vector<Product::Loop> loops;
  for (std::size_t i = 0; i < first.size(); ++i) {
    require(first[i] == second[i] || first[i] == 1 || second[i] == 1,
            "product of matrices of such different sizes");
    const std::int64_t count = std::max(first[i], second[i]);
    if (count == 1) continue;
    loops.push_back({count, first[i] == 1 ? 0 : first_steps[i] * of.rows * of.sums,
                     second[i] == 1 ? 0 : second_steps[i] * of.sums * of.columns});
  }
  return loops;
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
  const Shape& of_bias = shape("Bias");
  const auto classes = static_cast<std::int64_t>(made.bias.size());
  const bool one = bias.size() == 1;
  require((one && of_bias.size() <= 2) || of_bias == Shape{classes} || of_bias == Shape{1, classes},
          "kernel for a bias but one number for each class");
  for (std::size_t o = 0; o < made.bias.size(); ++o) made.bias[o] = beta * bias[one ? 0 : o];
}

void NetworkReader::read_batch_norm() {
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  const bool trains = view_->outputs("MeanOut") > 0 || view_->flag("training_mode", false);
  require(!trains || view_->has_attribute("is_test"),
          "normalization while training, as its outputs ask for");
  const double epsilon = view_->number("epsilon", static_cast<double>(1e-5F));
  const std::vector<float> mean = floats("Mean");
  const std::vector<float> variance = floats("Variance");
  const auto channels = static_cast<std::size_t>(sizes("X").at(1));
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
  scale_axis_1(std::move(scales), std::move(biases)).fuses_into_previous = true;
}

Layer& NetworkReader::scale_axis_1(std::vector<float> scale, std::vector<float> bias) {
  if (has_image_axis("X")) {
    return channel_scale(with_channels("X"), std::move(scale), std::move(bias));
  }
  require(!quantized_, "kernel for this operator in int8");
  const Shape whole = sizes("X");
  const std::int64_t inner = product(whole, 2, whole.size());
  const std::vector<BroadcastLoop> loops = {
      {whole[0], {whole[1] * inner, 0, 0}}, {whole[1], {inner, 1, 0}}, {inner, {1, 0, 0}}};
  std::size_t input = tensor("X");
  const auto combine = [&](BroadcastKind kind, std::vector<float> numbers) -> Layer& {
    Layer& made = layer(LayerKind::Broadcast, {input});
    made.broadcast = kind;
    made.operands = {{0, {}}, {kNone, std::move(numbers)}};
    for (const BroadcastLoop& loop : loops) {
      if (loop.count > 1) made.loops.push_back(loop);
    }
    return made;
  };
  Layer& scaled = combine(BroadcastKind::Multiply, std::move(scale));
  input = scaled.output = network_.add_tensor(image_shape(whole));
  return combine(BroadcastKind::Add, std::move(bias));
}

void NetworkReader::read_affine_channel() {
  require(!channels_last(*view_, "data_format"), "kernel for data_layout NHWC");
  scale_axis_1(floats("Scale"), floats("Bias")).fuses_into_previous = true;
}

void NetworkReader::read_lrn() {
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  const std::size_t input = with_channels("X");
  const TensorShape sizes = shape_of(input);
  const std::int64_t channels = sizes.channels;
  const bool of_sum = view_->flag("of_sum", false);  // of Paddle 1: not divided by the size
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
  const double share = view_->number("alpha", 1e-4) / (of_sum ? 1 : static_cast<double>(size));
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
  const Shape whole = sizes("X");
  const std::size_t axis = view_->axis(softmax_axis(*view_), whole.size());
  const std::int64_t inner = product(whole, axis + 1, whole.size());
  const bool flattens = view_->opset() < 13;  // the axes behind it too
  Layer& made = layer(LayerKind::Softmax, {tensor("X")});
  made.axis = flattens ? Axis{whole[axis] * inner, 1} : Axis{whole[axis], inner};
  made.logarithm = op_->kind == "LogSoftmax";
}

void NetworkReader::read_trailing_norm() {
  require(!quantized_, "kernel for this operator in int8");
  const Shape whole = sizes("X");
  const bool flat = view_->flag("flat", false);  // Paddle's parameters are vectors
  const std::size_t axis = view_->axis(view_->integer("axis", -1), whole.size());
  const Shape normalized(whole.begin() + static_cast<std::ptrdiff_t>(axis), whole.end());
  const std::int64_t count = product(normalized, 0, normalized.size());
  const auto parameter = [&](const char* name) -> std::vector<float> {
    if (!view_->has(name)) return {};
    require(constant(name) != nullptr, "normalization by what is not constant");
    if (flat) return floats(name);
    return repeated_numbers(floats(name), sizes(name), normalized);
  };
  Layer& made = layer(LayerKind::Normalize, {tensor("X")});
  made.axis = {count, 1};
  made.epsilon = static_cast<float>(view_->number("epsilon", static_cast<double>(1e-5F)));
  made.subtracts_mean = op_->kind != "RMSNormalization";
  made.scale = parameter("Scale");
  made.bias = parameter("Bias");
}

void NetworkReader::read_group_norm() {
  require(!quantized_, "kernel for this operator in int8");
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  require(has_image_axis("X"), "kernel for channels of images that are not first");
  const std::size_t input = shaped("X");
  const TensorShape image = shape_of(input);
  const bool of_groups = op_->kind == "GroupNormalization";
  const std::int64_t groups = of_groups ? view_->integer("group") : image.channels;
  Layer& made = layer(LayerKind::Normalize, {input});
  made.axis = {image.values() / groups, 1};
  made.epsilon = static_cast<float>(view_->number("epsilon", static_cast<double>(1e-5F)));
  if (!view_->has("Scale") && !view_->has("Bias")) return;
  made.output = network_.add_tensor(image);
  const std::size_t normalized = made.output;
  const auto channels = static_cast<std::size_t>(image.channels);
  const auto parameter = [&](const char* name, float otherwise) {
    if (!view_->has(name)) return std::vector<float>(channels, otherwise);
    std::vector<float> numbers = floats(name);
    if (numbers.size() == channels) return numbers;
    // Before operator set 21 of ONNX there is one for each group.
    require(static_cast<std::int64_t>(numbers.size()) == groups,
            "normalization of so many channels");
    return repeated_numbers(numbers, {groups, 1}, {groups, image.channels / groups});
  };
  std::vector<float> scale = parameter("Scale", 1);
  channel_scale(normalized, std::move(scale), parameter("Bias", 0));
}

}  // namespace lenet::native

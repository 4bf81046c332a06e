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
  const bool several = shape("X").size() == 4 && !has_image_axis("X");
  if (several) return read_convolution_of_parts();
  const std::size_t input = image_or_line("X");
  const TensorShape from = shape_of(input);
  const Window window = read_window(from);
  Layer& made = layer(LayerKind::Convolution, {input});
  made.convolution().window = window;
  give_filter(made);
}

Window NetworkReader::read_window(const TensorShape& image) {
  const Value* filter = weights("Filter");
  require(filter != nullptr && filter->shape.size() == shape("X").size(),
          "convolution whose filter is no parameter");
  Shape kernel = filter->shape;
  if (kernel.size() == 3) kernel.insert(kernel.begin() + 2, 1);
  return plan_window(*view_, {kernel[2], kernel[3]}, {image.height(), image.width()}, false).window;
}

void NetworkReader::give_filter(Layer& made) {
  made.convolution().groups = view_->integer("group", 1);
  made.bias.assign(static_cast<std::size_t>(weights("Filter")->shape[0]), 0);
  if (view_->has("Bias")) made.bias = floats("Bias");
  give_weights(made, "Filter", 0);
}

void NetworkReader::read_convolution_of_parts() {
  const Shape from = sizes("X");  // [parts][channels][height][width]
  const Shape to = given_sizes();
  Window window = read_window({from[1], from[2], from[3]});
  // From a part to the next: its rows, and so many of zeros that no window reads two parts.
  const std::int64_t stride = window.strides[0];
  const std::int64_t reach =
      (to[2] - 1) * stride - window.padding[0] + (window.kernel[0] - 1) * window.dilations[0] + 1;
  const std::int64_t least = std::max(from[2] + window.padding[0], reach);
  const std::int64_t step = (least + stride - 1) / stride * stride;
  const std::int64_t rows = from[0] * step;
  Box box;
  box.add({from[0], from[1] * from[2] * from[3], step * from[3]});
  box.add({from[1], from[2] * from[3], rows * from[3]});
  box.add({from[2] * from[3], 1, 1});
  const std::size_t input = add_copy(std::move(box), tensor("X"), {from[1], rows, from[3]});
  const std::int64_t windows = (from[0] - 1) * step / stride + to[2];
  const std::int64_t end =
      (windows - 1) * stride - window.padding[0] + (window.kernel[0] - 1) * window.dilations[0] + 1;
  window.padding[1] = std::max<std::int64_t>(end - rows, 0);
  const TensorShape all = {to[1], windows, to[3]};
  Layer& made = layer(LayerKind::Convolution, {input});
  made.convolution().window = window;
  made.output = network_.add_tensor(all);
  const std::size_t output = made.output;
  give_filter(made);
  Box back;
  back.add({to[0], step / stride * to[3], to[1] * to[2] * to[3]});
  back.add({to[1], windows * to[3], to[2] * to[3]});
  back.add({to[2] * to[3], 1, 1});
  layer(LayerKind::Copy, {output}).params = CopyParams{{std::move(back)}};
}

void NetworkReader::read_pool() {
  const std::size_t input = image_or_line("X");
  const TensorShape& from = shape_of(input);
  Window window =
      plan_window(*view_, pool_kernel(*view_), {from.height(), from.width()}, true).window;
  // Where Paddle counts the padding in a window, it takes that before the image for that after
  // it.
  const bool paddle = view_->flag("in_pairs", false);
  for (std::size_t i = 0; i < 2 && paddle; ++i) window.padding[2 * i + 1] = window.padding[2 * i];
  const bool counts_padding =
      view_->flag("count_include_pad", false) || !view_->flag("exclusive", true);
  const PoolKind average = counts_padding ? PoolKind::AverageOfWindow : PoolKind::Average;
  const PoolKind kind = op_->kind == "MaxPool" ? PoolKind::Max : average;
  add_pool({window, kind});
}

void NetworkReader::read_whole_pool() {
  const bool max = has_word("GlobalMaxPool AdaptiveMaxPool", op_->kind);
  add_pool({{}, max ? PoolKind::Max : PoolKind::Average, true});
}

void NetworkReader::add_pool(const PoolParams& params) {
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  layer(LayerKind::Pool, {image_or_line("X")}).params = params;
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
    layer(LayerKind::Pool, {image("X")}).params =
        PoolParams{{}, kind == ReduceKind::Max ? PoolKind::Max : PoolKind::Average, true};
    return;
  }
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
  made.params = ReduceParams{axis, kind};
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
  scale_axis_1(std::move(scales), std::move(biases));
}

Layer& NetworkReader::scale_axis_1(std::vector<float> scale, std::vector<float> bias) {
  if (has_image_axis("X")) {
    return channel_scale(with_channels("X"), std::move(scale), std::move(bias));
  }
  const Shape whole = sizes("X");
  const std::int64_t inner = product(whole, 2, whole.size());
  const std::vector<BroadcastLoop> loops = {
      {whole[0], {whole[1] * inner, 0, 0}}, {whole[1], {inner, 1, 0}}, {inner, {1, 0, 0}}};
  std::size_t input = tensor("X");
  const auto combine = [&](BroadcastKind kind, std::vector<float> numbers) -> Layer& {
    Layer& made = layer(LayerKind::Broadcast, {input});
    auto& broadcast = made.get<BroadcastParams>();
    broadcast.kind = kind;
    broadcast.operands = {{0, {}}, {kNone, std::move(numbers)}};
    for (const BroadcastLoop& loop : loops) {
      if (loop.count > 1) broadcast.loops.push_back(loop);
    }
    return made;
  };
  Layer& scaled = combine(BroadcastKind::Multiply, std::move(scale));
  input = scaled.output = network_.add_tensor(image_shape(whole));
  return combine(BroadcastKind::Add, std::move(bias));
}

void NetworkReader::read_affine_channel() {
  require(!channels_last(*view_, "data_format"), "kernel for data_layout NHWC");
  scale_axis_1(floats("Scale"), floats("Bias"));
}

void NetworkReader::read_lrn() {
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  const std::size_t input = with_channels("X");
  const TensorShape sizes = shape_of(input);
  const std::int64_t channels = sizes.channels();
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
  const auto exponent = -static_cast<float>(view_->number("beta", 0.75));
  power.params = ScaleParams{std::vector<float>(count, exponent), std::vector<float>(count)};
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
  made.params = SoftmaxParams{flattens ? Axis{whole[axis] * inner, 1} : Axis{whole[axis], inner},
                              op_->kind == "LogSoftmax"};
}

Layer& NetworkReader::along(std::size_t axis, std::size_t to, AlongParams what) {
  const Shape whole = sizes("X");
  network_.tensors[to].shape = image_shape(image_of(graph_.values[to]));
  Layer& made = network_.add_layer(
      LayerKind::Along, type() + " '" + printable(graph_.values[to].name) + "'", {tensor("X")}, to);
  what.axis = {whole[axis], product(whole, axis + 1, whole.size())};
  if (!what.orders()) what.given = what.axis.count;
  made.params = what;
  return made;
}

void NetworkReader::read_sums_so_far() {
  require(!view_->flag("flatten", false), "kernel for sums of all values");
  AlongParams what{AlongParams::Kind::Sums};
  what.last = view_->flag("reverse", false);
  what.exclusive = view_->flag("exclusive", false);
  along(view_->axis(view_->integer("axis"), sizes("X").size()), given(), what);
}

void NetworkReader::read_hardmax() {
  const std::size_t axis = view_->axis(softmax_axis(*view_), sizes("X").size());
  Layer& made = along(axis, given(), {AlongParams::Kind::Hardmax});
  if (view_->opset() >= 13) return;  // else the axes behind it too
  auto& hardmax = made.get<AlongParams>();
  hardmax.axis = {hardmax.axis.count * hardmax.axis.inner, 1};
  hardmax.given = hardmax.axis.count;
}

void NetworkReader::read_norm_of_axis() {
  const std::int64_t p = view_->integer("p", 2);
  require(p == 1 || p == 2, "kernel for such a norm");
  AlongParams what{AlongParams::Kind::Normalized};
  what.of_squares = p == 2;
  what.epsilon = view_->number("epsilon", 0);
  along(view_->axis(view_->integer("axis", -1), sizes("X").size()), given(), what);
}

void NetworkReader::read_arg_max() {
  require(!view_->flag("flatten", false), "kernel for the largest of all values");
  AlongParams what{AlongParams::Kind::Places};
  what.smallest = op_->kind == "ArgMin";
  what.last = view_->flag("select_last_index", false);
  along(view_->axis(view_->integer("axis"), sizes("X").size()), given(), what);
}

void NetworkReader::read_top_k() {
  const Shape whole = sizes("X");
  const std::size_t axis = view_->axis(view_->integer("axis", -1), whole.size());
  AlongParams what{AlongParams::Kind::Largest};
  what.given = view_->integer("k");
  what.smallest = !view_->flag("largest", true);
  require(what.given > 0, "kernel for none of the largest values");
  along(axis, given(), what);
  what.kind = AlongParams::Kind::Places;
  if (view_->outputs("Indices") > 0) along(axis, op_->outputs.at("Indices")[0], what);
}

void NetworkReader::read_trailing_norm() {
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
  auto& norm = made.get<NormalizeParams>();
  norm.count = count;
  norm.epsilon = static_cast<float>(view_->number("epsilon", static_cast<double>(1e-5F)));
  norm.subtracts_mean = op_->kind != "RMSNormalization";
  norm.scale = parameter("Scale");
  norm.bias = parameter("Bias");
}

void NetworkReader::read_group_norm() {
  require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
  require(has_image_axis("X"), "kernel for channels of images that are not first");
  const std::size_t input = shaped("X");
  const TensorShape image = shape_of(input);
  const bool of_groups = op_->kind == "GroupNormalization";
  const std::int64_t groups = of_groups ? view_->integer("group") : image.channels();
  Layer& made = layer(LayerKind::Normalize, {input});
  auto& norm = made.get<NormalizeParams>();
  norm.count = image.values() / groups;
  norm.epsilon = static_cast<float>(view_->number("epsilon", static_cast<double>(1e-5F)));
  if (!view_->has("Scale") && !view_->has("Bias")) return;
  made.output = network_.add_tensor(image);
  const std::size_t normalized = made.output;
  const auto channels = static_cast<std::size_t>(image.channels());
  const auto parameter = [&](const char* name, float otherwise) {
    if (!view_->has(name)) return std::vector<float>(channels, otherwise);
    std::vector<float> numbers = floats(name);
    if (numbers.size() == channels) return numbers;
    // Before operator set 21 of ONNX there is one for each group.
    require(static_cast<std::int64_t>(numbers.size()) == groups,
            "normalization of so many channels");
    return repeated_numbers(numbers, {groups, 1}, {groups, image.channels() / groups});
  };
  std::vector<float> scale = parameter("Scale", 1);
  channel_scale(normalized, std::move(scale), parameter("Bias", 0));
}

}  // namespace lenet::native

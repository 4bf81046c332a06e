// Operators that most networks consist of: convolutions, pools, reductions, normalizations, and
// what is computed along an axis.

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "engines/native/network_reader.h"
#include "model/rules/windows.h"

namespace lenet::native {
namespace {

/// Reads the window of a convolution that goes over such an image.
Window read_window(NetworkReader& reader, const TensorShape& image) {
  const Value* filter = weights_of(reader, "Filter");
  reader.require(filter != nullptr && filter->shape.size() == reader.shape("X").size(),
                 "convolution whose filter is no parameter");
  Shape kernel = filter->shape;
  if (kernel.size() == 3) kernel.insert(kernel.begin() + 2, 1);
  return plan_window(reader.view(), {kernel[2], kernel[3]}, {image.height(), image.width()}, false)
      .window;
}

/// Gives a convolution its weights, bias and groups.
void give_filter(NetworkReader& reader, Layer& made) {
  made.convolution().groups = reader.view().integer("group", 1);
  made.bias.assign(static_cast<std::size_t>(weights_of(reader, "Filter")->shape[0]), 0);
  if (reader.view().has("Bias")) made.bias = reader.floats("Bias");
  give_weights(reader, made, "Filter", 0);
}

/// Reads a convolution whose images have several parts each, such as the windows of an attention.
/// The parts are put below each other in one image, with zeros between them.
void read_convolution_of_parts(NetworkReader& reader) {
  const Shape from = reader.sizes("X");  // [parts][channels][height][width]
  const Shape to = reader.given_sizes();
  Window window = read_window(reader, {from[1], from[2], from[3]});
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
  const std::size_t input =
      reader.add_copy(std::move(box), reader.tensor("X"), {from[1], rows, from[3]});
  const std::int64_t windows = (from[0] - 1) * step / stride + to[2];
  const std::int64_t end =
      (windows - 1) * stride - window.padding[0] + (window.kernel[0] - 1) * window.dilations[0] + 1;
  window.padding[1] = std::max<std::int64_t>(end - rows, 0);
  const TensorShape all = {to[1], windows, to[3]};
  Layer& made = reader.layer(LayerKind::Convolution, {input});
  made.convolution().window = window;
  made.output = reader.add_tensor(all);
  const std::size_t output = made.output;
  give_filter(reader, made);
  Box back;
  back.add({to[0], step / stride * to[3], to[1] * to[2] * to[3]});
  back.add({to[1], windows * to[3], to[2] * to[3]});
  back.add({to[2] * to[3], 1, 1});
  reader.layer(LayerKind::Copy, {output}).params = CopyParams{{std::move(back)}};
}

void read_convolution(NetworkReader& reader) {
  reader.require_channels_first();
  const bool several = reader.shape("X").size() == 4 && !reader.has_image_axis("X");
  if (several) return read_convolution_of_parts(reader);
  const std::size_t input = reader.image_or_line("X");
  const TensorShape from = reader.shape_of(input);
  const Window window = read_window(reader, from);
  Layer& made = reader.layer(LayerKind::Convolution, {input});
  made.convolution().window = window;
  give_filter(reader, made);
}

void add_pool(NetworkReader& reader, const PoolParams& params) {
  reader.require_channels_first();
  reader.layer(LayerKind::Pool, {reader.image_or_line("X")}).params = params;
}

void read_pool(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  const std::size_t input = reader.image_or_line("X");
  const TensorShape& from = reader.shape_of(input);
  Window window = plan_window(view, pool_kernel(view), {from.height(), from.width()}, true).window;
  // Where Paddle counts the padding in a window, it takes that before the image for that after
  // it.
  const bool paddle = view.flag("in_pairs", false);
  for (std::size_t i = 0; i < 2 && paddle; ++i) window.padding[2 * i + 1] = window.padding[2 * i];
  const bool counts_padding =
      view.flag("count_include_pad", false) || !view.flag("exclusive", true);
  const PoolKind average = counts_padding ? PoolKind::AverageOfWindow : PoolKind::Average;
  const PoolKind kind = reader.op().kind == "MaxPool" ? PoolKind::Max : average;
  add_pool(reader, {window, kind});
}

/// Reads a pool whose windows share the image out.
void read_whole_pool(NetworkReader& reader) {
  const bool max = has_word("GlobalMaxPool AdaptiveMaxPool", reader.op().kind);
  add_pool(reader, {{}, max ? PoolKind::Max : PoolKind::Average, true});
}

/// Requires an image in two dimensions, and gives its tensor in its shape in the program.
std::size_t image(NetworkReader& reader, const std::string& name) {
  reader.require(reader.sizes(name).size() == 4 && reader.has_image_axis(name),
                 "kernel but for images in two dimensions");
  return reader.shaped(name);
}

/// Reduces any axes, or pools all pixels of each image.
void reduce(NetworkReader& reader, ReduceKind kind) {
  const OperatorView& view = reader.view();
  std::size_t input = reader.tensor("X");
  const Shape whole = reader.sizes("X");
  const Integers axes = view.integers("axes", Integers());
  if (axes.empty() && view.flag("noop_with_empty_axes", false)) {
    const bool plain = kind == ReduceKind::Sum || kind == ReduceKind::Mean ||
                       kind == ReduceKind::Max || kind == ReduceKind::Min ||
                       kind == ReduceKind::Product;
    reader.require(plain, "kernel for this operator without axes");
    return reader.add_identity();
  }
  std::vector<bool> gone(whole.size(), axes.empty() || view.flag("reduce_all", false));
  for (const std::int64_t axis : axes) gone[view.axis(axis, whole.size())] = true;
  const bool pools = kind == ReduceKind::Mean || kind == ReduceKind::Max;
  if (pools && reader.has_image_axis("X") && gone == std::vector<bool>{false, false, true, true}) {
    reader.layer(LayerKind::Pool, {image(reader, "X")}).params =
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
    std::int64_t to = reader.shape_of(input).values();
    for (const bool last : {false, true}) {
      for (std::size_t i = 0; i < whole.size(); ++i) {
        if (gone[i] == last) box.add({whole[i], steps[i], to /= whole[i]});
      }
    }
    input = reader.add_copy(box, input, reader.shape_of(input));
  }
  Layer& made = reader.layer(LayerKind::Reduce, {input});
  made.params = ReduceParams{axis, kind};
}

template <ReduceKind Kind>
void read_reduction(NetworkReader& reader) {
  reduce(reader, Kind);
}

/// Reads a norm whose number is an attribute.
void read_norm(NetworkReader& reader) {
  const double p = reader.view().number("p");
  reader.require(p == 1 || p == 2, "kernel for such a norm");
  reduce(reader, p == 1 ? ReduceKind::L1 : ReduceKind::L2);
}

/// Computes x * scale + bias, with a number for each index of axis 1, wherever the images are.
void scale_axis_1(NetworkReader& reader, std::vector<float> scale, std::vector<float> bias) {
  if (reader.has_image_axis("X")) {
    reader.channel_scale(reader.with_channels("X"), std::move(scale), std::move(bias));
    return;
  }
  const Shape whole = reader.sizes("X");
  const std::int64_t inner = product(whole, 2, whole.size());
  const std::vector<BroadcastLoop> loops = {
      {whole[0], {whole[1] * inner, 0, 0}}, {whole[1], {inner, 1, 0}}, {inner, {1, 0, 0}}};
  std::size_t input = reader.tensor("X");
  const auto combine = [&](BroadcastKind kind, std::vector<float> numbers) -> Layer& {
    Layer& made = reader.layer(LayerKind::Broadcast, {input});
    auto& broadcast = made.get<BroadcastParams>();
    broadcast.kind = kind;
    broadcast.operands = {{0, {}}, {kNone, std::move(numbers)}};
    for (const BroadcastLoop& loop : loops) {
      if (loop.count > 1) broadcast.loops.push_back(loop);
    }
    return made;
  };
  Layer& scaled = combine(BroadcastKind::Multiply, std::move(scale));
  input = scaled.output = reader.add_tensor(reader.image_shape(whole));
  combine(BroadcastKind::Add, std::move(bias));
}

void read_batch_norm(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  reader.require_channels_first();
  const bool trains = view.outputs("MeanOut") > 0 || view.flag("training_mode", false);
  reader.require(!trains || view.has_attribute("is_test"),
                 "normalization while training, as its outputs ask for");
  const double epsilon = view.number("epsilon", static_cast<double>(1e-5F));
  const std::vector<float> mean = reader.floats("Mean");
  const std::vector<float> variance = reader.floats("Variance");
  const auto channels = static_cast<std::size_t>(reader.sizes("X").at(1));
  const auto given_or = [&](const char* name, float otherwise) {
    return view.has(name) ? reader.floats(name) : std::vector<float>(channels, otherwise);
  };
  const std::vector<float> gain = given_or("Scale", 1);
  const std::vector<float> bias = given_or("Bias", 0);
  for (const std::vector<float>* part : {&mean, &variance, &gain, &bias}) {
    reader.require(part->size() == channels, "normalization of so many channels");
  }
  std::vector<float> scales;
  std::vector<float> biases;
  for (std::size_t c = 0; c < channels; ++c) {
    const double spread = variance[c] + epsilon;
    reader.require(spread > 0, "normalization by a variance that is not positive");
    const double scale = gain[c] / std::sqrt(spread);
    scales.push_back(static_cast<float>(scale));
    biases.push_back(static_cast<float>(bias[c] - mean[c] * scale));
  }
  scale_axis_1(reader, std::move(scales), std::move(biases));
}

void read_affine_channel(NetworkReader& reader) {
  reader.require_channels_first();
  scale_axis_1(reader, reader.floats("Scale"), reader.floats("Bias"));
}

/// Reads x * (bias + alpha / size * the sum of the squares of `size` channels around it) ^ -beta.
/// The sum becomes a convolution, the power a logarithm and its exponential function.
void read_lrn(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  reader.require_channels_first();
  const std::size_t input = reader.with_channels("X");
  const TensorShape sizes = reader.shape_of(input);
  const std::int64_t channels = sizes.channels();
  const bool of_sum = view.flag("of_sum", false);  // of Paddle 1: not divided by the size
  const std::int64_t size = view.integer("size");
  reader.count_memory(static_cast<double>(channels) * static_cast<double>(channels) *
                      sizeof(float));
  const auto add = [&](LayerKind kind, std::vector<std::size_t> inputs) -> Layer& {
    Layer& made = reader.layer(kind, std::move(inputs));
    made.output = reader.add_tensor(sizes);
    return made;
  };
  const std::size_t squares = add(LayerKind::Multiply, {input, input}).output;
  Layer& sum = add(LayerKind::Convolution, {squares});
  const auto count = static_cast<std::size_t>(channels);
  sum.bias.assign(count, static_cast<float>(view.number("bias", 1)));
  sum.weights.assign(count * count, 0);
  const double share = view.number("alpha", 1e-4) / (of_sum ? 1 : static_cast<double>(size));
  for (std::int64_t c = 0; c < channels; ++c) {
    const std::int64_t end = std::min(channels, c + size / 2 + 1);
    for (std::int64_t i = std::max<std::int64_t>(0, c - (size - 1) / 2); i < end; ++i) {
      sum.weights[static_cast<std::size_t>(c * channels + i)] = static_cast<float>(share);
    }
  }
  Layer& logarithm = add(LayerKind::Activate, {sum.output});
  logarithm.activation.kind = ActivationKind::Log;
  Layer& power = add(LayerKind::ChannelScale, {logarithm.output});
  const auto exponent = -static_cast<float>(view.number("beta", 0.75));
  power.params = ScaleParams{std::vector<float>(count, exponent), std::vector<float>(count)};
  Layer& factor = add(LayerKind::Activate, {power.output});
  factor.activation.kind = ActivationKind::Exp;
  reader.layer(LayerKind::Multiply, {input, factor.output});
}

void read_softmax(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  const Shape whole = reader.sizes("X");
  const std::size_t axis = view.axis(softmax_axis(view), whole.size());
  const std::int64_t inner = product(whole, axis + 1, whole.size());
  const bool flattens = view.opset() < 13;  // the axes behind it too
  Layer& made = reader.layer(LayerKind::Softmax, {reader.tensor("X")});
  made.params = SoftmaxParams{flattens ? Axis{whole[axis] * inner, 1} : Axis{whole[axis], inner},
                              reader.op().kind == "LogSoftmax"};
}

/// Adds a layer for values along an axis. \param to the value that the graph has for them
Layer& along(NetworkReader& reader, std::size_t axis, std::size_t to, AlongParams what) {
  const Shape whole = reader.sizes("X");
  const TensorShape shape = reader.image_shape(image_of(reader.graph().values[to]));
  Layer& made = reader.layer_for(to, LayerKind::Along, {reader.tensor("X")});
  reader.set_shape(to, shape);
  what.axis = {whole[axis], product(whole, axis + 1, whole.size())};
  if (!what.orders()) what.given = what.axis.count;
  made.params = what;
  return made;
}

void read_sums_so_far(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  reader.require(!view.flag("flatten", false), "kernel for sums of all values");
  AlongParams what{AlongParams::Kind::Sums};
  what.last = view.flag("reverse", false);
  what.exclusive = view.flag("exclusive", false);
  along(reader, view.axis(view.integer("axis"), reader.sizes("X").size()), reader.given(), what);
}

void read_hardmax(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  const std::size_t axis = view.axis(softmax_axis(view), reader.sizes("X").size());
  Layer& made = along(reader, axis, reader.given(), {AlongParams::Kind::Hardmax});
  if (view.opset() >= 13) return;  // else the axes behind it too
  auto& hardmax = made.get<AlongParams>();
  hardmax.axis = {hardmax.axis.count * hardmax.axis.inner, 1};
  hardmax.given = hardmax.axis.count;
}

void read_norm_of_axis(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  const std::int64_t p = view.integer("p", 2);
  reader.require(p == 1 || p == 2, "kernel for such a norm");
  AlongParams what{AlongParams::Kind::Normalized};
  what.of_squares = p == 2;
  what.epsilon = view.number("epsilon", 0);
  along(reader, view.axis(view.integer("axis", -1), reader.sizes("X").size()), reader.given(),
        what);
}

void read_arg_max(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  reader.require(!view.flag("flatten", false), "kernel for the largest of all values");
  AlongParams what{AlongParams::Kind::Places};
  what.smallest = reader.op().kind == "ArgMin";
  what.last = view.flag("select_last_index", false);
  along(reader, view.axis(view.integer("axis"), reader.sizes("X").size()), reader.given(), what);
}

void read_top_k(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  const Shape whole = reader.sizes("X");
  const std::size_t axis = view.axis(view.integer("axis", -1), whole.size());
  AlongParams what{AlongParams::Kind::Largest};
  what.given = view.integer("k");
  what.smallest = !view.flag("largest", true);
  reader.require(what.given > 0, "kernel for none of the largest values");
  along(reader, axis, reader.given(), what);
  what.kind = AlongParams::Kind::Places;
  if (view.outputs("Indices") > 0) along(reader, axis, reader.op().outputs.at("Indices")[0], what);
}

/// Reads a LayerNormalization or RMSNormalization, which goes over the values from an axis on.
void read_trailing_norm(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  const Shape whole = reader.sizes("X");
  const bool flat = view.flag("flat", false);  // Paddle's parameters are vectors
  const std::size_t axis = view.axis(view.integer("axis", -1), whole.size());
  const Shape normalized(whole.begin() + static_cast<std::ptrdiff_t>(axis), whole.end());
  const std::int64_t count = product(normalized, 0, normalized.size());
  const auto parameter = [&](const char* name) -> std::vector<float> {
    if (!view.has(name)) return {};
    reader.require(reader.constant(name) != nullptr, "normalization by what is not constant");
    if (flat) return reader.floats(name);
    return repeated_numbers(reader.floats(name), reader.sizes(name), normalized);
  };
  Layer& made = reader.layer(LayerKind::Normalize, {reader.tensor("X")});
  auto& norm = made.get<NormalizeParams>();
  norm.count = count;
  norm.epsilon = static_cast<float>(view.number("epsilon", static_cast<double>(1e-5F)));
  norm.subtracts_mean = reader.op().kind != "RMSNormalization";
  norm.scale = parameter("Scale");
  norm.bias = parameter("Bias");
}

/// Reads a GroupNormalization or InstanceNormalization, which goes over groups of an image's
/// channels.
void read_group_norm(NetworkReader& reader) {
  const OperatorView& view = reader.view();
  reader.require_channels_first();
  reader.require(reader.has_image_axis("X"), "kernel for channels of images that are not first");
  const std::size_t input = reader.shaped("X");
  const TensorShape image = reader.shape_of(input);
  const bool of_groups = reader.op().kind == "GroupNormalization";
  const std::int64_t groups = of_groups ? view.integer("group") : image.channels();
  Layer& made = reader.layer(LayerKind::Normalize, {input});
  auto& norm = made.get<NormalizeParams>();
  norm.count = image.values() / groups;
  norm.epsilon = static_cast<float>(view.number("epsilon", static_cast<double>(1e-5F)));
  if (!view.has("Scale") && !view.has("Bias")) return;
  made.output = reader.add_tensor(image);
  const std::size_t normalized = made.output;
  const auto channels = static_cast<std::size_t>(image.channels());
  const auto parameter = [&](const char* name, float otherwise) {
    if (!view.has(name)) return std::vector<float>(channels, otherwise);
    std::vector<float> numbers = reader.floats(name);
    if (numbers.size() == channels) return numbers;
    // Before operator set 21 of ONNX there is one for each group.
    reader.require(static_cast<std::int64_t>(numbers.size()) == groups,
                   "normalization of so many channels");
    return repeated_numbers(numbers, {groups, 1}, {groups, image.channels() / groups});
  };
  std::vector<float> scale = parameter("Scale", 1);
  reader.channel_scale(normalized, std::move(scale), parameter("Bias", 0));
}

constexpr OperatorRow kOperators[] = {
    {"Conv", read_convolution},
    {"MaxPool AveragePool", read_pool},
    {"GlobalMaxPool GlobalAveragePool AdaptiveMaxPool AdaptiveAveragePool", read_whole_pool},
    {"ReduceSum", read_reduction<ReduceKind::Sum>},
    {"ReduceMean", read_reduction<ReduceKind::Mean>},
    {"ReduceMax", read_reduction<ReduceKind::Max>},
    {"ReduceMin", read_reduction<ReduceKind::Min>},
    {"ReduceProd", read_reduction<ReduceKind::Product>},
    {"ReduceL1", read_reduction<ReduceKind::L1>},
    {"ReduceL2", read_reduction<ReduceKind::L2>},
    {"ReduceSumSquare", read_reduction<ReduceKind::SumOfSquares>},
    {"ReduceLogSum", read_reduction<ReduceKind::LogSum>},
    {"ReduceLogSumExp", read_reduction<ReduceKind::LogSumExp>},
    {"ReduceLp", read_norm},
    {"BatchNormalization", read_batch_norm},
    {"ChannelAffine", read_affine_channel},
    {"LRN", read_lrn},
    {"Softmax LogSoftmax", read_softmax},
    {"LayerNormalization RMSNormalization", read_trailing_norm},
    {"GroupNormalization InstanceNormalization", read_group_norm},
    {"CumSum", read_sums_so_far},
    {"Hardmax", read_hardmax},
    {"LpNormalization", read_norm_of_axis},
    {"ArgMax ArgMin", read_arg_max},
    {"TopK", read_top_k},
};

}  // namespace

OperatorRows layer_operators() { return {std::begin(kOperators), std::end(kOperators)}; }

}  // namespace lenet::native

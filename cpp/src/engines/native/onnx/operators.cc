#include "engines/native/onnx/operators.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>
#include <set>
#include <sstream>
#include <string_view>
#include <utility>

#include "engines/native/onnx/window.h"
#include "io/printable.h"
#include "model/check_graph.h"

namespace lenet::native {
namespace {
/// The image lies in memory with its padding around it.
void check_border(const OnnxStep& step, const TensorShape& image, const Window& window) {
  const std::int64_t border = *std::max_element(window.padding.begin(), window.padding.end());
  const double values = static_cast<double>(image.channels) *
                        static_cast<double>(image.height + 2 * border) *
                        static_cast<double>(image.width + 2 * border);
  step.check(values <= static_cast<double>(kMaxValuesPerImage), "its padding is absurdly large");
}

void read_conv(const OnnxStep& step, OnnxNetwork& network) {
  const OnnxImage& x = network.image(step);
  const TensorShape in = network.shape_of(x);
  const OnnxTensor& filter = network.constants().weights(step, 1, "filter");
  const Shape& shape = filter.shape;
  step.require(shape.size() == 4, "convolution but in two dimensions");
  step.check(*std::min_element(shape.begin(), shape.end()) > 0, "its filter is empty");
  const std::int64_t groups = step.integer("group", 1);
  step.check(groups >= 1 && groups <= shape[0] && shape[0] % groups == 0 &&
                 in.channels % groups == 0 && in.channels / groups == shape[1],
             "its groups and channels do not fit");
  step.check(step.integers("kernel_shape", {shape[2], shape[3]}) == Integers{shape[2], shape[3]},
             "its kernel_shape is not that of the filter");
  const OnnxWindow found = read_window(step, {shape[2], shape[3]}, in, false);
  const TensorShape out = {shape[0], found.outputs[0], found.outputs[1]};
  const double work = static_cast<double>(filter.floats.size()) * static_cast<double>(out.height) *
                      static_cast<double>(out.width);
  check_border(step, in, found.window);
  Layer& made = network.layer(step, LayerKind::Convolution, {x.tensor}, out,
                              {out.channels, out.height, out.width}, work);
  made.window = found.window;
  made.groups = groups;
  made.weights = filter.floats;
  made.bias.assign(static_cast<std::size_t>(shape[0]), 0);
  if (!step.has_input(2)) return;
  const OnnxTensor& bias = network.constants().weights(step, 2, "bias");
  step.check(bias.shape == Shape{shape[0]}, "its bias is not one number for each channel");
  made.bias = bias.floats;
}

void read_pool(const OnnxStep& step, OnnxNetwork& network) {
  const OnnxImage& x = network.image(step);
  const TensorShape in = network.shape_of(x);
  const bool max = step.node().type == "MaxPool";
  const Integers kernel = step.attribute("kernel_shape", OnnxAttribute::kIntegers).integers;
  step.require(kernel.size() == 2, "pool but in two dimensions");
  step.check(step.integer("storage_order", 0) == 0 || max, "it has a storage_order");
  const OnnxWindow found = read_window(step, {kernel[0], kernel[1]}, in, true);
  const bool of_window = step.flag("count_include_pad", false);
  const TensorShape out = {in.channels, found.outputs[0], found.outputs[1]};
  Layer& made =
      network.layer(step, LayerKind::Pool, {x.tensor}, out, {out.channels, out.height, out.width});
  made.window = found.window;
  made.pool = max ? PoolKind::Max : of_window ? PoolKind::AverageOfWindow : PoolKind::Average;
}

void pool_all(const OnnxStep& step, OnnxNetwork& network, PoolKind kind, bool keeps_sizes) {
  const OnnxImage& x = network.image(step);
  const std::int64_t channels = network.shape_of(x).channels;
  Layer& made = network.layer(step, LayerKind::Pool, {x.tensor}, {channels, 1, 1},
                              keeps_sizes ? Shape{channels, 1, 1} : Shape{channels});
  made.adaptive = true;
  made.pool = kind;
}
void read_global_average(const OnnxStep& step, OnnxNetwork& network) {
  pool_all(step, network, PoolKind::Average, true);
}
void read_global_max(const OnnxStep& step, OnnxNetwork& network) {
  pool_all(step, network, PoolKind::Max, true);
}

void read_mean(const OnnxStep& step, OnnxNetwork& network) {
  std::set<std::size_t> axes;
  const std::size_t rank = network.input(step).sizes.size() + 1;
  for (const std::int64_t axis : network.constants().axes(step, 18))
    axes.insert(step.axis(axis, rank));
  step.require(axes == std::set<std::size_t>{2, 3}, "mean but over height and width");
  pool_all(step, network, PoolKind::Average, step.flag("keepdims", true));
}

void read_relu(const OnnxStep& step, OnnxNetwork& network) {
  const OnnxImage& x = network.input(step);
  network.layer(step, LayerKind::Relu, {x.tensor}, network.shape_of(x), x.sizes);
}

void read_identity(const OnnxStep& step, OnnxNetwork& network) { network.same(step); }

/// Of an operator that is computed only where its inputs are constants.
void read_constant(const OnnxStep& step, OnnxNetwork&) {
  step.unsupported("kernel for this operator");
}

void read_clip(const OnnxStep& step, OnnxNetwork& network) {
  constexpr float kMost = std::numeric_limits<float>::max();
  const bool as_inputs = step.opset() >= 11;
  step.check(!(as_inputs ? step.has("min") || step.has("max") : step.has_input(1)),
             "its bounds have another place");
  const auto bound = [&](const char* name, std::size_t place, float otherwise) {
    if (!as_inputs) return step.number(name, otherwise);
    if (!step.has_input(place)) return otherwise;
    const std::vector<float>& values = network.constants().floats(step, place, name).floats;
    step.check(values.size() == 1, "a bound is not one number");
    return values[0];
  };
  const float least = bound("min", 1, -kMost);
  const float most = bound("max", 2, kMost);
  step.require(most >= kMost && (least == 0 || least <= -kMost), "kernel for such bounds");
  if (least == 0) return read_relu(step, network);
  network.same(step);
}

void read_batch_norm(const OnnxStep& step, OnnxNetwork& network) {
  step.require(!step.flag("training_mode", false), "training");
  step.require(step.flag("spatial", true), "normalization of each value");
  const OnnxImage& x = network.input(step);
  const std::int64_t channels = network.shape_of(x).channels;
  step.require(!x.sizes.empty() && x.sizes[0] == channels, "normalization of what was flattened");
  std::array<const std::vector<float>*, 4> parts{};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const OnnxTensor& part = network.constants().weights(step, i + 1, "statistic");
    step.check(part.shape == Shape{channels}, "its statistics do not fit the channels");
    parts[i] = &part.floats.vector();
  }
  const auto& [gain, bias, mean, variance] = parts;
  const double epsilon = step.number("epsilon", 1e-5F);
  Layer& made =
      network.layer(step, LayerKind::ChannelScale, {x.tensor}, network.shape_of(x), x.sizes);
  for (std::size_t c = 0; c < gain->size(); ++c) {
    const double spread = (*variance)[c] + epsilon;
    step.check(spread > 0, "a variance is not positive");
    const double scale = (*gain)[c] / std::sqrt(spread);
    made.scale.push_back(static_cast<float>(scale));
    made.bias.push_back(static_cast<float>((*bias)[c] - (*mean)[c] * scale));
  }
}

/// One number for each channel, of a constant that is combined with a tensor.
std::vector<float> channel_vector(const OnnxStep& step, const OnnxNetwork& network,
                                  const OnnxTensor& constant, const OnnxImage& x) {
  const auto channels = static_cast<std::size_t>(network.shape_of(x).channels);
  const std::size_t rank = x.sizes.size() + 1;
  step.require(constant.shape.size() <= rank, "kernel for a constant of more dimensions");
  if (constant.floats.size() == 1) return std::vector<float>(channels, constant.floats[0]);
  const std::size_t missing = rank - constant.shape.size();
  for (std::size_t i = 0; i < constant.shape.size(); ++i) {
    const bool of_channels = i + missing == 1;
    step.require(constant.shape[i] == (of_channels ? network.shape_of(x).channels : 1) &&
                     (!of_channels || x.sizes[0] == network.shape_of(x).channels),
                 "kernel for a constant but one number for each channel");
  }
  return constant.floats;
}

void read_add(const OnnxStep& step, OnnxNetwork& network) {
  for (const std::size_t i : {std::size_t{1}, std::size_t{0}}) {
    if (!network.constants().is_constant(step, i)) continue;
    const OnnxTensor& constant = network.constants().weights(step, i, "constant");
    const OnnxImage& x = network.input(step, 1 - i);
    const std::vector<float> bias = channel_vector(step, network, constant, x);
    Layer& made =
        network.layer(step, LayerKind::ChannelScale, {x.tensor}, network.shape_of(x), x.sizes);
    made.scale.assign(bias.size(), 1);
    made.bias = bias;
    return;
  }
  const OnnxImage& a = network.input(step, 0);
  const OnnxImage& b = network.input(step, 1);
  const TensorShape& one = network.shape_of(a);
  const TensorShape& other = network.shape_of(b);
  step.require(a.sizes == b.sizes && one.channels == other.channels && one.height == other.height &&
                   one.width == other.width,
               "sum of different shapes");
  network.layer(step, LayerKind::Add, {a.tensor, b.tensor}, one, a.sizes);
}

void read_mul(const OnnxStep& step, OnnxNetwork& network) {
  const std::size_t constant = network.constants().is_constant(step, 1) ? 1 : 0;
  const OnnxTensor& factor = network.constants().weights(step, constant, "factor");
  const OnnxImage& x = network.input(step, 1 - constant);
  const std::vector<float> scale = channel_vector(step, network, factor, x);
  Layer& made =
      network.layer(step, LayerKind::ChannelScale, {x.tensor}, network.shape_of(x), x.sizes);
  made.scale = scale;
  made.bias.assign(scale.size(), 0);
}

void read_concat(const OnnxStep& step, OnnxNetwork& network) {
  const Shape first = network.input(step).sizes;
  step.require(
      step.axis(step.attribute("axis", OnnxAttribute::kInteger).integer, first.size() + 1) == 1,
      "concat but of channels");
  std::vector<std::size_t> inputs;
  TensorShape shape = network.shape_of(network.input(step));
  shape.channels = 0;
  for (std::size_t i = 0; i < step.node().inputs.size(); ++i) {
    const OnnxImage& part = network.input(step, i);
    const TensorShape& of_part = network.shape_of(part);
    step.require(
        part.sizes == (first.size() == 1 ? Shape{of_part.channels}
                                         : Shape{of_part.channels, of_part.height, of_part.width}),
        "concat of what was flattened");
    step.check(of_part.height == shape.height && of_part.width == shape.width,
               "it joins images of different sizes");
    shape.channels += of_part.channels;
    inputs.push_back(part.tensor);
  }
  Shape sizes = first;
  sizes[0] = shape.channels;
  network.layer(step, LayerKind::Concat, inputs, shape, sizes);
}

void read_softmax(const OnnxStep& step, OnnxNetwork& network) {
  const OnnxImage& x = network.input(step);
  const bool all = step.opset() < 13;  // from the axis to the last
  const std::size_t axis = step.axis(step.integer("axis", all ? 1 : -1), x.sizes.size() + 1);
  step.require(axis == 1 && network.shape_of(x).values() == x.sizes[0] &&
                   network.shape_of(x).channels == x.sizes[0],
               "softmax but over the classes");
  network.layer(step, LayerKind::Softmax, {x.tensor}, network.shape_of(x), x.sizes);
}

/// \param weight of an input and an output
template <typename Weight>
Layer& linear(const OnnxStep& step, OnnxNetwork& network, const OnnxImage& x, std::size_t outputs,
              const Weight& weight) {
  const TensorShape in = network.shape_of(x);
  const auto inputs = static_cast<std::size_t>(in.values());
  const auto classes = static_cast<std::int64_t>(outputs);
  Layer& made = network.layer(step, LayerKind::Convolution, {x.tensor}, {classes, 1, 1}, {classes},
                              static_cast<double>(inputs * outputs));
  made.window.kernel = {in.height, in.width};  // what was flattened
  made.bias.assign(outputs, 0);
  made.weights.resize(inputs * outputs);
  for (std::size_t o = 0; o < outputs; ++o) {
    for (std::size_t i = 0; i < inputs; ++i) made.weights[o * inputs + i] = weight(i, o);
  }
  return made;
}

/// The matrix of the second input; its sizes after it was perhaps transposed.
const OnnxTensor& matrix(const OnnxStep& step, const OnnxNetwork& network, const OnnxImage& x,
                         bool transposed, std::size_t& outputs) {
  const OnnxTensor& found = network.constants().weights(step, 1, "second factor");
  step.require(found.shape.size() == 2, "product with what is no matrix");
  step.check(found.shape[transposed ? 1 : 0] == network.shape_of(x).values() &&
                 found.shape[transposed ? 0 : 1] > 0,
             "its matrix does not fit the vector");
  outputs = static_cast<std::size_t>(found.shape[transposed ? 0 : 1]);
  return found;
}

void read_matmul(const OnnxStep& step, OnnxNetwork& network) {
  const OnnxImage& x = network.flat(step);
  std::size_t outputs = 0;
  const std::vector<float>& weights = matrix(step, network, x, false, outputs).floats;
  linear(step, network, x, outputs,
         [&](std::size_t i, std::size_t o) { return weights[i * outputs + o]; });
}

void read_gemm(const OnnxStep& step, OnnxNetwork& network) {
  step.require(!step.flag("transA", false), "transposed product");
  const OnnxImage& x = network.flat(step);
  const bool transposed = step.flag("transB", false);
  const float alpha = step.number("alpha", 1);
  const float beta = step.number("beta", 1);
  step.check(std::isfinite(alpha) && std::isfinite(beta), "a factor is not finite");
  std::size_t outputs = 0;
  const std::vector<float>& weights = matrix(step, network, x, transposed, outputs).floats;
  const std::size_t inputs = weights.size() / outputs;
  Layer& made = linear(step, network, x, outputs, [&](std::size_t i, std::size_t o) {
    return alpha * weights[transposed ? o * inputs + i : i * outputs + o];
  });
  if (!step.has_input(2)) return;
  const OnnxTensor& bias = network.constants().weights(step, 2, "bias");
  const bool one = bias.floats.size() == 1;
  const auto classes = static_cast<std::int64_t>(outputs);
  step.require((one && bias.shape.size() <= 2) || bias.shape == Shape{classes} ||
                   bias.shape == Shape{1, classes},
               "kernel for a bias but one number for each class");
  for (std::size_t o = 0; o < outputs; ++o) made.bias[o] = beta * bias.floats[one ? 0 : o];
}

struct Rule {
  std::string_view type;
  std::size_t least_inputs;
  std::size_t most_inputs;
  std::string_view attributes;  ///< all that it may have
  void (*read)(const OnnxStep&, OnnxNetwork&);
};

/// \returns null for an operator that is not known.
const Rule* find_rule(std::string_view type) {
  constexpr std::size_t kAny = std::numeric_limits<std::size_t>::max();
  static const Rule kRules[] = {
      {"Add", 2, 2, "", read_add},
      {"AveragePool", 1, 1,
       "auto_pad ceil_mode count_include_pad dilations kernel_shape pads strides", read_pool},
      {"BatchNormalization", 5, 5, "epsilon momentum spatial training_mode", read_batch_norm},
      {"Cast", 1, 1, "saturate to", read_cast},
      {"Clip", 1, 3, "max min", read_clip},
      {"Concat", 1, kAny, "axis", read_concat},
      {"Constant", 0, 0, "value value_float value_floats value_int value_ints", read_constant},
      {"Conv", 2, 3, "auto_pad dilations group kernel_shape pads strides", read_conv},
      {"Dropout", 1, 3, "ratio seed", read_dropout},
      {"Flatten", 1, 1, "axis", read_flatten},
      {"Gather", 2, 2, "axis", read_constant},
      {"Gemm", 2, 3, "alpha beta transA transB", read_gemm},
      {"GlobalAveragePool", 1, 1, "", read_global_average},
      {"GlobalMaxPool", 1, 1, "", read_global_max},
      {"Identity", 1, 1, "", read_identity},
      {"MatMul", 2, 2, "", read_matmul},
      {"MaxPool", 1, 1, "auto_pad ceil_mode dilations kernel_shape pads storage_order strides",
       read_pool},
      {"Mul", 2, 2, "", read_mul},
      {"ReduceMean", 1, 2, "axes keepdims noop_with_empty_axes", read_mean},
      {"Relu", 1, 1, "", read_relu},
      {"Reshape", 2, 2, "allowzero", read_reshape},
      {"Shape", 1, 1, "end start", read_shape},
      {"Slice", 1, 5, "axes ends starts", read_constant},
      {"Softmax", 1, 1, "axis", read_softmax},
      {"Squeeze", 1, 2, "axes", read_squeeze},
      {"Unsqueeze", 1, 2, "axes", read_unsqueeze},
  };
  const auto* found = std::find_if(std::begin(kRules), std::end(kRules),
                                   [&](const Rule& rule) { return rule.type == type; });
  return found == std::end(kRules) ? nullptr : found;
}

}  // namespace

void read_onnx_operator(const OnnxStep& step, OnnxNetwork& network) {
  const OnnxNode& node = step.node();
  if (!node.domain.empty()) step.unsupported("operator of the domain " + printable(node.domain));
  const Rule* rule = find_rule(node.type);
  if (rule == nullptr) step.unsupported("kernel for this operator");
  for (const auto& [name, attribute] : node.attributes) {
    std::istringstream known{std::string(rule->attributes)};
    bool found = false;
    for (std::string word; known >> word;) found |= word == name;
    if (!found) step.unsupported("kernel for the attribute " + printable(name));
  }
  const std::size_t inputs = node.inputs.size();
  step.check(inputs >= rule->least_inputs && inputs <= rule->most_inputs,
             "the number of inputs is wrong");
  bool constant = true;
  for (std::size_t i = 0; i < inputs; ++i) {
    const std::string& name = node.inputs[i];
    step.check(i >= rule->least_inputs || !name.empty(), "an input is left out");
    if (name.empty() || network.constants().has(name)) continue;
    constant = false;
    if (!network.has(name)) {
      step.damaged("the input '" + printable(name) + "' is given by nothing before it");
    }
  }
  step.check(!node.outputs.empty() && !node.outputs[0].empty(), "it gives nothing");
  for (const std::string& name : node.outputs) {
    step.check(!network.constants().has(name) && !network.has(name), "its output is there already");
  }
  if (constant) return network.constants().compute(step);
  // A mask is not computed; whoever takes it is told that nothing gives it.
  const bool one_output = std::all_of(node.outputs.begin() + 1, node.outputs.end(),
                                      [](const auto& name) { return name.empty(); });
  step.require(one_output || node.type == "Dropout", "kernel that gives a second output");
  rule->read(step, network);
}

}  // namespace lenet::native

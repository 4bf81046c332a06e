// Rules of sums of products: convolutions, transposed ones, and products of matrices.

#include <algorithm>
#include <array>
#include <map>
#include <string>

#include "model/graph.h"
#include "model/rules/einsum.h"
#include "model/rules/rules.h"
#include "model/rules/windows.h"

namespace lenet {
namespace {

void infer_conv(OperatorView& op) {
  const Value& input = op.in("X");
  const Value& filter = op.in("Filter");
  const bool open = std::count(filter.shape.begin(), filter.shape.end(), kUnknown) > 0;
  op.supports(!open, "convolution whose filter is not constant");
  const auto [channel, image] = layout_of(op, input.shape);
  op.require(filter.shape.size() == 4, "the rank");
  op.require(input.dtype == filter.dtype, "the element type");
  for (const std::int64_t size : filter.shape) op.require(size > 0, "the filter is empty");
  const std::int64_t groups = groups_of(op, input.shape[channel]);
  op.require(filter.shape[0] % groups == 0 && fits(input.shape[channel], filter.shape[1] * groups),
             "groups and channels");
  const Integers kernel = {filter.shape[2], filter.shape[3]};
  op.require(op.integers("kernel_shape", kernel) == kernel, "kernel_shape");
  require_vector(op, "Bias", filter.shape[0]);
  const WindowPlan plan =
      plan_window(op, kernel, {input.shape[image], input.shape[image + 1]}, false);
  Shape shape = input.shape;
  shape[channel] = filter.shape[0];
  for (std::size_t i = 0; i < 2; ++i) shape[image + i] = plan.outputs[i];
  op.count_work(volume(shape) * volume(filter.shape) / static_cast<double>(filter.shape[0]));
  op.give_shape(shape);
}

void infer_conv_transpose(OperatorView& op) {
  const Value& input = op.in("X");
  const Value& filter = op.in("Filter");
  const auto [channel, image] = layout_of(op, input.shape);
  op.require(filter.shape.size() == 4, "the rank");
  op.require(input.dtype == filter.dtype, "the element type");
  for (const std::int64_t size : filter.shape) op.require(size > 0, "the filter is empty");
  const std::int64_t groups = groups_of(op, input.shape[channel]);
  op.require(fits(input.shape[channel], filter.shape[0]) && filter.shape[0] % groups == 0,
             "groups and channels");
  const Integers wanted = op.integers("output_size");
  op.require(wanted.empty() || wanted.size() == 2, "the number of sizes of the output");
  // With SAME or VALID Paddle works paddings out when it runs.
  if (op.text("auto_pad") != "EXPLICIT") op.not_fixed("paddings");
  const Integers strides = op.integers("strides");
  const Integers dilations = op.integers("dilations");
  const std::array<std::int64_t, 4> padding = explicit_padding(op);
  Integers extra = op.integers("output_padding");
  if (extra.empty()) extra = {0, 0};
  require_range(op, strides, 2, 1, kMaxStep, "strides");
  require_range(op, dilations, 2, 1, kMaxStep, "dilations");
  require_range(op, extra, 2, 0, kMaxStep, "output_padding");
  Shape shape = input.shape;
  shape[channel] = filter.shape[1] * groups;
  for (std::size_t i = 0; i < 2; ++i) {
    op.require(extra[i] == 0 || extra[i] < std::max(strides[i], dilations[i]), "output_padding");
    const std::int64_t extent = dilations[i] * (filter.shape[i + 2] - 1) + 1;
    const std::int64_t before = padding[2 * i];
    const std::int64_t after = padding[2 * i + 1];
    std::int64_t& size = shape[image + i];
    if (size == kUnknown) {
      if (!wanted.empty()) op.not_fixed("a size");
      // The size of the image comes later, and a small image may leave no output at all.
      const bool may_be_empty = before >= extent || after >= extent;
      if (may_be_empty) op.not_fixed("an output size, which may be below 1,");
      continue;
    }
    size = (size - 1) * strides[i] - before - after + extent + extra[i];
    op.require(size >= 1, "the size of the output");
    if (wanted.empty()) continue;
    op.require(wanted[i] >= size && wanted[i] < size + strides[i], "a size of the output");
    size = wanted[i];
  }
  op.count_work(volume(input.shape) * volume(filter.shape) / static_cast<double>(filter.shape[0]));
  op.give_shape(shape);
}

/// ONNX's Conv has any number of dimensions.
void infer_onnx_conv(OperatorView& op) {
  const Shape& x = op.in("X").shape;
  const Shape& filter = op.in("Filter").shape;
  const bool transposed = op.kind() == "ConvTranspose";
  op.require(x.size() >= 3 && filter.size() == x.size(), "the rank");
  if (!transposed && x.size() == 4) return infer_conv(op);
  const std::size_t axes = x.size() - 2;
  const std::int64_t groups = groups_of(op, x[1]);
  op.require(transposed ? fits(x[1], filter[0]) : fits(x[1], filter[1] * groups),
             "the numbers of channels");
  op.supports(op.text("auto_pad", "NOTSET") == "NOTSET" && !op.has_attribute("output_shape"),
              "kernel for such an auto_pad, or an output_shape");
  const Integers ones(axes, 1);
  const Integers strides = op.integers("strides", ones);
  const Integers dilations = op.integers("dilations", ones);
  const Integers extra = op.integers("output_padding", Integers(axes));
  const Integers pads = op.integers("pads", Integers(2 * axes));
  const Shape kernel(filter.begin() + 2, filter.end());
  op.require(op.integers("kernel_shape", kernel) == kernel, "the size of the kernel");
  require_range(op, strides, axes, 1, kMaxStep, "strides");
  require_range(op, dilations, axes, 1, kMaxStep, "dilations");
  require_range(op, extra, axes, 0, kMaxStep, "output_padding");
  require_range(op, pads, 2 * axes, 0, kMaxStep, "paddings");
  Shape shape = {x[0], transposed ? filter[1] * groups : filter[0]};
  require_vector(op, "Bias", shape[1]);
  for (std::size_t i = 0; i < axes; ++i) {
    const std::int64_t room = (kernel[i] - 1) * dilations[i] + 1 - pads[i] - pads[i + axes];
    const std::int64_t size = x[i + 2];
    if (!transposed && size != kUnknown && size < room) op.too_small(ErrorCode::BadModel);
    shape.push_back(size == kUnknown ? kUnknown
                    : transposed     ? (size - 1) * strides[i] + room + extra[i]
                                     : (size - room) / strides[i] + 1);
    op.require(size == kUnknown || shape.back() >= 1, "the size of the output");
  }
  op.count_work(transposed ? volume(x) * volume(filter) / volume({filter[0]})
                           : volume(shape) * volume(filter) / volume({filter[0]}));
  op.give_shape(shape);
}

/// The values of each window, one below the other.
void infer_unfold(OperatorView& op) {
  const Value& x = op.in("X");
  op.require(x.shape.size() == 4, "the rank");
  const Integers kernel = op.integers("kernel_sizes");
  const WindowPlan plan = plan_window(op, kernel, {x.shape[2], x.shape[3]}, false);
  const Shape windows(plan.outputs.begin(), plan.outputs.end());
  const Shape values = {x.shape[1], kernel[0], kernel[1]};
  op.give_shape({x.shape[0], product(values, 0, 3), product(windows, 0, 2)});
}

/// Images that are sums of windows, whose values lie one below the other.
void infer_fold(OperatorView& op) {
  const Shape& x = op.in("X").shape;
  const Integers sizes = op.integers("output_sizes");
  const Integers kernel = op.integers("kernel_sizes");
  op.require(sizes.size() == kernel.size(), "the number of sizes");
  op.supports(sizes.size() == 2, "kernel but for images in two dimensions");
  op.require(x.size() == 3, "the rank");
  require_range(op, sizes, 2, 1, kMaxValuesPerImage, "the sizes of the image");
  const WindowPlan plan = plan_window(op, kernel, {sizes[0], sizes[1]}, false);
  const std::int64_t places = kernel[0] * kernel[1];
  if (x[1] == kUnknown) op.not_fixed("a size");
  op.require(x[1] % places == 0 && fits(x[2], plan.outputs[0] * plan.outputs[1]),
             "the number of windows, or of their values");
  const Shape image = {x[0], x[1] / places, sizes[0], sizes[1]};
  op.count_work(volume(image) * static_cast<double>(places));
  op.give_shape(image);
}

void infer_matmul(OperatorView& op) {
  const Value& x = op.in("X");
  const Value& y = op.in("Y");
  op.require(x.dtype == y.dtype, "the element type");
  const std::size_t least = op.flag("vectors", false) ? 1 : 2;
  op.supports(op.kind() != "Gemm" || (x.shape.size() == 2 && y.shape.size() == 2),
              "kernel for such a rank");
  op.require(x.shape.size() >= least && y.shape.size() >= least, "the rank");
  const auto matrix = [&](Shape sizes, const char* transposed) {
    if (op.flag(transposed, false)) std::swap(*(sizes.end() - 1), *(sizes.end() - 2));
    return sizes;
  };
  Shape left = matrix(x.shape, "transA");
  Shape right = matrix(y.shape, "transB");
  // Of ONNX a vector is a matrix of one row before the product, of one column behind it.
  const bool row = left.size() == 1;
  const bool column = right.size() == 1;
  if (row) left.insert(left.begin(), 1);
  if (column) right.push_back(1);
  op.require(fits(left.back(), *(right.end() - 2)), "matrices that do not match");
  Shape shape =
      broadcast(op, Shape(left.begin(), left.end() - 2), Shape(right.begin(), right.end() - 2));
  if (!row) shape.push_back(*(left.end() - 2));
  if (!column) shape.push_back(right.back());
  op.count_work(volume(shape) * static_cast<double>(std::max(left.back(), *(right.end() - 2))));
  op.give_shape(shape);
}

/// The product of two matrices: of X's first axes and of those behind them, of Y's likewise.
void infer_mul(OperatorView& op) {
  const Value& x = op.in("X");
  const Value& y = op.in("Y");
  op.require(x.dtype == y.dtype, "the element type");
  const auto split = [&](const char* name, const Shape& shape) {
    const std::int64_t axes = op.integer(name);
    op.require(axes >= 1 && axes < static_cast<std::int64_t>(shape.size()), name);
    return static_cast<std::size_t>(axes);
  };
  const std::size_t rows = split("x_num_col_dims", x.shape);
  const std::size_t columns = split("y_num_col_dims", y.shape);
  const std::int64_t sums = product(x.shape, rows, x.shape.size());
  op.require(fits(sums, product(y.shape, 0, columns)), "matrices that do not match");
  Shape shape(x.shape.begin(), x.shape.begin() + static_cast<std::ptrdiff_t>(rows));
  shape.insert(shape.end(), y.shape.begin() + static_cast<std::ptrdiff_t>(columns), y.shape.end());
  op.count_work(volume(shape) * static_cast<double>(std::max<std::int64_t>(sums, 1)));
  op.give_shape(shape);
}

/// Products of values whose letters are alike, summed up over those that the result lacks.
void infer_einsum(OperatorView& op) {
  const Einsum einsum = read_equation(op);
  std::map<char, std::int64_t> sizes;
  for (std::size_t i = 0; i < einsum.terms.size(); ++i) {
    const Shape& shape = op.in("X", i).shape;
    for (std::size_t k = 0; k < shape.size(); ++k) {
      std::int64_t& known = sizes.emplace(einsum.terms[i].letters[k], shape[k]).first->second;
      op.require(fits(known, shape[k]) || known == 1 || shape[k] == 1, "shapes that do not match");
      known = std::max(known, shape[k]);
    }
  }
  Shape shape;
  double work = 1;
  for (const char letter : einsum.output->letters) shape.push_back(sizes[letter]);
  for (const auto& [letter, size] : sizes) work *= volume({size});
  op.count_work(work);
  op.give_shape(shape);
}

/// Letters that are not repeated in a term, and sizes that are alike: the rest was not tried.
void infer_paddle_einsum(OperatorView& op) {
  const Einsum einsum = read_equation(op);
  op.checks(einsum.terms.size() <= 2, "multiplies more than two tensors");
  std::map<char, std::int64_t> sizes;
  for (std::size_t i = 0; i < einsum.terms.size(); ++i) {
    const std::string& letters = einsum.terms[i].letters;
    const Shape& shape = op.in("X", i).shape;
    op.require(op.in("X", i).dtype == op.in("X").dtype, "the element type");
    for (std::size_t k = 0; k < shape.size(); ++k) {
      op.checks(letters.find(letters[k], k + 1) == std::string::npos,
                "names an axis of a tensor twice");
      const std::int64_t size = sizes.emplace(letters[k], shape[k]).first->second;
      op.checks(fits(size, shape[k]), "repeats an axis of one value");
    }
  }
  infer_einsum(op);
}

/// A matrix, and the product of two behind it.
void infer_addmm(OperatorView& op) {
  const Shape& x = op.in("X").shape;
  const Shape& y = op.in("Y").shape;
  op.require(x.size() == 2 && y.size() == 2 && fits(x[1], y[0]), "matrices that do not match");
  const Shape shape = {x[0], y[1]};
  op.checks(fits(op.in("Input").shape, shape), "adds a matrix of another shape");
  op.require(op.in("X").dtype == op.in("Y").dtype && op.in("X").dtype == op.in("Input").dtype,
             "the element type");
  op.give_shape(shape);
}

/// Recurrent operators take a sequence, [steps, images, values].
void infer_recurrent(OperatorView& op) {
  const Shape& x = op.in("X").shape;
  const Shape& weights = op.in("W").shape;
  const Shape& recurrent = op.in("R").shape;
  op.supports(!op.flag("layout", false), "kernel for such a layout");
  op.require(x.size() == 3 && weights.size() == 3 && recurrent.size() == 3, "the rank");
  op.require(fits(weights, {recurrent[0], recurrent[1], x[2]}), "the shape of W");
  const std::int64_t directions = recurrent[0];
  const std::int64_t hidden = recurrent[2];
  op.require(op.integer("hidden_size", hidden) == hidden, "hidden_size");
  op.count_work(volume(x) / std::max(1.0, static_cast<double>(x[2])) * volume(weights));
  op.give("Out", {x[0], directions, x[1], hidden}, op.in("X").dtype);
  for (const char* name : {"State", "Cell"}) {
    op.give(name, {directions, x[1], hidden}, op.in("X").dtype);
  }
}

/// Recurrent layers of Paddle: X is [steps, images, values]. Their weights come first, two for each
/// direction of each layer, and then the biases.
void infer_rnn(OperatorView& op) {
  const Value& x = op.in("X");
  const std::string mode = op.text("mode");
  op.require(has_word("LSTM GRU RNN_TANH RNN_RELU", mode), "mode");
  if (!op.flag("is_test")) op.unsupported("trains; " + std::string(kEvalRemedy));
  const std::int64_t gates = mode == "LSTM" ? 4 : mode == "GRU" ? 3 : 1;
  const std::int64_t directions = op.flag("is_bidirec") ? 2 : 1;
  const std::int64_t hidden = op.integer("hidden_size");
  const std::int64_t layers = op.integer("num_layers");
  require_range(op, {hidden, layers}, 2, 1, kMaxStep, "hidden_size or num_layers");
  op.require(x.shape.size() == 3 && fits(x.shape[2], op.integer("input_size")), "input_size");
  const auto blocks = static_cast<std::size_t>(layers * directions);
  op.require(op.count("WeightList") == 4 * blocks, "the number of weights");
  double work = 0;
  for (std::size_t i = 0; i < 2 * blocks; ++i) {
    const bool first = i < 2 * static_cast<std::size_t>(directions);
    const std::int64_t width = i % 2 == 1 ? hidden : first ? x.shape[2] : hidden * directions;
    const Value& weight = op.in("WeightList", i);
    const Value& bias = op.in("WeightList", 2 * blocks + i);
    op.require(weight.shape.size() == 2 && fits(weight.shape, {gates * hidden, width}) &&
                   bias.shape == Shape{gates * hidden},
               "the shape of a weight");
    op.require(weight.dtype == x.dtype && bias.dtype == x.dtype, "the element type");
    work += volume(weight.shape);
  }
  const Shape state = {layers * directions, x.shape[1], hidden};
  const std::size_t states = mode == "LSTM" ? 2 : 1;
  op.require(op.count("PreState") == states && op.outputs("State") == states, "the states");
  for (std::size_t i = 0; i < states; ++i) {
    const Value& before = op.in("PreState", i);
    op.require(before.shape.size() == 3 && fits(before.shape, state) && before.dtype == x.dtype,
               "the shape of a state");
    op.give("State", state, x.dtype, i);
  }
  op.count_work(volume({x.shape[0], x.shape[1]}) * work);
  op.give("Out", {x.shape[0], x.shape[1], hidden * directions}, x.dtype);
}

void infer_bmm(OperatorView& op) {
  const Shape& x = op.in("X").shape;
  const Shape& y = op.in("Y").shape;
  op.require(x.size() == 3 && y.size() == 3, "the rank");
  op.require(fits(x[0], y[0]), "matrices that do not match");  // one is not repeated for the others
  infer_matmul(op);
}

constexpr OperatorRule kRules[] = {
    // The attributes are stored as Paddle 3.1 to 3.3 store them: kernels and passes trust in that.
    {kPaddle, "conv2d depthwise_conv2d", "Conv", "Input>X Filter", "Output>Out",
     "strides:ints paddings>pads:ints padding_algorithm>auto_pad:str dilations:ints "
     "groups>group:int data_format:str +in_pairs",
     infer_conv},
    {kOnnx, "Conv", "", "X Filter Bias?", "Out",
     "auto_pad:str? dilations:longs? group:long? kernel_shape:longs? pads:longs? strides:longs?",
     infer_onnx_conv},
    {kOnnx, "ConvTranspose", "", "X Filter Bias?", "Out",
     "auto_pad:str? dilations:longs? group:long? kernel_shape:longs? output_padding:longs? "
     "output_shape:longs? pads:longs? strides:longs?",
     infer_onnx_conv},
    {kPaddle, "conv2d_transpose depthwise_conv2d_transpose", "ConvTranspose",
     "Input>X Filter Bias!/output_size", "Output>Out",
     "strides:ints paddings>pads:ints output_padding:ints=/output_padding:ints "
     "output_size:ints/ padding_algorithm>auto_pad:str dilations:ints groups>group:int "
     "data_format:str +in_pairs",
     infer_conv_transpose},
    {kPaddle, "matmul_v2/matmul", "MatMul", "X Y", "Out",
     "trans_x>transA:bool/transpose_x>transA:bool trans_y>transB:bool/transpose_y>transB:bool",
     infer_matmul},
    {kOnnx, "MatMul", "", "X Y", "Out", "+vectors", infer_matmul},
    {kOnnx, "Gemm", "", "X Y Bias?", "Out", "alpha:float? beta:float? transA:long? transB:long?",
     infer_matmul},
    {kOnnx, "Einsum", "", "X*", "Out", "equation:str", infer_einsum},
    {kOnnx, "LSTM", "", "X W R Bias? lengths? h? c? P?", "Out? State? Cell?",
     "clip:float? direction:str? hidden_size:long? input_forget:long? layout:long?",
     infer_recurrent},
    {kOnnx, "GRU", "", "X W R Bias? lengths? h?", "Out? State?",
     "clip:float? direction:str? hidden_size:long? layout:long? linear_before_reset:long?",
     infer_recurrent},
    {kPaddle, "rnn", "", "Input>X PreState* WeightList* SequenceLength! /DropoutState?",
     "Out DropoutState? State* Reserve?",
     "dropout_prob:float is_bidirec:bool input_size:int hidden_size:int num_layers:int mode:str "
     "seed:int is_test:bool",
     infer_rnn},
    {kPaddle, "einsum", "Einsum", "Operands>X*/X*", "Out InnerCache*? XShape*?", "equation:str",
     infer_paddle_einsum},
    {kPaddle, "addmm", "", "Input X Y", "Out", "Beta:float/beta:float Alpha:float/alpha:float",
     infer_addmm},
    {kPaddle, "unfold", "Unfold", "X", "Y>Out/Out",
     "kernel_sizes:ints strides:ints paddings>pads:ints dilations:ints", infer_unfold},
    {kPaddle, "fold", "Col2Im", "X", "Y>Out/Out",
     "output_sizes:ints kernel_sizes:ints strides:ints paddings>pads:ints dilations:ints",
     infer_fold},
    {kOnnx, "Col2Im", "", "X image_shape>output_sizes block_shape>kernel_sizes", "Out",
     "dilations:longs? pads:longs? strides:longs?", infer_fold},
    {kPaddle, "bmm", "MatMul", "X Y", "Out", "", infer_bmm},
    // ---- of Paddle 1
    {kDesc, "mul", "FlatMatMul", "X Y", "Out", "x_num_col_dims:int y_num_col_dims:int", infer_mul},
    {kDesc, "matmul", "MatMul", "X Y", "Out",
     "transpose_X>transA:bool transpose_Y>transB:bool alpha:float", infer_matmul},
};

}  // namespace

RuleRows convolution_rules() { return {std::begin(kRules), std::end(kRules)}; }

}  // namespace lenet

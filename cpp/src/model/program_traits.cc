#include "model/program_traits.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <sstream>

#include "io/printable.h"
#include "model/contents.h"

namespace lenet {
namespace {

constexpr int kInt8 = 21;

/// One operator of a graph that may not have been checked; a part that is missing equals nothing.
class View {
 public:
  View(const Graph& graph, const Operator& op) : graph_(graph), op_(op) {}

  /// An input that is one value; null when it is not.
  const Value* input(const char* name, std::size_t place = 0) const {
    if (graph_.dialect != Dialect::Pir) return one(op_.inputs.find(name), op_.inputs);
    return place < op_.inputs.size() ? one(op_.inputs.begin() + place, op_.inputs) : nullptr;
  }

  /// An output that is one value, of the format before PIR; null when it is not.
  const Value* output(const char* name) const { return one(op_.outputs.find(name), op_.outputs); }

  bool has_rank(const char* name, std::size_t rank) const {
    const Value* value = input(name);
    return value != nullptr && value->shape.size() == rank;
  }

  bool is(const char* name, int wanted) const {
    const auto* value = get<std::int64_t>(name);
    return value != nullptr && *value == wanted;
  }

  bool is(const char* name, std::string_view wanted) const {
    const auto* value = get<std::string>(name);
    return value != nullptr && *value == wanted;
  }

  bool is(const char* name, const Integers& wanted) const {
    const auto* values = get<Integers>(name);
    return values != nullptr && *values == wanted;
  }

  /// Of a float; NaN when it is none.
  double number(const char* name) const {
    const auto* value = get<double>(name);
    return value == nullptr ? std::numeric_limits<double>::quiet_NaN() : *value;
  }

  Integers integers(const char* name) const {
    const auto* values = get<Integers>(name);
    return values == nullptr ? Integers() : *values;
  }

  /// An attribute, or in PIR the input at that place, where the check has found it constant.
  Integers integers(const char* name, std::size_t place) const {
    const Value* value = graph_.dialect == Dialect::Pir ? input(name, place) : nullptr;
    const auto known = value == nullptr ? std::nullopt : known_list(*value);
    return known ? *known : integers(name);
  }

  AttributeType type(const char* name) const {
    const auto found = op_.attributes.find(name);
    return found == op_.attributes.end() ? AttributeType::Empty : found->second.type;
  }

  /// Such as "pool2d with ceil_mode=1".
  std::string with(const char* name) const {
    std::ostringstream text;
    text << printable(op_.type) << " with " << name << "=";
    if (const auto* one = get<std::int64_t>(name)) text << *one;
    if (const auto* string = get<std::string>(name)) text << printable(*string);
    if (const auto* many = get<Integers>(name)) text << to_string(*many);
    if (const auto* real = get<double>(name)) text << *real;
    return text.str();
  }

  std::string with_shape(const char* name, std::size_t place = 0) const {
    const Value* value = input(name, place);
    return printable(op_.type) + " with an input " + name +
           (value == nullptr ? " that is missing" : " of shape " + to_string(value->shape));
  }

  const std::string& op_type() const { return op_.type; }

 private:
  const Value* one(Arguments::const_iterator argument, const Arguments& arguments) const {
    if (argument == arguments.end() || argument->second.size() != 1) return nullptr;
    const std::size_t index = argument->second[0];  // of what feeds and fetches, none of a tensor
    return index < graph_.values.size() ? &graph_.values[index] : nullptr;
  }

  template <typename Type>
  const Type* get(const char* name) const {
    const auto found = op_.attributes.find(name);
    return found == op_.attributes.end() ? nullptr : std::get_if<Type>(&found->second.value);
  }

  const Graph& graph_;
  const Operator& op_;
};

// ---- OpenVINO: what was compared, and nothing else. These are the operators of the networks in
// lenet_cpp.models, with the attributes that they have there.

std::string refuse_convolution(const View& op) {
  if (!op.is("data_format", "NCHW")) return op.with("data_format");
  if (!op.is("padding_algorithm", "EXPLICIT")) return op.with("padding_algorithm");
  if (!op.is("groups", 1)) return op.with("groups");
  if (!op.is("dilations", Integers{1, 1})) return op.with("dilations");
  const Integers strides = op.integers("strides");
  if (strides.size() != 2 || strides[0] != strides[1]) return op.with("strides");
  const Value* filter = op.input("Filter");
  if (filter == nullptr || !filter->parameter || filter->shape.size() != 4 ||
      filter->shape[2] != filter->shape[3]) {
    return op.with_shape("Filter");
  }
  const Integers paddings = op.integers("paddings");
  // A 1x1 convolution with padding is wrong.
  if (paddings.size() != 2 || paddings[0] != paddings[1] || paddings[0] > filter->shape[2] / 2) {
    return op.with("paddings");
  }
  return "";
}

std::string refuse_pool(const View& op) {
  if (!op.is("data_format", "NCHW")) return op.with("data_format");
  if (!op.is("ceil_mode", 0)) return op.with("ceil_mode");
  if (!op.is("exclusive", 1)) return op.with("exclusive");
  if (!op.is("global_pooling", 0)) return op.with("global_pooling");
  const Integers size = op.integers("ksize");
  if (op.is("adaptive", 1)) {
    if (!op.is("pooling_type", "avg")) return op.with("pooling_type");
    return size == Integers{1, 1} ? "" : op.with("ksize");
  }
  if (size != Integers{2, 2} && size != Integers{3, 3}) return op.with("ksize");
  if (!op.is("strides", Integers{2, 2})) return op.with("strides");
  if (op.is("pooling_type", "avg")) {
    if (!op.is("padding_algorithm", "SAME")) return op.with("padding_algorithm");
    return size[0] == 2 ? "" : op.with("ksize");
  }
  if (!op.is("padding_algorithm", "EXPLICIT")) return op.with("padding_algorithm");
  const bool fits =
      op.is("paddings", Integers{0, 0}) || (size[0] == 3 && op.is("paddings", Integers{1, 1}));
  return fits ? "" : op.with("paddings");
}

std::string refuse_product(const View& op) {
  if (!op.is("trans_x", 0)) return op.with("trans_x");
  if (!op.is("trans_y", 0)) return op.with("trans_y");
  if (!op.has_rank("X", 2)) return op.with_shape("X");
  return op.has_rank("Y", 2) && op.input("Y")->parameter ? "" : op.with_shape("Y");
}

/// A bias for each channel or feature, or the sum of two branches.
std::string refuse_sum(const View& op) {
  if (!op.is("axis", -1)) return op.with("axis");
  const Value* x = op.input("X");
  const Value* y = op.input("Y");
  if (x == nullptr || (x->shape.size() != 2 && x->shape.size() != 4)) return op.with_shape("X");
  if (y == nullptr) return op.with_shape("Y");
  const Shape feature = {x->shape[1]};
  const Shape channel = {1, x->shape[1], 1, 1};
  const bool bias = x->shape.size() == 2 ? y->shape == feature : y->shape == channel;
  return bias || y->shape == x->shape ? "" : op.with_shape("Y");
}

std::string refuse_for_openvino(const View& op) {
  const std::string& type = op.op_type();
  if (type == "feed") {  // of vectors, some outputs are empty
    const Value* given = op.output("Out");
    if (given != nullptr && given->shape.size() == 4) return "";
    return "an input that is no image";
  }
  if (type == "fetch") return "";
  if (type == "conv2d") return refuse_convolution(op);
  if (type == "pool2d") return refuse_pool(op);
  if (type == "matmul_v2") return refuse_product(op);
  if (type == "elementwise_add") return refuse_sum(op);
  if (type == "relu") return op.has_rank("X", 2) || op.has_rank("X", 4) ? "" : op.with_shape("X");
  if (type == "batch_norm") {
    if (!op.is("data_layout", "NCHW")) return op.with("data_layout");
    return op.has_rank("X", 4) ? "" : op.with_shape("X");
  }
  if (type == "flatten_contiguous_range") {
    if (!op.is("start_axis", 1)) return op.with("start_axis");
    if (!op.is("stop_axis", 3) && !op.is("stop_axis", -1)) return op.with("stop_axis");
    return op.has_rank("X", 4) ? "" : op.with_shape("X");
  }
  if (type == "reshape2") {  // of a convolution's bias
    const Integers shape = op.integers("shape");
    if (!op.has_rank("X", 1) || !op.input("X")->parameter) return op.with_shape("X");
    const bool channel = shape.size() == 4 && shape[0] == 1 && shape[2] == 1 && shape[3] == 1;
    return channel ? "" : op.with("shape");
  }
  if (type == "softmax") {
    if (!op.is("axis", -1) && !op.is("axis", 1)) return op.with("axis");
    return op.has_rank("X", 2) ? "" : op.with_shape("X");
  }
  if (type == "dropout") {
    if (!op.has_rank("X", 2)) return op.with_shape("X");
    return op.is("is_test", 1) ? "" : op.with("is_test");
  }
  return printable(type);
}

// ---- oneDNN: what is known to be wrong, or to fail.

/// Whether sizes can be added up and multiplied, which is not known of a graph that was not
/// checked.
bool are_small(const Integers& sizes) {
  constexpr std::int64_t kSmall = std::int64_t{1} << 30;
  return std::all_of(sizes.begin(), sizes.end(),
                     [](std::int64_t size) { return size >= -kSmall && size <= kSmall; });
}

/// Mixes up memory where the only channel of an image is read in wider steps along its width than
/// along its height, but not in int8; and faults at times where it is padded by a whole window.
std::string refuse_convolution_for_onednn(const View& op) {
  const Value* filter = op.input("Filter", 1);
  const Integers strides = op.integers("strides");
  const Integers dilations = op.integers("dilations");
  const Integers paddings = op.integers("paddings");
  if (filter == nullptr || filter->shape.size() != 4 || !are_small(filter->shape)) {
    return op.with_shape("Filter", 1);
  }
  if (strides.size() != 2) return op.with("strides");
  if (dilations.size() != 2 || !are_small(dilations)) return op.with("dilations");
  if (paddings.size() != 2 && paddings.size() != 4) return op.with("paddings");
  if (op.is("groups", 1) && filter->parameter && filter->shape[1] == 1 && strides[1] > strides[0]) {
    return op.with("strides") + " and one channel";
  }
  if (!op.is("padding_algorithm", "EXPLICIT")) return "";
  for (std::size_t i = 0; i < paddings.size(); ++i) {
    const std::size_t side = paddings.size() == 4 ? i / 2 : i;
    const std::int64_t window = dilations[side] * (filter->shape[side + 2] - 1) + 1;
    if (paddings[i] >= window) return op.with("paddings") + ", as wide as the window";
  }
  return "";
}

/// Takes what is added to a convolution for a bias of its channels, or fails when it has another
/// number of values.
std::string refuse_sum_of_others(const View& op) {
  const Value* x = op.input("X", 0);
  const Value* y = op.input("Y", 1);
  if (x == nullptr || y == nullptr) return op.with_shape(x == nullptr ? "X" : "Y");
  if (x->shape.size() < y->shape.size()) std::swap(x, y);
  if (x->shape.size() != 4 || x->shape == y->shape) return "";
  Shape shape = y->shape;
  for (int axis = 1; axis < 4; ++axis) {
    if (op.is("axis", axis)) shape.resize(static_cast<std::size_t>(4 - axis), 1);
  }
  shape.insert(shape.begin(), 4 - shape.size(), 1);
  const std::int64_t channels = std::max(shape[1], x->shape[1]);
  const auto spreads = [](std::int64_t size, std::int64_t other) {
    return size == 1 && other != 1;
  };
  const bool x_spreads = spreads(x->shape[2], shape[2]) || spreads(x->shape[3], shape[3]);
  const Shape& smaller = x_spreads ? x->shape : shape;
  const bool of_channels = smaller[1] == channels && smaller[2] == 1 && smaller[3] == 1;
  return of_channels ? "" : op.with_shape("Y", 1);
}

/// Exchanges the two where the first must be repeated: of a quotient whenever it must, of others
/// when it has fewer dimensions.
std::string refuse_first_repeated(const View& op, bool quotient) {
  const Value* x = op.input("X", 0);
  const Value* y = op.input("Y", 1);
  if (x == nullptr || y == nullptr) return op.with_shape(x == nullptr ? "X" : "Y");
  bool repeated = x->shape.size() < y->shape.size();
  for (std::size_t i = 0; quotient && !repeated && i < y->shape.size(); ++i) {
    const std::size_t from_end = y->shape.size() - i;
    const std::int64_t size = x->shape[x->shape.size() - from_end];
    repeated = size == 1 && y->shape[i] != 1;
  }
  return repeated ? op.with_shape("X", 0) : "";
}

/// Counts the zeros around an image among the averaged values, but not as many of them as Paddle:
/// only where they are the same before and after, and no window is larger than the padded image.
std::string refuse_average(const View& op) {
  if (!op.is("pooling_type", "avg") || !op.is("exclusive", 0) || op.is("adaptive", 1) ||
      op.is("global_pooling", 1)) {
    return "";
  }
  const std::string also = ", exclusive=0";
  if (op.is("padding_algorithm", "SAME")) return op.with("padding_algorithm") + also;
  Integers paddings = op.integers("paddings");
  if (op.is("padding_algorithm", "VALID")) {
    paddings = {0, 0};
  } else if (op.is("ceil_mode", 1)) {
    return op.with("ceil_mode") + also;
  }
  if (paddings.size() == 4) {
    if (paddings[0] != paddings[1] || paddings[2] != paddings[3]) return op.with("paddings") + also;
    paddings = {paddings[0], paddings[2]};
  }
  const Integers kernel = op.integers("ksize", 1);
  const Value* image = op.input("X");
  const bool fits = image != nullptr && image->shape.size() == 4 && kernel.size() == 2 &&
                    paddings.size() == 2 && are_small(image->shape) && are_small(paddings) &&
                    image->shape[2] + 2 * paddings[0] >= kernel[0] &&
                    image->shape[3] + 2 * paddings[1] >= kernel[1];
  return fits ? "" : printable(op.op_type()) + " with a window larger than the image" + also;
}

/// Misreads a matrix whose dimensions are stored in another order: of images, of what was
/// transposed, and a transposed matrix of one column, where the order cannot be seen in the
/// strides.
std::string refuse_layout(const View& op, const std::array<const char*, 2>& transposed) {
  constexpr std::array<const char*, 2> kNames = {"X", "Y"};
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    const Value* value = op.input(kNames[i], i);
    if (value == nullptr || value->shape.size() < 2 || value->shape.size() > 3) {
      return op.with_shape(kNames[i], i);
    }
    if (op.is(transposed[i], 0)) continue;
    const Shape& shape = value->shape;
    // The terms of a sum: rows of a transposed X, columns of a transposed Y.
    const std::int64_t terms = i == 0 ? shape[shape.size() - 2] : shape.back();
    if (terms < 2) return op.with(transposed[i]) + " and one term in each sum";
  }
  return "";
}

/// Fails where the last window, which ceil_mode adds, begins behind the image.
std::string refuse_window_behind(const View& op) {
  if (!op.is("ceil_mode", 1) || op.is("adaptive", 1) || op.is("global_pooling", 1) ||
      !op.is("padding_algorithm", "EXPLICIT") || !op.has_rank("X", 4)) {
    return "";
  }
  const Shape& shape = op.input("X")->shape;
  const std::size_t image = op.is("data_format", "NHWC") ? 1 : 2;
  const Integers kernel = op.integers("ksize", 1);
  const Integers strides = op.integers("strides");
  const Integers paddings = op.integers("paddings");
  if (kernel.size() != 2 || strides.size() != 2 || strides[0] < 1 || strides[1] < 1 ||
      (paddings.size() != 2 && paddings.size() != 4)) {
    return "";
  }
  if (!are_small(shape) || !are_small(kernel) || !are_small(strides) || !are_small(paddings)) {
    return op.with("ceil_mode");
  }
  for (std::size_t i = 0; i < 2; ++i) {
    const std::int64_t size = shape[image + i];
    const std::int64_t before = paddings[paddings.size() == 4 ? 2 * i : i];
    const std::int64_t after = paddings[paddings.size() == 4 ? 2 * i + 1 : i];
    const std::int64_t steps = (size + before + after - kernel[i] + strides[i] - 1) / strides[i];
    if (size > 0 && steps * strides[i] - before >= size) return op.with("ceil_mode");
  }
  return "";
}

/// Takes another pixel for the nearest, but where each is repeated a whole number of times.
std::string refuse_nearest(const View& op) {
  const Value* x = op.input("X");
  const Value* out = op.output("Out");
  if (x == nullptr || out == nullptr || x->shape.size() != 4 || out->shape.size() != 4) {
    return op.with_shape("X");
  }
  for (std::size_t i = 2; i < 4; ++i) {
    const bool repeats = x->shape[i] > 0 && out->shape[i] > 0 && out->shape[i] % x->shape[i] == 0;
    if (!repeats) return printable(op.op_type()) + " to a size that is no multiple of the image's";
  }
  return "";
}

/// Whether an operator with a layout has its channels last.
bool has_channels_last(const View& op) {
  const std::string& type = op.op_type();
  bool has_layout = false;
  for (const char* kind : {"conv2d", "pool2d", "batch_norm", "group_norm", "prelu"}) {
    has_layout |= type.find(kind) != std::string::npos;
  }
  return has_layout && (op.is("data_format", "NHWC") || op.is("data_layout", "NHWC"));
}

std::string refuse_for_onednn(const View& op) {
  const std::string& type = op.op_type();
  // Mixes up the channels behind operators of the other layout, and behind none gives wrong shapes.
  if (has_channels_last(op)) return printable(type) + " of channels that come last (NHWC)";
  for (const char* name : {"conv2d", "depthwise_conv2d", "1.conv2d", "1.depthwise_conv2d"}) {
    if (type == name) return refuse_convolution_for_onednn(op);
  }
  if (type == "elementwise_add" || type == "1.add") return refuse_sum_of_others(op);
  for (const char* name : {"elementwise_div", "1.divide"}) {
    if (type == name) return refuse_first_repeated(op, true);
  }
  for (const char* name : {"elementwise_sub", "elementwise_mul", "1.subtract", "1.multiply"}) {
    if (type == name) return refuse_first_repeated(op, false);
  }
  if (type == "pool2d" || type == "1.pool2d") {
    const std::string refusal = refuse_average(op);
    return refusal.empty() ? refuse_window_behind(op) : refusal;
  }
  if (type == "matmul_v2") return refuse_layout(op, {"trans_x", "trans_y"});
  if (type == "1.matmul") return refuse_layout(op, {"transpose_x", "transpose_y"});
  // Leaves out one of the two where the other is missing.
  if (type == "layer_norm" || type == "1.layer_norm") {
    const bool scaled = op.input("Scale", 1) != nullptr;
    const bool biased = op.input("Bias", 2) != nullptr;
    return scaled == biased ? "" : type + " without " + (scaled ? "bias" : "scale");
  }
  // Leaves the threshold out, from which on Paddle takes the argument itself. From the default on
  // the two differ by 2e-9.
  if (type == "softplus" || type == "1.softplus") {
    constexpr double kDefaultThreshold = 20;
    return op.number("threshold") >= kDefaultThreshold ? "" : op.with("threshold");
  }
  // In PIR the scales are stored as doubles, of which the arguments of oneDNN's kernels know no
  // arrays.
  if (type == "1.bilinear_interp" || type == "1.nearest_interp") return type;
  if (type == "nearest_interp_v2") return refuse_nearest(op);
  return "";
}

/// Finds a second activation behind a fully connected layer: oneDNN puts it in the place of the
/// first. To be asked of each operator in the order of the program.
class StackedActivations {
 public:
  std::string refuse(const Operator& op, const View& view) {
    const Value* input = view.input("X");
    const bool vectors = input != nullptr && input->shape.size() != 4;
    if (vectors && (op.type == "elementwise_add" || op.type == "1.add")) note(op, sums_);
    if (!is_activation(op.type)) return "";
    const bool second = reads(op, activated_sums_);
    if (vectors && reads(op, sums_)) note(op, activated_sums_);
    return second ? printable(op.type) + " behind another activation" : "";
  }

 private:
  using Values = std::set<std::size_t>;

  static bool is_activation(const std::string& type) {
    static const std::set<std::string> kJoined = {
        "relu",       "relu6",     "sigmoid",      "tanh", "gelu",
        "swish",      "mish",      "leaky_relu",   "abs",  "clip",
        "hard_swish", "hardswish", "hard_sigmoid", "sqrt", "hardsigmoid"};
    return kJoined.count(type.compare(0, 2, "1.") == 0 ? type.substr(2) : type) > 0;
  }

  static bool reads(const Operator& op, const Values& values) {
    bool found = false;
    each_value(op.inputs, [&](std::size_t value) { found |= values.count(value) > 0; });
    return found;
  }

  static void note(const Operator& op, Values& values) {
    each_value(op.outputs, [&](std::size_t value) { values.insert(value); });
  }

  Values sums_;  ///< of vectors, as at the end of fully connected layers
  Values activated_sums_;
};

}  // namespace

ProgramTraits read_program_traits(const Graph& graph) {
  ProgramTraits traits;
  StackedActivations activations;
  std::set<const Value*> filters;
  for (const Operator& op : graph.operators) {
    const View view(graph, op);
    if (traits.openvino_refusal.empty()) traits.openvino_refusal = refuse_for_openvino(view);
    if (traits.onednn_refusal.empty()) traits.onednn_refusal = refuse_for_onednn(view);
    const std::string stacked = activations.refuse(op, view);
    if (traits.onednn_refusal.empty()) traits.onednn_refusal = stacked;
    const Value* filter = view.input("Filter", 1);
    const bool convolves = op.type.find("conv2d") != std::string::npos;
    traits.folding_is_wrong |=
        has_channels_last(view) || (convolves && !filters.insert(filter).second);
    traits.quantized |= op.type == "dequantize_linear" || op.type == "1.dequantize_linear";
    if (op.type == "dequantize_linear") {
      const Value* weights = view.input("X");
      traits.float_weights |=
          weights != nullptr && weights->parameter && weights->data_dtype != kInt8;
    }
    traits.activation_fusing_faults |=
        op.type == "1.leaky_relu" && view.type("negative_slope") == AttributeType::Double;
  }
  return traits;
}

}  // namespace lenet

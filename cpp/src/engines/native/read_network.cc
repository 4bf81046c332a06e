#include "engines/native/read_network.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <initializer_list>
#include <limits>
#include <map>
#include <utility>
#include <variant>

#include "engines/native/passes/passes.h"
#include "finite.h"
#include "io/printable.h"
#include "lenet/error.h"
#include "model/graph.h"
#include "model/rules/support.h"
#include "model/rules/windows.h"

namespace lenet::native {
namespace {

/// Reads one graph, operator by operator, of every dialect.
class NetworkReader {
 public:
  NetworkReader(const Graph& graph, const std::string& path, double file_bytes, bool check_finite)
      : graph_(graph), path_(path), layer_memory_(file_bytes), check_finite_(check_finite) {
    network_.file_bytes = file_bytes;
    output_names_.resize(graph.outputs.size());
    network_.tensors.resize(graph.values.size());
  }

  Network read() {
    const auto& operators = graph_.operators;
    quantized_ = std::any_of(operators.begin(), operators.end(), [](const Operator& op) {
      return op.type.find("quantize_linear") != std::string::npos ||
             op.type.find("QuantizeLinear") == 0;
    });
    const bool onnx = graph_.dialect == Dialect::Onnx;
    const std::vector<bool> needed = needed_operators(graph_);  // without what computes shapes
    if (onnx) {
      set_input(graph_.inputs[0], printable(graph_.values[graph_.inputs[0]].name));
    }
    for (std::size_t i = 0; i < operators.size(); ++i) {
      if (!needed[i] && plain_type(graph_, operators[i]) != "fetch") continue;
      const OperatorView view(graph_, i, path_);
      op_ = &operators[i];
      view_ = &view;
      const std::size_t before = network_.layers.size();
      read_operator();
      if (network_.layers.size() > before) layer_memory_.add(bytes_of(network_.layers.back()));
    }
    for (std::size_t i = 0; i < graph_.outputs.size(); ++i) {
      const std::string& name = graph_.values[graph_.outputs[i]].name;
      add_output(graph_.outputs[i], onnx ? printable(name) : output_names_[i]);
    }
    drop_identities(network_);
    if (quantized_ && !onnx) round_as_onednn(network_);
    return std::move(network_);
  }

 private:
  /// What dequantize_linear makes of int8 parameters.
  struct QuantizedWeights {
    const Value* integers = nullptr;
    /// One, or one a channel: the values that 127 stands for; of ONNX those that 1 stands for.
    std::vector<float> ranges;
    std::int64_t axis = -1;  ///< of the channels; -1: one for all
  };

  void read_operator() {
    using Reader = NetworkReader;
    struct Kind {
      std::string_view types;
      /// Of what combines two values, the layer that computes it; of what reduces axes, how.
      std::variant<void (Reader::*)(), LayerKind, ReduceKind> read;
    };
    static constexpr Kind kKinds[] = {
        {"feed data", &Reader::read_input},
        {"fetch", &Reader::read_output},
        // Constants that other operators take; the check has seen that they are.
        {"full full_int_array fill_constant", &Reader::read_nothing},
        {"conv2d depthwise_conv2d Conv", &Reader::read_convolution},
        {"pool2d MaxPool AveragePool GlobalMaxPool GlobalAveragePool", &Reader::read_pool},
        {"sum add_n Sum Mean Max Min", &Reader::read_several},
        {"reduce_sum ReduceSum", ReduceKind::Sum},
        {"reduce_mean mean ReduceMean", ReduceKind::Mean},
        {"reduce_max max reduce_amax amax ReduceMax", ReduceKind::Max},
        {"reduce_min min reduce_amin amin ReduceMin", ReduceKind::Min},
        {"reduce_prod prod ReduceProd", ReduceKind::Product},
        {"ReduceL1", ReduceKind::L1},
        {"ReduceL2", ReduceKind::L2},
        {"ReduceSumSquare", ReduceKind::SumOfSquares},
        {"ReduceLogSum", ReduceKind::LogSum},
        {"logsumexp ReduceLogSumExp", ReduceKind::LogSumExp},
        {"matmul_v2 matmul MatMul Gemm", &Reader::read_matmul},
        {"elementwise_add add Add", LayerKind::Add},
        {"elementwise_sub subtract Sub", LayerKind::Subtract},
        {"elementwise_mul multiply Mul", LayerKind::Multiply},
        {"elementwise_div divide Div", LayerKind::Divide},
        {"elementwise_max maximum", LayerKind::Maximum},
        {"elementwise_min minimum", LayerKind::Minimum},
        {"prelu PRelu", &Reader::read_prelu},
        {"batch_norm batch_norm_ BatchNormalization", &Reader::read_batch_norm},
        {"LRN", &Reader::read_lrn},
        {"softmax Softmax log_softmax LogSoftmax", &Reader::read_softmax},
        {"dropout Dropout", &Reader::read_dropout},
        {"scale", &Reader::read_scale},
        {"assign Identity Cast", &Reader::read_identity},
        {"quantize_linear", &Reader::read_quantize},
        {"dequantize_linear", &Reader::read_dequantize},
        {"QuantizeLinear", &Reader::read_quantize_onnx},
        {"DequantizeLinear", &Reader::read_dequantize_onnx},
        {"reshape2 reshape flatten_contiguous_range flatten squeeze2 squeeze Reshape Flatten "
         "Squeeze unsqueeze2 unsqueeze Unsqueeze",
         &Reader::read_reshape},
    };
    const std::string type = plain_type(graph_, *op_);
    for (const Kind& kind : kKinds) {
      if (!has_word(kind.types, type)) continue;
      if (const auto* layer = std::get_if<LayerKind>(&kind.read)) return read_combination(*layer);
      if (const auto* reduce = std::get_if<ReduceKind>(&kind.read)) return read_reduce(*reduce);
      return (this->**std::get_if<void (Reader::*)()>(&kind.read))();
    }
    if (const auto activation = read_activation(*view_, type)) return activate(*activation);
    if (moves_values(type)) return read_moved(type);
    view_->no_kernel("kernel for this operator");
  }

  // ---- values and layers

  void require(bool condition, const std::string& what) const {
    // The input of an .onnx, which the check has seen, is set before there is an operator.
    if (!condition) view_->supports(false, what);
  }
  /// \throws Error BadModel
  [[noreturn]] void refuse(const std::string& what) const {
    refuse_program(path_, "is damaged: " + plain_type(graph_, *op_) + " " + what);
  }

  std::size_t value(const std::string& name, std::size_t index = 0) const {
    return op_->inputs.at(name).at(index);
  }
  std::size_t given(const std::string& name = "Out", std::size_t index = 0) const {
    return op_->outputs.at(name).at(index);
  }
  const Shape& shape(const std::string& name, std::size_t index = 0) const {
    return graph_.values[value(name, index)].shape;
  }
  /// Null where an input has no contents that are read.
  const Value* constant(const std::string& name) const {
    const auto kept = kept_.find(value(name));
    const Value& found = kept == kept_.end() ? graph_.values[value(name)] : kept->second;
    return is_known(found) && count_values(found) > 0 ? &found : nullptr;
  }
  /// Gives an output the contents of the input X, a constant.
  void keep_contents(const std::string& output) {
    const Value& from = *constant("X");
    Value& to = kept_[given(output)];
    to = graph_.values[given(output)];
    to.data = from.data;
    to.data_dtype = from.data_dtype;
  }
  /// An input that is a constant, with as many numbers as its shape says.
  const Value& float_constant(const std::string& name) const {
    const Value* found = constant(name);
    require(found != nullptr && found->dtype == kFloat32 && found->data_dtype != kInt8,
            "operator whose " + name + " is no float32 constant");
    require(static_cast<std::int64_t>(count_values(*found)) ==
                product(found->shape, 0, found->shape.size()),
            "operator whose " + name + " has another number of values");
    if (check_finite_ && !all_finite(found->data, found->data_dtype)) {
      refuse("takes a " + name + " '" + found->name +
             "' that holds NaN or infinity; set check_finite to false to let it through");
    }
    return *found;
  }
  std::vector<float> floats(const std::string& name) const {
    return floats_of(float_constant(name));
  }
  std::size_t tensor(const std::string& name, std::size_t index = 0) const {
    const std::size_t found = value(name, index);
    require(is_computed(found), "operator on a value that is not computed from the image");
    return found;
  }
  bool is_computed(std::size_t value) const { return network_.tensors[value].channels > 0; }
  /// Whether an input is to the program what it is here.
  bool has_channels(const std::string& name, std::size_t index = 0) const {
    return shape_of(tensor(name, index)) == image_shape(shape(name, index));
  }
  /// An input in the shape that it has in the program, whatever it was before.
  std::size_t shaped(const std::string& name, std::size_t index = 0) {
    const std::size_t from = tensor(name, index);
    if (has_channels(name, index)) return from;
    require(!quantized_, "kernel for what was flattened in int8");
    const auto [found, is_new] = views_.emplace(value(name, index), network_.tensors.size());
    if (is_new) add_view(from, image_shape(shape(name, index)));
    return found->second;
  }
  /// A tensor in another shape.
  std::size_t add_view(std::size_t from, const TensorShape& to) {
    if (shape_of(from) == to) return from;
    return add_layer(LayerKind::View, from, to,
                     "view of what " + plain_type(graph_, *op_) + " takes or gives")
        .output;
  }
  /// Adds a layer that gives a tensor which the graph does not have.
  Layer& add_layer(LayerKind kind, std::size_t input, const TensorShape& shape, std::string name) {
    Layer& made = network_.layers.emplace_back();
    made.kind = kind;
    made.name = std::move(name);
    made.inputs = {input};
    made.output = network_.add_tensor(shape);
    return made;
  }
  /// The same, with the channels that it has in the program.
  std::size_t with_channels(const std::string& name) {
    const std::size_t found = tensor(name);
    const Shape& sizes = shape(name);
    return sizes.size() > 1 && shape_of(found).channels == sizes[1] ? found : shaped(name);
  }
  /// The same of an image in two dimensions.
  std::size_t image(const std::string& name) {
    require(shape(name).size() == 4, "kernel but for images in two dimensions");
    return shaped(name);
  }
  const TensorShape& shape_of(std::size_t tensor) const { return network_.tensors[tensor]; }
  /// The shape for one image of what the program declares.
  TensorShape image_shape(const Shape& shape) const {
    const std::size_t rank = shape.size();
    require(rank > 0 && (shape[0] == kUnknown || shape[0] == images()),
            "operator that mixes images");
    const bool known =
        std::all_of(shape.begin() + 1, shape.end(), [](auto size) { return size > 0; });
    require(known, "size that is not fixed");
    if (rank < 3) return {rank < 2 ? 1 : shape[1]};
    return {shape[1], product(shape, 2, rank - 1), shape[rank - 1]};
  }
  /// The number of images that the program is for; -1 for any.
  std::int64_t images() const { return network_.input_spec.shape[0]; }
  /// Adds a layer for what the operator gives.
  Layer& layer(LayerKind kind, std::vector<std::size_t> inputs, const std::string& output = "Out",
               std::size_t index = 0) {
    const Value& declared = graph_.values[given(output, index)];
    Layer& made = network_.layers.emplace_back();
    made.kind = kind;
    made.name = plain_type(graph_, *op_) + " '" + printable(declared.name) + "'";
    made.output = given(output, index);
    // What was flattened keeps its shape here.
    const bool reshapes = kind == LayerKind::Convolution || kind == LayerKind::Pool ||
                          kind == LayerKind::Copy || kind == LayerKind::Reduce;
    network_.tensors[made.output] = reshapes ? image_shape(declared.shape) : shape_of(inputs[0]);
    made.inputs = std::move(inputs);
    return made;
  }
  Layer& channel_scale(std::size_t input, std::vector<float> scale, std::vector<float> bias,
                       const std::string& output = "Out") {
    Layer& made = layer(LayerKind::ChannelScale, {input}, output);
    made.scale = std::move(scale);
    made.bias = std::move(bias);
    return made;
  }

  /// The same for all channels.
  void scale_alike(std::size_t input, float scale, float bias) {
    const auto channels = static_cast<std::size_t>(shape_of(input).channels);
    channel_scale(input, std::vector<float>(channels, scale), std::vector<float>(channels, bias));
  }

  // ---- operators

  void read_nothing() {}
  void activate(const Activation& activation) {
    if (activation.kind == ActivationKind::None) return read_identity();
    const bool from_zero =
        activation.kind == ActivationKind::Relu ||
        (activation.kind == ActivationKind::Clip && activation.alpha == 0 && activation.beta > 0);
    require(from_zero || !quantized_, "kernel for this operator in int8");
    layer(LayerKind::Activate, {tensor("X")}).activation = activation;
  }
  void read_identity() { layer(LayerKind::Identity, {tensor("X")}); }

  void set_input(std::size_t value, const std::string& name) {
    const Shape& shape = graph_.values[value].shape;
    network_.input = value;
    network_.input_spec = {name, shape, "float32"};
    network_.tensors[value] = image_shape(shape);
  }

  /// Of the outputs behind the first, those that it cannot give are left out.
  void add_output(std::size_t value, const std::string& name) {
    if (!is_computed(value)) {
      if (!network_.outputs.empty()) return;
      throw Error(ErrorCode::Unsupported, "'" + path_ + "' has an output '" + name +
                                              "' that is not computed from the image");
    }
    network_.outputs.push_back(value);
    network_.output_specs.push_back({name, graph_.values[value].shape, "float32"});
    network_.output_specs.back().shape.at(0) = network_.input_spec.shape[0];
  }

  void read_input() {
    const Value& declared = graph_.values[given()];
    require(!declared.shape.empty(), "input without images");
    require(declared.dtype == kFloat32, "input that is not float32");
    set_input(given(), graph_.dialect == Dialect::Pir ? view_->text("name") : declared.name);
  }

  void read_output() {
    const Value& declared = graph_.values[value("X")];
    require(!declared.shape.empty(), "output without images");
    output_names_[static_cast<std::size_t>(view_->integer("col"))] =
        graph_.dialect == Dialect::Pir ? view_->text("name") : declared.name;
  }

  void read_convolution() {
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
    give_weights(made, "Filter", 0);
  }

  void read_pool() {
    const bool onnx = view_->is_onnx();
    const std::string& type = op_->type;
    require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
    const std::size_t input = image("X");
    const bool max =
        onnx ? type.find("Max") != std::string::npos : view_->text("pooling_type") == "max";
    const bool whole = onnx ? !view_->has_attribute("kernel_shape")
                            : view_->flag("adaptive") || view_->flag("global_pooling");
    const bool of_window =
        onnx ? view_->flag("count_include_pad", false) : !view_->flag("exclusive");
    const TensorShape& from = shape_of(input);
    Window window;
    if (!whole) {
      window = plan_window(*view_, pool_kernel(*view_), {from.height, from.width}, true).window;
    }
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

  /// Of the axes that go, side by side at the end of each image, or a pool of all its pixels.
  void read_reduce(ReduceKind kind) {
    std::size_t input = tensor("X");
    const Shape& sizes = shape("X");
    image_shape(sizes);
    const Integers axes = view_->integers(view_->present({"dim", "axis", "axes"}), Integers());
    std::vector<bool> gone(sizes.size(), axes.empty() || view_->flag("reduce_all", false));
    for (const std::int64_t axis : axes) gone[view_->axis(axis, sizes.size())] = true;
    require(!gone[0], "operator that mixes images");
    require(!axes.empty() || !view_->flag("noop_with_empty_axes", false),
            "kernel for this operator without axes");
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

  /// A product of matrices: of each image's rows with the columns of a constant, or of a constant's
  /// rows with its columns.
  void read_matmul() {
    const auto is_set = [this](std::initializer_list<const char*> names) {
      return view_->flag(view_->present(names), false);
    };
    const bool x_transposed = is_set({"trans_x", "transpose_x", "transA"});
    const bool y_transposed = is_set({"trans_y", "transpose_y", "transB"});
    const bool first = !is_computed(value("X"));  // the constant
    const std::string constant_name = first ? "X" : "Y";
    const std::string computed_name = first ? "Y" : "X";
    const Value* found = weights(constant_name);
    require(found != nullptr, "product with what is not constant");
    Shape matrix = found->shape;
    const Shape& sizes = shape(computed_name);
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

  /// Those of Gemm, and its bias.
  void add_factors(Layer& made) const {
    const auto alpha = static_cast<float>(view_->number("alpha", 1));
    const auto beta = static_cast<float>(view_->number("beta", 1));
    if (!std::isfinite(alpha) || !std::isfinite(beta)) refuse("has a factor that is not finite");
    for (float& weight : made.weights) weight *= alpha;
    for (float& scale : made.weight_scales) scale *= alpha;
    if (alpha != 1 && made.stored.data != nullptr)
      made.weight_scales.resize(made.bias.size(), alpha);
    if (!view_->has("Bias")) return;
    const std::vector<float> bias = floats("Bias");
    const Shape& sizes = shape("Bias");
    const auto classes = static_cast<std::int64_t>(made.bias.size());
    const bool one = bias.size() == 1;
    require((one && sizes.size() <= 2) || sizes == Shape{classes} || sizes == Shape{1, classes},
            "kernel for a bias but one number for each class");
    for (std::size_t o = 0; o < made.bias.size(); ++o) made.bias[o] = beta * bias[one ? 0 : o];
  }

  /// What is combined with a constant, and the number for each of its channels.
  struct Operand {
    std::size_t tensor;
    std::vector<float> numbers;
  };
  /// \param name the constant: one number, one for each channel, such as [C, 1, 1], or any other
  ///   that is repeated along the values of an image, which then are channels
  /// \param whole the argument that it is repeated along
  Operand along(const std::string& name, const std::string& whole) {
    const Value& found = float_constant(name);
    const Shape& from = shape(whole);
    const Shape& to = graph_.values[given()].shape;
    Shape sizes = found.shape;
    const std::int64_t axis = view_->integer("axis", -1);
    if (axis >= 0) sizes.resize(from.size() - static_cast<std::size_t>(axis), 1);
    require(sizes.size() <= from.size(), "operator that mixes images");
    sizes.insert(sizes.begin(), from.size() - sizes.size(), 1);
    require(sizes[0] == 1, "operator that mixes images");
    const bool repeats = std::equal(from.begin() + 1, from.end(), to.begin() + 1, to.end());
    const auto other_than_1 = [](std::int64_t size) { return size != 1; };
    if (repeats && std::none_of(sizes.begin(), sizes.end(), other_than_1)) {
      const std::size_t input = tensor(whole);
      const auto channels = static_cast<std::size_t>(shape_of(input).channels);
      return {input, std::vector<float>(channels, floats(name)[0])};
    }
    if (repeats && sizes[1] == to[1] &&
        std::none_of(sizes.begin() + 2, sizes.end(), other_than_1)) {
      return {with_channels(whole), floats(name)};
    }
    require(!quantized_, "kernel for this operator in int8");
    for (std::size_t i = 1; i < sizes.size(); ++i) {
      require(sizes[i] == 1 || sizes[i] == to[i], "kernel for tensors of such different shapes");
    }
    const TensorShape values{image_shape(to).values()};
    layer_memory_.add(static_cast<double>(values.channels) * sizeof(float));
    Box box = repeated_box(sizes, to);
    std::vector<float> numbers(static_cast<std::size_t>(values.channels));
    const std::vector<float> given = floats(name);
    each_place(box, [&](std::int64_t one, std::int64_t place) {
      numbers[static_cast<std::size_t>(place)] = given[static_cast<std::size_t>(one)];
    });
    return {add_view(repeats ? tensor(whole) : repeated(whole), values), std::move(numbers)};
  }

  void read_combination(LayerKind kind) {
    require(kind == LayerKind::Add || !quantized_, "kernel for this operator in int8");
    for (const auto& [vector, whole] : {std::pair("Y", "X"), std::pair("X", "Y")}) {
      if (constant(vector) == nullptr || !is_computed(value(whole))) continue;
      return combine_with_constant(kind, vector, along(vector, whole));
    }
    std::size_t a = tensor("X");
    std::size_t b = tensor("Y");
    const bool same = same_shapes("Y", 0);
    const auto is_vector = [this](std::size_t found) {
      return shape_of(found).height * shape_of(found).width == 1;
    };
    const bool repeats =
        has_channels("X") && has_channels("Y") && shape("X").size() == shape("Y").size() &&
        shape_of(a).channels == shape_of(b).channels && (is_vector(a) || is_vector(b));
    if (!same && !repeats) {
      a = repeated("X");
      b = repeated("Y");
    }
    const TensorShape result = shape_of(is_vector(a) ? b : a);
    layer(kind, {a, b});
    network_.tensors[given()] = result;
  }

  /// An input in the shape of what the operator gives, along which it is repeated.
  std::size_t repeated(const std::string& name) {
    const std::size_t from = shaped(name);
    const TensorShape to = image_shape(graph_.values[given()].shape);
    if (shape_of(from) == to) return from;
    require(shape(name).size() == graph_.values[given()].shape.size(),
            "kernel for tensors of such different shapes");
    return add_copy(repeated_box(shape(name), graph_.values[given()].shape), from, to);
  }

  /// Whether X and another input have the same shape. Paddle would repeat one along the other, in
  /// shapes that are the same for one image.
  bool same_shapes(const std::string& name, std::size_t index) const {
    const Shape& one = shape("X");
    const Shape& other = shape(name, index);
    return std::equal(one.begin() + 1, one.end(), other.begin() + 1, other.end()) &&
           shape_of(tensor("X")) == shape_of(tensor(name, index));
  }

  /// \param vector the argument that is constant
  void combine_with_constant(LayerKind kind, const std::string& vector, Operand operand) {
    const bool first = vector == "X";
    auto& [from, numbers] = operand;
    const std::size_t channels = numbers.size();
    if (kind == LayerKind::Maximum || kind == LayerKind::Minimum) {
      const bool one = std::equal(numbers.begin() + 1, numbers.end(), numbers.begin());
      require(one, "kernel for bounds that are not the same of all channels");
      constexpr float kInfinity = std::numeric_limits<float>::infinity();
      const bool max = kind == LayerKind::Maximum;
      const float bound = numbers[0];
      layer(LayerKind::Activate, {from}).activation = {
          ActivationKind::Clip, max ? bound : -kInfinity, max ? kInfinity : bound};
      return;
    }
    if (kind == LayerKind::Divide && first) {
      Layer& made = layer(LayerKind::Activate, {from});
      made.activation.kind = ActivationKind::Reciprocal;
      made.output = network_.add_tensor(shape_of(from));
      from = made.output;
    } else if (kind == LayerKind::Divide) {
      for (float& number : numbers) number = 1 / number;
    }
    if (kind == LayerKind::Multiply || kind == LayerKind::Divide) {
      channel_scale(from, std::move(numbers), std::vector<float>(channels));
      return;
    }
    const bool subtracts = kind == LayerKind::Subtract;
    if (subtracts && !first) {
      for (float& number : numbers) number = -number;
    }
    std::vector<float> scale(channels, subtracts && first ? -1.0F : 1.0F);
    Layer& made = channel_scale(from, std::move(scale), std::move(numbers));
    if (subtracts) return;
    made.fuses_into_previous = graph_.values[value(vector)].parameter;
    if (const auto found = dequantized_.find(value(vector)); found != dequantized_.end()) {
      made.bias_range = found->second;
    }
  }

  /// One after the other.
  void read_several() {
    const std::string type = plain_type(graph_, *op_);
    if (op_->type == "1.sum")
      return read_reduce(ReduceKind::Sum);  // in PIR that of the values of one tensor
    const std::size_t count = view_->count("X");
    std::size_t result = tensor("X");
    for (std::size_t i = 1; i < count; ++i) {
      require(same_shapes("X", i), "kernel for tensors of such different shapes");
      Layer& made = layer(type == "Max"   ? LayerKind::Maximum
                          : type == "Min" ? LayerKind::Minimum
                                          : LayerKind::Add,
                          {result, tensor("X", i)});
      if (i + 1 < count || type == "Mean") made.output = network_.add_tensor(shape_of(result));
      result = made.output;
    }
    if (type != "Mean" && count > 1) return;
    scale_alike(result, 1 / static_cast<float>(count), 0);
  }

  void read_prelu() {
    require(!quantized_, "kernel for this operator in int8");
    Operand operand{};
    if (view_->is_onnx()) {
      require(constant("Alpha") != nullptr, "operator whose slopes are not constant");
      operand = along("Alpha", "X");
    } else {
      require(!channels_last(*view_, "data_format"), "kernel for data_format NHWC");
      const std::string mode = view_->text("mode");
      operand = {mode == "channel" ? with_channels("X") : tensor("X"), floats("Alpha")};
      if (mode == "element") {
        operand.tensor = add_view(operand.tensor, {shape_of(operand.tensor).values()});
      }
      const auto channels = static_cast<std::size_t>(shape_of(operand.tensor).channels);
      if (mode == "all") operand.numbers.resize(channels, operand.numbers[0]);
      require(operand.numbers.size() == channels, "kernel for so many slopes");
    }
    layer(LayerKind::PRelu, {operand.tensor}).scale = std::move(operand.numbers);
  }

  void read_batch_norm() {
    require(!channels_last(*view_, view_->present({"data_layout", "data_format"})),
            "kernel for data_format NHWC");
    const std::size_t input = with_channels("X");
    const double epsilon = view_->number("epsilon", static_cast<double>(1e-5F));
    const std::vector<float> mean = floats("Mean");
    const std::vector<float> variance = floats("Variance");
    const std::vector<float> gain = floats("Scale");
    const std::vector<float> bias = floats("Bias");
    const auto channels = static_cast<std::size_t>(shape_of(input).channels);
    for (const std::vector<float>* part : {&mean, &variance, &gain, &bias}) {
      require(part->size() == channels, "normalization of so many channels");
    }
    std::vector<float> scales;
    std::vector<float> biases;
    for (std::size_t c = 0; c < channels; ++c) {
      const double spread = variance[c] + epsilon;
      if (view_->is_onnx() && !(spread > 0)) refuse("has a variance that is not positive");
      require(spread > 0, "normalization by a variance that is not positive");
      const double scale = gain[c] / std::sqrt(spread);
      scales.push_back(static_cast<float>(scale));
      biases.push_back(static_cast<float>(bias[c] - mean[c] * scale));
    }
    channel_scale(input, std::move(scales), std::move(biases), "Y").fuses_into_previous = true;
  }

  /// x * (bias + alpha / size * the sum of the squares of `size` channels around it) ^ -beta: the
  /// sum is a convolution, the power a logarithm and its exponential function.
  void read_lrn() {
    const std::size_t input = with_channels("X");
    const TensorShape sizes = shape_of(input);
    const std::int64_t channels = sizes.channels;
    const std::int64_t size = view_->integer("size");
    layer_memory_.add(static_cast<double>(channels) * static_cast<double>(channels) *
                      sizeof(float));
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
    const double share = view_->number("alpha", 1e-4) / static_cast<double>(size);
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

  void read_softmax() {
    const Shape& sizes = shape("X");
    const std::size_t rank = sizes.size();
    image_shape(sizes);
    const std::size_t axis = view_->axis(softmax_axis(*view_), rank);
    require(axis > 0, "operator that mixes images");
    const std::int64_t inner = product(sizes, axis + 1, rank);
    const bool flattens = view_->is_onnx() && view_->opset() < 13;  // the axes behind it too
    Layer& made = layer(LayerKind::Softmax, {tensor("X")});
    made.axis = flattens ? Axis{sizes[axis] * inner, 1} : Axis{sizes[axis], inner};
    made.logarithm = plain_type(graph_, *op_).find_first_of("lL") == 0;
  }

  /// Operators that only move values: whole channels where they do.
  void read_moved(const std::string& type) {
    const char* const name = view_->present({"X", "Input"});
    const std::string output = view_->outputs("Y") > 0 ? "Y" : "Out";
    std::vector<std::size_t> inputs;
    for (std::size_t i = 0; i < view_->count(name); ++i) {
      image_shape(shape(name, i));
      inputs.push_back(tensor(name, i));
    }
    std::vector<std::vector<Box>> boxes = read_boxes(*view_, type);
    for (std::size_t i = 0; i < boxes.size(); ++i) move(std::move(boxes[i]), inputs, output, i);
  }

  void move(std::vector<Box> boxes, const std::vector<std::size_t>& inputs,
            const std::string& output, std::size_t index) {
    const TensorShape to = image_shape(graph_.values[given(output, index)].shape);
    const TensorShape from = shape_of(inputs[0]);
    bool same_pixels = true;
    bool joins = boxes.size() == inputs.size();  // all of one input after the other
    std::int64_t end = 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const TensorShape& input = shape_of(inputs[i]);
      same_pixels &= input.height == from.height && input.width == from.width;
      joins &= boxes[i].is_run(i, end, input.values());
      end += input.values();
    }
    same_pixels &= to.values() % from.pixels() == 0;
    LayerKind kind = LayerKind::Copy;
    const std::int64_t channels = to.values() / from.pixels();
    std::vector<ChannelSource> sources;
    if (same_pixels && joins) {
      kind = inputs.size() == 1 ? LayerKind::Identity : LayerKind::Concat;
    } else if (same_pixels) {
      sources = channel_sources(boxes, from.pixels(), channels);
      if (!sources.empty()) kind = LayerKind::Channels;
    }
    require(!quantized_ || joins, "kernel for this operator in int8");
    Layer& made = layer(kind, inputs, output, index);
    made.channels = std::move(sources);
    if (kind == LayerKind::Copy) {
      made.boxes = std::move(boxes);
      made.fill = static_cast<float>(view_->number(view_->present({"value", "pad_value"}), 0));
      require(std::isfinite(made.fill), "kernel for such a value");
    } else {
      network_.tensors[made.output] = {channels, from.height, from.width};
    }
  }

  /// A tensor with its values in another order, which may be the same.
  std::size_t arranged(Box box, std::size_t input, const TensorShape& shape) {
    const bool stays = box.is_run(0, 0, shape_of(input).values());
    return stays ? add_view(input, shape) : add_copy(std::move(box), input, shape);
  }

  /// A copy of a tensor, its values in another order.
  std::size_t add_copy(Box box, std::size_t input, const TensorShape& shape) {
    Layer& made = add_layer(
        LayerKind::Copy, input, shape,
        plain_type(graph_, *op_) + " '" + printable(graph_.values[given()].name) + "', moved");
    made.boxes = {std::move(box)};
    return made.output;
  }

  void scale_all(double scale, double bias) {
    if (scale == 1 && bias == 0) return read_identity();
    require(std::isfinite(scale) && std::isfinite(bias), "scale that is not finite");
    scale_alike(tensor("X"), static_cast<float>(scale), static_cast<float>(bias));
  }

  void read_dropout() {
    if (view_->is_onnx()) return read_identity();
    const bool upscaled =
        view_->text(view_->present({"dropout_implementation", "mode"})) == "upscale_in_train";
    const double dropped = view_->number(view_->present({"dropout_prob", "p"}));
    scale_all(upscaled ? 1 : 1 - dropped, 0);
  }

  void read_scale() {
    const double scale = view_->number("scale");
    const double bias = view_->number("bias");
    scale_all(scale, view_->flag("bias_after_scale") ? bias : bias * scale);
  }

  /// The layers after it see the whole image as what is flattened: only the shape in the program is
  /// another.
  void read_reshape() {
    const Shape& sizes = graph_.values[given()].shape;
    if (const Value* found = constant("X"); found != nullptr) {  // a bias, before it is added
      require(product(sizes, 0, sizes.size()) == static_cast<std::int64_t>(count_values(*found)),
              "change of a parameter's shape to another number of values");
      return keep_contents("Out");
    }
    const std::size_t input = tensor("X");
    const std::int64_t values = shape_of(input).values();
    const std::int64_t images = network_.input_spec.shape[0];
    require(!sizes.empty() && (sizes[0] == images || sizes[0] == kUnknown) &&
                product(sizes, 1, sizes.size()) == values,
            "change of shape but of each image");
    const bool flat = sizes.size() == 2 && op_->type.find("reshape") == std::string::npos;
    layer(quantized_ && flat && !view_->is_onnx() ? LayerKind::Flatten : LayerKind::Identity,
          {input});
  }

  // ---- quantization

  /// The ranges of this operator. \param zero whether channels of zeros may have none
  std::vector<float> ranges(bool zero) const {
    const std::vector<float> found = floats("Scale");
    const bool sound = std::all_of(found.begin(), found.end(), [zero](float range) {
      return std::isfinite(range) && (zero ? range >= 0 : std::isnormal(range) && range > 0);
    });
    if (!sound) {
      refuse_program(path_, printable(op_->type) + " '" + graph_.values[given("Y")].name +
                                "' has a scale that is no positive number");
    }
    const Value* zeros = constant("ZeroPoint");
    bool symmetric = zeros != nullptr;
    for (std::size_t i = 0; symmetric && i < count_values(*zeros); ++i) {
      symmetric = number_at(*zeros, i) == 0;
    }
    require(symmetric, "quantization with another zero point than 0");
    require(view_->integer("round_type", 0) == 0 && view_->integer("qmin", -128) == -128 &&
                view_->integer("qmax", 127) == 127,
            "quantization but to the nearest of -128 to 127");
    return found;
  }

  // Operators that only observe count as well: Paddle's int8 does not look at that attribute.
  void read_quantize() {
    const float range = ranges(view_->flag("only_observer", false))[0];
    whole_[given("Y")] = range;
    if (constant("X") != nullptr) return keep_contents("Y");  // such as a bias
    Layer& made = layer(LayerKind::Identity, {tensor("X")}, "Y");
    if (std::isnormal(range)) made.quant.range = range;
  }

  void read_dequantize() {
    if (const auto found = whole_.find(value("X")); found != whole_.end()) {
      require(ranges(true)[0] == found->second,
              "dequantization by another scale than it was quantized by");
      dequantized_[given("Y")] = found->second;
      if (constant("X") != nullptr) return keep_contents("Y");
      layer(LayerKind::Identity, {tensor("X")}, "Y");
      return;
    }
    const Value* weights = constant("X");
    require(weights != nullptr, "dequantization of what was not quantized");
    require(weights->data_dtype == kInt8, "dequantization of weights that are no int8");
    const QuantizedWeights& made =
        weights_[given("Y")] = {weights, ranges(true), view_->integer("quant_axis")};
    layer_memory_.add(static_cast<double>(made.ranges.size() * sizeof(float)));
  }

  /// The one scale of an operator of ONNX, and where its integers have 0.
  QuantParams quant_onnx() const {
    const std::vector<float> scale = floats("Scale");
    const Value* const zero = view_->has("ZeroPoint") ? constant("ZeroPoint") : nullptr;
    require(scale.size() == 1 && (zero != nullptr || !view_->has("ZeroPoint")),
            "kernel for scales but one number");
    if (!std::isnormal(scale[0]) || scale[0] < 0) refuse("has a scale that is no positive number");
    QuantParams quant{scale[0], 1, 0};  // the integer 1 stands for the scale
    if (zero != nullptr) {
      quant.zero_point = static_cast<std::int32_t>(number_at(*zero, 0));
      if (zero->data_dtype == kInt8) quant.zero_point += 128;
    }
    return quant;
  }

  void read_quantize_onnx() {
    const QuantParams quant = quant_onnx();
    layer(LayerKind::Quantize, {tensor("X")}, "Y").quant = quant;
    quants_[given("Y")] = quant;
  }

  void read_dequantize_onnx() {
    if (const auto found = quants_.find(value("X")); found != quants_.end()) {
      require(quant_onnx() == found->second,
              "dequantization by another scale than it was quantized by");
      layer(LayerKind::Identity, {tensor("X")}, "Y");
      return;
    }
    const Value* const integers = constant("X");
    require(integers != nullptr, "dequantization of what was not quantized");
    const std::vector<float> scales = floats("Scale");
    const bool sound = std::all_of(scales.begin(), scales.end(),
                                   [](float scale) { return std::isfinite(scale) && scale >= 0; });
    if (!sound) refuse("has a scale that is no positive number");
    const Value* const zeros = view_->has("ZeroPoint") ? constant("ZeroPoint") : nullptr;
    for (std::size_t i = 0; zeros != nullptr && i < count_values(*zeros); ++i) {
      require(number_at(*zeros, i) == 0, "weights with another zero point than 0");
    }
    const std::size_t rank = integers->shape.size();
    const std::size_t axis = rank == 0 ? 0 : view_->axis(view_->integer("axis", 1), rank);
    const std::size_t count = count_values(*integers);
    layer_memory_.add(static_cast<double>((scales.size() + count) * sizeof(float)));
    if (integers->data_dtype == kInt8) {
      weights_[given("Y")] = {integers, scales, static_cast<std::int64_t>(axis)};
      return;
    }
    // A bias, or another list of numbers.
    const std::size_t inner =
        static_cast<std::size_t>(product(integers->shape, std::min(axis + 1, rank), rank));
    std::string& numbers = dequantized_numbers_.emplace_back(count * sizeof(float), '\0');
    for (std::size_t i = 0; i < count; ++i) {
      const double scale = double{scales[i / inner % scales.size()]};
      const auto number = static_cast<float>(number_at(*integers, i) * scale);
      std::memcpy(&numbers[i * sizeof(float)], &number, sizeof(number));
    }
    Value& made = kept_[given("Y")] = graph_.values[given("Y")];
    made.data = numbers;
    made.data_dtype = kFloat32;
  }

  /// The constant or the integers that an operator takes for weights; null where it is neither.
  const Value* weights(const std::string& name) const {
    const auto quantized = weights_.find(value(name));
    if (quantized != weights_.end()) return quantized->second.integers;
    const Value* found = constant(name);
    return found == nullptr || found->data_dtype == kInt8 ? nullptr : found;
  }
  /// \param axis of the output channels: 1 of a matrix [inputs][outputs], which is transposed
  void give_weights(Layer& made, const std::string& name, std::size_t axis) const {
    const std::size_t outputs = made.bias.size();
    const auto outputs_first = [&](auto numbers) {
      if (axis == 0) return numbers;
      const std::size_t inputs = numbers.size() / outputs;
      decltype(numbers) turned(numbers.size());
      for (std::size_t o = 0; o < outputs; ++o) {
        for (std::size_t i = 0; i < inputs; ++i) turned[o * inputs + i] = numbers[i * outputs + o];
      }
      return turned;
    };
    const auto found = weights_.find(value(name));
    if (found == weights_.end()) {
      const Value& stored = float_constant(name);
      const std::size_t count = count_values(stored);
      if (quantized_ || stored.data_dtype != kFloat32) {  // to be rounded as Paddle does; in a list
        made.weights = outputs_first(floats_of(stored));
      } else {
        made.stored = {stored.data.data(), count, axis == 0 ? count / outputs : 1,
                       axis == 0 ? 1 : outputs};
      }
      return;
    }
    const auto& [integers, ranges, ranges_axis] = found->second;
    const bool single = ranges.size() == 1;
    require(single || ranges_axis == static_cast<std::int64_t>(axis),
            "scales but one for each output channel");
    made.integers =
        outputs_first(std::vector<std::int8_t>(integers->data.begin(), integers->data.end()));
    made.weight_scales = single ? std::vector<float>(outputs, ranges[0]) : ranges;
  }

  const Graph& graph_;
  const std::string& path_;
  Network network_;
  LayerMemory layer_memory_;
  bool check_finite_;
  const Operator* op_ = nullptr;
  const OperatorView* view_ = nullptr;
  std::map<std::size_t, Value> kept_;                ///< values with contents of another
  std::map<std::size_t, std::size_t> views_;         ///< tensors of values in their own shape
  std::map<std::size_t, QuantizedWeights> weights_;  ///< by the value they become
  bool quantized_ = false;                           ///< the program quantizes something
  std::map<std::size_t, QuantParams> quants_;        ///< of ONNX, by what quantization gives
  std::deque<std::string> dequantized_numbers_;      ///< of constants, as float32
  std::map<std::size_t, float> whole_;        ///< ranges by the value that quantization gives
  std::vector<std::string> output_names_;     ///< of Paddle's
  std::map<std::size_t, float> dequantized_;  ///< the same, by what it becomes again
};

}  // namespace

Network read_network(const Graph& graph, const std::string& path, double file_bytes,
                     bool check_finite) {
  return NetworkReader(graph, path, file_bytes, check_finite).read();
}

Network load_network(const Model& model, bool check_finite) {
  if (model.refusal) throw *model.refusal;
  // A Paddle model's parameters have been looked at.
  const bool check_weights = check_finite && model.format == ModelFormat::Onnx;
  Network network =
      read_network(model.graph, model.path, static_cast<double>(model.file_bytes), check_weights);
  simplify(network);
  return network;
}

}  // namespace lenet::native

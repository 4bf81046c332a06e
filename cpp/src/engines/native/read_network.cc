#include "engines/native/read_network.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "engines/native/network_reader.h"
#include "engines/native/passes/passes.h"
#include "finite.h"
#include "lenet/error.h"

namespace lenet::native {

Network NetworkReader::read() {
  const auto& operators = graph_.operators;
  quantized_ = std::any_of(operators.begin(), operators.end(), [](const Operator& op) {
    return op.type.find("quantize_linear") != std::string::npos ||
           op.type.find("QuantizeLinear") == 0;
  });
  const bool onnx = graph_.dialect == Dialect::Onnx;
  const std::vector<bool> needed = needed_operators(graph_);  // without what computes shapes
  if (graph_.mixes_images != kNone) {
    OperatorView(graph_, graph_.mixes_images, path_).no_kernel("operator that mixes images");
  }
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
    each_value(op_->outputs, [&](std::size_t output) {
      if (is_computed(output)) require_images(graph_.values[output].shape);
    });
    if (network_.layers.size() > before) layer_memory_.add(bytes_of(network_.layers.back()));
  }
  for (std::size_t i = 0; i < graph_.outputs.size(); ++i) {
    const std::string& name = graph_.values[graph_.outputs[i]].name;
    add_output(graph_.outputs[i], onnx ? printable(name) : output_names_[i]);
  }
  split_wide_weights();
  drop_identities(network_);
  if (quantized_ && !onnx) round_as_onednn(network_);
  return std::move(network_);
}

void NetworkReader::read_operator() {
  const std::string type = plain_type(graph_, *op_);
  // Of other types there is what moves values, until they become float32.
  const bool any = type == "Cast" || type == "DequantizeLinear" || moves_only(type);
  each_value(op_->inputs, [&](std::size_t input) {
    const bool moved = any || quant_of(input) || !is_computed(input);
    require(moved || graph_.values[input].dtype == kFloat32,
            "kernel for another type than float32");
  });
  read_kind(type);
  keep_quants(type);
}

void NetworkReader::keep_quants(const std::string& type) {
  std::optional<QuantParams> quant;  // of the first input that is computed
  bool alike = true;                 // as those of the others
  each_value(op_->inputs, [&](std::size_t input) {
    if (!is_computed(input)) return;
    if (!quant) quant = quant_of(input);
    alike &= quant_of(input) == *quant;
  });
  const bool integers = quant && (*quant || !alike);
  if (!integers || type == "DequantizeLinear") return;
  const bool moves = type == "MaxPool" || moves_only(type);
  require(moves && alike, "kernel for this operator on integers");
  each_value(op_->outputs, [&](std::size_t output) { quants_[output] = *quant; });
}

void NetworkReader::read_kind(const std::string& type) {
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
      {"matmul_v2 matmul mul MatMul Gemm", &Reader::read_matmul},
      {"elementwise_add add Add", LayerKind::Add},
      {"elementwise_sub subtract Sub", LayerKind::Subtract},
      {"elementwise_mul multiply Mul", LayerKind::Multiply},
      {"elementwise_div divide Div", LayerKind::Divide},
      {"elementwise_max maximum", LayerKind::Maximum},
      {"elementwise_min minimum", LayerKind::Minimum},
      {"prelu PRelu", &Reader::read_prelu},
      {"batch_norm batch_norm_ BatchNormalization", &Reader::read_batch_norm},
      {"affine_channel", &Reader::read_affine_channel},
      {"LRN lrn", &Reader::read_lrn},
      {"softmax Softmax log_softmax LogSoftmax", &Reader::read_softmax},
      {"dropout Dropout", &Reader::read_dropout},
      {"scale", &Reader::read_scale},
      {"assign Identity Cast", &Reader::read_identity},
      {"Neg", &Reader::read_negation},
      {"pow Pow square rsqrt", &Reader::read_power},
      {"quantize_linear", &Reader::read_quantize},
      {"dequantize_linear", &Reader::read_dequantize},
      {"QuantizeLinear", &Reader::read_quantize_onnx},
      {"DequantizeLinear", &Reader::read_dequantize_onnx},
      {"reshape2 reshape flatten_contiguous_range flatten flatten2 squeeze2 squeeze Reshape "
       "Flatten "
       "Squeeze unsqueeze2 unsqueeze Unsqueeze",
       &Reader::read_reshape},
  };
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

const Value* NetworkReader::constant(const std::string& name, std::size_t index) {
  const std::size_t at = value(name, index);
  const auto quantized = weights_.find(at);
  if (kept_.count(at) == 0 && quantized != weights_.end() && view_->is_onnx()) {
    fold_dequantized(at, quantized->second);
  }
  const auto kept = kept_.find(at);
  const Value& found = kept == kept_.end() ? graph_.values[at] : kept->second;
  return is_known(found) && count_values(found) > 0 ? &found : nullptr;
}

void NetworkReader::keep_contents(const std::string& output) {
  const Value& from = *constant("X");
  Value& to = kept_[given(output)] = graph_.values[given(output)];
  to.data = from.data;
  to.data_dtype = from.data_dtype;
}

std::string& NetworkReader::fold(std::size_t value, int dtype) {
  Value& to = kept_[value] = graph_.values[value];
  const std::int64_t count = product(to.shape, 0, to.shape.size());
  const std::size_t bytes = static_cast<std::size_t>(count) * element_size(dtype);
  layer_memory_.add(static_cast<double>(bytes));
  std::string& contents = folded_.emplace_back(bytes, '\0');
  to.data = contents;
  to.data_dtype = dtype;
  return contents;
}

void NetworkReader::read_identity() {
  if (constant("X") != nullptr) return keep_contents("Out");
  layer(LayerKind::Identity, {tensor("X")});
}

const Value& NetworkReader::float_constant(const std::string& name) {
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

std::size_t NetworkReader::tensor(const std::string& name, std::size_t index) const {
  const std::size_t found = value(name, index);
  require(is_computed(found), "operator on a value that is not computed from the image");
  return found;
}

std::size_t NetworkReader::shaped(const std::string& name) {
  const std::size_t from = tensor(name);
  if (has_channels(name)) return from;
  require(!quantized_, "kernel for what was flattened in int8");
  const auto [found, is_new] = views_.emplace(value(name), network_.tensors.size());
  if (is_new) add_view(from, image_shape(shape(name)));
  return found->second;
}

std::size_t NetworkReader::with_channels(const std::string& name) {
  const std::size_t found = tensor(name);
  const Shape& sizes = shape(name);
  return sizes.size() > 1 && shape_of(found).channels == sizes[1] ? found : shaped(name);
}

std::size_t NetworkReader::add_view(std::size_t from, const TensorShape& to) {
  if (shape_of(from) == to) return from;
  return add_layer(LayerKind::View, from, to,
                   "view of what " + plain_type(graph_, *op_) + " takes or gives")
      .output;
}

Layer& NetworkReader::add_layer(LayerKind kind, std::size_t input, const TensorShape& shape,
                                std::string name) {
  Layer& made = network_.layers.emplace_back();
  made.kind = kind;
  made.name = std::move(name);
  made.inputs = {input};
  made.output = network_.add_tensor(shape);
  return made;
}

void NetworkReader::require_images(const Shape& shape) const {
  require(!shape.empty() && (shape[0] == kUnknown || shape[0] == images()),
          "operator that mixes images");
}

TensorShape NetworkReader::image_shape(const Shape& shape) const {
  require_images(shape);
  const std::size_t rank = shape.size();
  const bool known =
      std::all_of(shape.begin() + 1, shape.end(), [](auto size) { return size > 0; });
  require(known, "size that is not fixed");
  if (rank < 3) return {rank < 2 ? 1 : shape[1]};
  return {shape[1], product(shape, 2, rank - 1), shape[rank - 1]};
}

Layer& NetworkReader::layer(LayerKind kind, std::vector<std::size_t> inputs,
                            const std::string& output, std::size_t index) {
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

Layer& NetworkReader::channel_scale(std::size_t input, std::vector<float> scale,
                                    std::vector<float> bias, const std::string& output) {
  Layer& made = layer(LayerKind::ChannelScale, {input}, output);
  made.scale = std::move(scale);
  made.bias = std::move(bias);
  return made;
}

void NetworkReader::activate(const Activation& activation) {
  if (activation.kind == ActivationKind::None) return read_identity();
  require(is_bound(activation) || !follows_onednn(), "kernel for this operator in int8");
  layer(LayerKind::Activate, {tensor("X")}).activation = activation;
}

void NetworkReader::set_input(std::size_t value, const std::string& name) {
  const Shape& shape = graph_.values[value].shape;
  network_.input = value;
  network_.input_spec = {name, shape, element_type(graph_.values[value].dtype).name};
  network_.tensors[value] = image_shape(shape);
}

void NetworkReader::add_output(std::size_t value, const std::string& name) {
  if (!is_computed(value)) {
    if (!network_.outputs.empty()) return;
    throw Error(ErrorCode::Unsupported,
                "'" + path_ + "' has an output '" + name + "' that is not computed from the image");
  }
  network_.outputs.push_back(value);
  network_.output_specs.push_back({name, graph_.values[value].shape, "float32"});
  network_.output_specs.back().shape.at(0) = network_.input_spec.shape[0];
}

std::size_t NetworkReader::add_copy(Box box, std::size_t input, const TensorShape& shape) {
  Layer& made = add_layer(
      LayerKind::Copy, input, shape,
      plain_type(graph_, *op_) + " '" + printable(graph_.values[given()].name) + "', moved");
  made.boxes = {std::move(box)};
  return made.output;
}

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

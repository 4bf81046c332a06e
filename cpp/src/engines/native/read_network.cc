#include "engines/native/read_network.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "engines/native/contradiction.h"
#include "engines/native/network_reader.h"
#include "engines/native/ops/verify_network.h"
#include "engines/native/passes/passes.h"
#include "finite.h"

namespace lenet::native {
namespace {

/// Whether operators of that kind leave each value as it is, so that integers stay what they are.
bool moves_only(std::string_view kind) {
  return (moves_values(kind) && !has_word("Pad Unfold", kind)) ||
         has_word("Identity Reshape Flatten FlattenRange Squeeze Unsqueeze", kind);
}

/// Whether the first axis of a value is that of the images alone.
bool images_come_first(const Value& value) {
  const Shape sizes = image_of(value);
  const bool first = value.images.axis == 0 || value.images.axis == kNone;
  return first && !sizes.empty() && sizes[0] == 1;
}

}  // namespace

Network NetworkReader::read() {
  if (graph_.with_sizes) unsupported(path_, "is for images of any size: give one");
  const auto& operators = graph_.operators;
  for (const Operator& op : operators) {
    quantized_.any |= has_word("QuantizeLinear QuantizeByRange DequantizeByRange", op.kind);
  }
  const std::vector<bool> needed = needed_operators(graph_);  // without what computes shapes
  if (const Value& input = graph_.values[graph_.inputs[0]]; input.producer == kNone) {
    set_input(graph_.inputs[0], printable(input.name));
  }
  for (std::size_t i = 0; i < operators.size(); ++i) {
    if (!needed[i] && (operators[i].kind != "Fetch" || !graph_.output_name.empty())) continue;
    const OperatorView view(graph_, i, path_);
    at_ = i;
    op_ = &operators[i];
    view_ = &view;
    if (gives_no_values()) continue;
    const std::size_t before = network_.layers.size();
    read_operator();
    each_value(op_->outputs, [&](std::size_t output) {
      if (is_computed(output)) require_declared_values(output);
    });
    if (network_.layers.size() > before) layer_memory_.add(bytes_of(network_.layers.back()));
  }
  // PIR's values have other names than what fetches them.
  const bool is_named = !graph_.output_name.empty() && graph_.output_name != "features";
  if (is_named) output_names_[0] = graph_.output_name;
  for (const bool real : {true, false}) {  // integers and truths come last, as of each engine
    for (std::size_t i = 0; i < graph_.outputs.size(); ++i) {
      const std::size_t output = graph_.outputs[i];
      if (is_real(graph_.values[output].dtype) == real) add_output(output, output_names_[i]);
    }
  }
  std::set<std::size_t> known(graph_.outputs.begin(), graph_.outputs.end());
  known.insert(network_.input);
  for (std::size_t value = 0; graph_.shows_all && value < graph_.values.size(); ++value) {
    const Value& found = graph_.values[value];
    const bool has_images = images_come_first(found) || found.images.axis != kNone;
    const bool shown = is_computed(value) && has_images;
    if (known.count(value) == 0 && shown) add_output(value, "");
  }
  split_wide_weights(network_, layer_memory_);
  verify_network(network_);
  drop_identities(network_);
  return std::move(network_);
}

void NetworkReader::read_operator() {
  // Of other types there is what moves values, until they become float32.
  const bool any = has_word("Cast DequantizeLinear Fetch", op_->kind) || moves_only(op_->kind);
  bool takes = false;  // what feeds the input takes nothing, and what fills a constant
  bool computes = false;
  each_value(op_->inputs, [&](std::size_t input) {
    takes = true;
    computes = computes || is_computed(input);
    const bool moved = any || quantized_.params_of(input) || !is_computed(input);
    const int dtype = graph_.values[input].dtype;  // true and false are 1 and 0
    require(moved || dtype == kFloat32 || dtype == kBool, "kernel for another type than float32");
  });
  // What stands for integers stays so, for layers that compute with them.
  constexpr std::string_view kKept = "Fetch QuantizeByRange DequantizeByRange DequantizeLinear";
  if (takes && !computes && !has_word(kKept, op_->kind)) {
    if (try_fold(at_, *view_)) return;
    // Integers may be indices that depend on the number of images; who needs others refuses them.
    bool real = false;
    each_value(op_->outputs,
               [&](std::size_t output) { real |= is_real(graph_.values[output].dtype); });
    if (!real) return;
    compute_constant();
  }
  if (op_->may_mix_images) {
    unsupported(path_,
                "has an operator in which the native engine could not prove that images "
                "stay apart " +
                    view_->named());
  }
  read_kind();
  keep_integers();
}

bool NetworkReader::gives_no_values() const {
  bool gives = op_->kind == "Fetch";
  each_value(op_->outputs, [&](std::size_t output) {
    gives |= !is_empty(graph_.values[output].shape) || is_constant(output);
  });
  return !gives;
}

void NetworkReader::keep_integers() {
  std::optional<QuantParams> quant;  // of the first input that is computed
  bool alike = true;                 // as those of the others
  each_value(op_->inputs, [&](std::size_t input) {
    if (!is_computed(input)) return;
    const QuantParams found = quantized_.params_of(input);
    if (!quant) quant = found;
    alike &= found == *quant;
  });
  const bool integers = quant && (*quant || !alike);
  if (!integers || has_word("DequantizeLinear DequantizeByRange", op_->kind)) return;
  const bool moves = op_->kind == "MaxPool" || moves_only(op_->kind);
  require(moves && alike, "kernel for this operator on integers");
  each_value(op_->outputs, [&](std::size_t output) { quantized_.integers[output] = *quant; });
}

void NetworkReader::read_kind() {
  if (op_->kind == "Feed") return read_input();
  if (op_->kind == "Fetch") return read_output();
  for (const auto family : kOperatorFamilies) {
    const auto [begin, end] = family();
    for (const OperatorRow* row = begin; row != end; ++row) {
      if (has_word(row->kinds, op_->kind)) return row->read(*this);
    }
  }
  if (const auto activation = read_activation(*view_)) return activate(*activation);
  if (moves_values(op_->kind)) return read_moved(*this);
  view_->no_kernel("kernel for this operator");
}

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

const Value* NetworkReader::constant_of(std::size_t value) {
  if (!is_constant(value)) return nullptr;
  const auto quantized = quantized_.weights.find(value);
  if (kept_.count(value) == 0 && quantized != quantized_.weights.end()) fold(quantized->second.op);
  const auto kept = kept_.find(value);
  return kept == kept_.end() ? &graph_.values[value] : &kept->second;
}

bool NetworkReader::is_constant(std::size_t value) const {
  const auto quantized = quantized_.weights.find(value);
  if (quantized != quantized_.weights.end()) return !quantized->second.of_paddle;
  const auto kept = kept_.find(value);
  const Value& found = kept == kept_.end() ? graph_.values[value] : kept->second;
  return is_known(found) && count_values(found) > 0 && !has_open(found);
}

void NetworkReader::keep_contents(std::size_t value, const Value& from) {
  Value& to = kept_[value] = graph_.values[value];
  to.parameter = true;
  to.shape = image_of(to);
  to.images = {};
  to.data = from.data;
  to.data_dtype = from.data_dtype;
  to.open = from.open;
}

void NetworkReader::keep_contents(std::size_t value, std::string bytes, int dtype) {
  Value made;
  made.data = network_.contents.emplace_back(std::move(bytes));
  made.data_dtype = dtype;
  keep_contents(value, made);
}

void NetworkReader::fold(std::size_t at) {
  const OperatorView view(graph_, at, path_);
  if (try_fold(at, view)) return;
  view.no_kernel("kernel for this operator on constants");
}

bool NetworkReader::try_fold(std::size_t at, const OperatorView& view) {
  const Operator& op = graph_.operators[at];
  const Argument& outputs = op.outputs.at("Out");
  const bool combines = has_word("Add Sub Mul Div Maximum Minimum Pow", op.kind);
  const auto constant = [&](std::string_view name, std::size_t index) {
    const std::size_t value = op.inputs.at(name).at(index);
    const Value* const found = constant_of(value);
    if (combines && found != nullptr) require_finite(*found, std::string(name), value);
    return found;
  };
  const auto reserve = [this](std::size_t bytes) {
    layer_memory_.add(static_cast<double>(bytes));
    return true;
  };
  auto folded = evaluate(view, constant, reserve);
  if (!folded) return false;
  for (std::size_t i = 0; i < folded->size(); ++i) {
    Contents& contents = (*folded)[i];
    if (contents.same != nullptr) {
      keep_contents(outputs[i], *contents.same);
    } else {
      keep_contents(outputs[i], std::move(contents.bytes), contents.dtype);
    }
  }
  return true;
}

void NetworkReader::compute_constant() {
  each_value(op_->inputs, [&](std::size_t input) {
    require(is_constant(input), "operator on a value that is not computed from the image");
  });
  const bool numbers = view_->count("X") > 0 && graph_.values[value("X")].dtype == kFloat32;
  require(numbers && !moves_values(op_->kind), "kernel for this operator on constants");
  const std::size_t made = add_constant("X");
  network_.layers.back().output = value("X");
  network_.tensors[value("X")].shape = shape_of(made);
}

const Value& NetworkReader::float_constant(const std::string& name) {
  const Value* found = constant(name);
  require(found != nullptr && found->dtype == kFloat32 && found->data_dtype != kInt8,
          "operator whose " + name + " is no float32 constant");
  require_whole(*found, name, value(name));
  return *found;
}

std::vector<float> NetworkReader::numbers(const std::string& name, std::size_t index) {
  const Value* const found = constant(name, index);
  require(found != nullptr && (found->data_dtype != kInt8 || found->dtype == kInt8),
          "operator on a value that is not computed from the image");
  require_whole(*found, name, value(name, index));
  return floats_of(*found);
}

void NetworkReader::require_whole(const Value& constant, const std::string& name,
                                  std::size_t value) const {
  require(static_cast<std::int64_t>(count_values(constant)) ==
              product(constant.shape, 0, constant.shape.size()),
          "operator whose " + name + " has another number of values");
  require_finite(constant, name, value);
}

void NetworkReader::require_finite(const Value& constant, const std::string& name,
                                   std::size_t value) const {
  if (!check_finite_ || all_finite(constant.data, constant.data_dtype)) return;
  if (masks_[value] && all_below_infinity(constant.data, constant.data_dtype)) return;
  refuse("takes a " + name + " '" + constant.name +
         "' that holds NaN or infinity; set check_finite to false to let it through");
}

bool NetworkReader::has_image_axis(const std::string& name) const {
  return images_come_first(graph_.values[value(name)]);
}

std::size_t NetworkReader::tensor(const std::string& name, std::size_t index) const {
  const std::size_t found = value(name, index);
  require(is_computed(found), "operator on a value that is not computed from the image");
  return tensor_of(found);
}

std::size_t NetworkReader::shaped(const std::string& name) {
  const std::size_t from = tensor(name);
  if (has_channels(name)) return from;
  const auto [found, is_new] = views_.emplace(value(name), network_.tensors.size());
  if (is_new) add_view(from, image_shape(sizes(name)));
  return found->second;
}

std::size_t NetworkReader::with_channels(const std::string& name) {
  const std::size_t found = tensor(name);
  const Shape whole = sizes(name);
  require(has_image_axis(name), "kernel for channels of images that are not first");
  return whole.size() > 1 && shape_of(found).channels() == whole[1] ? found : shaped(name);
}

std::size_t NetworkReader::image_or_line(const std::string& name) {
  const std::size_t rank = shape(name).size();
  require((rank == 3 || rank == 4) && has_image_axis(name),
          "kernel but for images in one or two dimensions");
  return shaped(name);
}

std::size_t NetworkReader::add_view(std::size_t from, const TensorShape& to) {
  if (shape_of(from) == to) return from;
  return add_layer(LayerKind::View, from, to, "view of what " + type() + " takes or gives").output;
}

Layer& NetworkReader::add_layer(LayerKind kind, std::size_t input, const TensorShape& shape,
                                std::string name) {
  return network_.add_layer(kind, std::move(name), {input}, network_.add_tensor(shape));
}

TensorShape NetworkReader::image_shape(const Shape& sizes) const {
  const bool known = std::all_of(sizes.begin(), sizes.end(), [](auto size) { return size > 0; });
  require(known, "size that is not fixed");
  const std::size_t first = !sizes.empty() && sizes[0] == 1 ? 1 : 0;  // of the images, mostly
  Shape of_image(sizes.begin() + static_cast<std::ptrdiff_t>(first), sizes.end());
  if (of_image.empty()) of_image = {1};
  return TensorShape(std::move(of_image));
}

void NetworkReader::require_declared_values(std::size_t value) const {
  const Value& declared = graph_.values[value];
  const std::int64_t values = image_shape(image_of(declared)).values();
  if (shape_of(value).values() == values) return;
  contradict("the layer " + type() + " '" + printable(declared.name) + "' gives " +
             std::to_string(shape_of(value).values()) + " values of an image, and the program " +
             std::to_string(values));
}

Layer& NetworkReader::layer_for(std::size_t value, LayerKind kind,
                                std::vector<std::size_t> inputs) {
  network_.tensors[value].shape = facts_of(kind).has(kOwnShape)
                                      ? image_shape(image_of(graph_.values[value]))
                                      : shape_of(inputs[0]);
  return network_.add_layer(kind, name_of(value), std::move(inputs), value);
}

Layer& NetworkReader::channel_scale(std::size_t input, std::vector<float> scale,
                                    std::vector<float> bias) {
  Layer& made = layer(LayerKind::ChannelScale, {input});
  made.params = ScaleParams{std::move(scale), std::move(bias)};
  return made;
}

void NetworkReader::activate(const Activation& activation) {
  if (activation.kind == ActivationKind::None) return add_identity();
  layer(LayerKind::Activate, {tensor("X")}).activation = activation;
}

void NetworkReader::set_input(std::size_t value, const std::string& name) {
  const Shape& shape = graph_.values[value].shape;
  if (!images_come_first(graph_.values[value])) {
    unsupported(path_, "has an input whose first axis is not that of the images");
  }
  network_.input = value;
  network_.input_spec = {name, shape, element_type(declared_dtype(graph_.values[value])).name};
  network_.tensors[value].shape = image_shape(image_of(graph_.values[value]));
}

void NetworkReader::add_output(std::size_t value, const std::string& name) {
  const Value& from = graph_.values[value];
  if (!is_computed(value)) {
    if (!network_.outputs.empty()) return;
    unsupported(path_, "has an output '" + from.name + "' that is not computed from the image");
  }
  const bool first = images_come_first(from);
  if (!first && from.images.axis == kNone && network_.input_spec.shape[0] != 1) {
    unsupported(path_, "has an output '" + from.name +
                           "' of which the native engine could not prove where it has the images");
  }
  network_.outputs.push_back(tensor_of(value));
  network_.output_specs.push_back(
      {name.empty() ? printable(from.name) : name, from.shape,
       is_real(from.dtype) ? "float32" : element_type(from.dtype).name});
  network_.output_images.push_back(first ? Images{0, 1, 1} : from.images);
  TensorSpec& spec = network_.output_specs.back();
  spec.by_image = first;
  if (first) spec.shape.at(0) = network_.input_spec.shape[0];
}

std::size_t NetworkReader::add_copy(Box box, std::size_t input, const TensorShape& shape) {
  Layer& made = add_layer(LayerKind::Copy, input, shape, name_of(given()) + ", moved");
  made.get<CopyParams>().boxes = {std::move(box)};
  return made.output;
}

std::size_t NetworkReader::add_constant(const std::string& name, std::size_t index) {
  std::vector<float> held = numbers(name, index);
  return add_constant(std::move(held), image_shape(constant(name, index)->shape));
}

std::size_t NetworkReader::add_constant(std::vector<float> numbers, const TensorShape& shape) {
  const std::size_t made = network_.add_tensor(shape);
  Layer& layer = network_.add_layer(LayerKind::Constant, "constant of " + type(), {}, made);
  layer.params = ConstantParams{std::move(numbers)};
  layer_memory_.add(bytes_of(layer));
  return made;
}

void NetworkReader::add_filled(float number, std::size_t index) {
  const std::size_t one = add_constant(std::vector<float>{number}, {1});
  const std::int64_t values = image_shape(given_sizes(index)).values();
  layer(LayerKind::Copy, {one}, index).params = CopyParams{{repeated_box({1}, {values})}};
}

Network read_network(const Graph& graph, const std::string& path, double file_bytes,
                     bool check_finite) {
  return NetworkReader(graph, path, file_bytes, check_finite).read();
}

Network load_network(const Model& model, const Graph& graph, bool check_finite, bool simplifies) {
  if (model.refusal) throw *model.refusal;
  // A Paddle model's parameters have been looked at.
  const bool check_weights = check_finite && model.format == ModelFormat::Onnx;
  Network network =
      read_network(graph, model.path, static_cast<double>(model.file_bytes), check_weights);
  if (simplifies) simplify(network);
  return network;
}

}  // namespace lenet::native

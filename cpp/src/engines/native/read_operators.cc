#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <numeric>
#include <utility>

#include "engines/native/network_reader.h"
#include "engines/native/read_network.h"
#include "model/rules/support.h"

namespace lenet::native {
namespace {

// ---- functions of each value

/// A number that an operator has under one of two names, or as a rule.
struct Parameter {
  const char* name = "";
  const char* other = "";
  double otherwise = 0;
};

struct Function {
  std::string_view types;
  ActivationKind kind;
  Parameter alpha = {};
  Parameter beta = {};
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr Function kFunctions[] = {
    {"relu Relu", ActivationKind::Relu},
    {"relu6", ActivationKind::Clip, {}, {"threshold", "", 6}},
    {"clip Clip", ActivationKind::Clip, {"min", "", -kInfinity}, {"max", "", kInfinity}},
    {"brelu hardtanh", ActivationKind::Clip, {"t_min"}, {"t_max"}},
    {"leaky_relu LeakyRelu", ActivationKind::LeakyRelu, {"alpha", "negative_slope", 0.01}},
    {"elu Elu", ActivationKind::Elu, {"alpha", "", 1}, {"", "", 1}},
    {"selu Selu",
     ActivationKind::Elu,
     {"alpha", "", 1.67326319217681884765625},
     {"gamma", "scale", 1.05070102214813232421875}},
    {"hard_sigmoid hardsigmoid HardSigmoid",
     ActivationKind::HardSigmoid,
     {"slope", "alpha", 0.2},
     {"offset", "beta", 0.5}},
    {"HardSwish hardswish", ActivationKind::HardSwish, {"", "", 1.0 / 6}, {"", "", 0.5}},
    // Here the scale and the offset, of which the layer's parameters are made.
    {"hard_swish", ActivationKind::HardSwish, {"scale", "", 6}, {"offset", "", 3}},
    {"sigmoid Sigmoid", ActivationKind::Sigmoid},
    {"silu", ActivationKind::Swish, {"", "", 1}},
    {"swish", ActivationKind::Swish, {"beta", "", 1}},
    {"Swish", ActivationKind::Swish, {"alpha", "", 1}},
    {"gelu Gelu", ActivationKind::Gelu},
    {"mish Mish", ActivationKind::Mish},
    {"tanh Tanh", ActivationKind::Tanh},
    {"softplus", ActivationKind::Softplus, {"beta", "", 1}, {"threshold", "", 20}},
    {"Softplus", ActivationKind::Softplus, {"", "", 1}, {"", "", kInfinity}},
    {"softsign Softsign", ActivationKind::Softsign},
    {"erf Erf", ActivationKind::Erf},
    {"exp Exp", ActivationKind::Exp},
    {"log Log", ActivationKind::Log},
    {"sqrt Sqrt", ActivationKind::Sqrt},
    {"abs Abs", ActivationKind::Abs},
    {"reciprocal Reciprocal", ActivationKind::Reciprocal},
    {"ThresholdedRelu", ActivationKind::ThresholdedRelu, {"alpha", "", 1}},
};

float number(const OperatorView& op, const Parameter& parameter) {
  const char* const name = op.present({parameter.other, parameter.name});
  return static_cast<float>(op.number(name, parameter.otherwise));
}

// ---- moving values

using Boxes = std::vector<Box>;

/// A slice of the images that ends here or beyond has all of them.
constexpr std::int64_t kMaxBatch = std::numeric_limits<std::int32_t>::max();

/// Reads one operator.
class BoxReader {
 public:
  BoxReader(const OperatorView& op, bool of_constants)
      : op_(op), input_(op.present({"X", "Input"})), first_(of_constants ? 0 : 1) {}

  std::vector<Boxes> transposed() const {
    const Shape& shape = shape_of();
    Integers reversed(shape.size());
    std::iota(reversed.rbegin(), reversed.rend(), 0);
    const Integers order = op_.integers(op_.present({"perm", "axis"}), reversed);
    const Integers steps = steps_of(shape);
    Integers from;
    for (const std::int64_t given : order) from.push_back(steps[op_.axis(given, shape.size())]);
    keep_images(first_ == 0 || op_.axis(order[0], shape.size()) == 0);
    const Shape to = image_of(op_.declared("Out").shape);
    return {{box_of(to, image_of(from), steps_of(to))}};
  }

  /// With constant bounds; of ONNX backwards too.
  std::vector<Boxes> sliced() const {
    Shape shape = shape_of();
    const Integers starts = op_.integers("starts");
    const Integers ends = op_.integers("ends");
    Integers axes(starts.size());
    std::iota(axes.begin(), axes.end(), 0);
    axes = op_.integers("axes", axes);
    const Integers strides =
        op_.integers(op_.present({"strides", "steps"}), Integers(axes.size(), 1));
    Integers from = steps_of(shape);
    std::int64_t first = 0;
    for (std::size_t i = 0; i < axes.size(); ++i) {
      const std::size_t axis = op_.axis(axes[i], shape.size());
      if (axis < first_ && shape[axis] == kUnknown) {
        keep_images(starts[i] == 0 && ends[i] >= kMaxBatch && strides[i] == 1);
        continue;
      }
      const auto [begin, count, step] = strided_slice(starts[i], ends[i], strides[i], shape[axis]);
      keep_images(axis >= first_ || (count == shape[axis] && step == 1));
      shape[axis] = count;
      first += begin * from[axis];
      from[axis] *= step;
    }
    const Shape to = image_of(shape);
    Box box = box_of(to, image_of(from), steps_of(to));
    box.from = first;
    return {{box}};
  }

  /// Also unbind, whose parts are one of the axis each.
  std::vector<Boxes> split() const {
    const Shape shape = image_of(shape_of());
    const std::size_t axis = axis_of(shape_of().size());
    const bool unbinds = op_.declared("Out").shape.size() < shape_of().size();
    const Integers from = steps_of(shape);
    std::vector<Boxes> outputs;
    std::int64_t first = 0;
    for (std::size_t i = 0; i < op_.outputs("Out"); ++i) {
      Shape part = shape;
      part[axis] = unbinds ? 1 : image_of(op_.declared("Out", i).shape)[axis];
      Box box = box_of(part, from, steps_of(part));
      box.from = first * from[axis];
      first += part[axis];
      outputs.push_back({box});
    }
    return outputs;
  }

  /// Also stack, which adds the axis.
  std::vector<Boxes> joined() const {
    const Shape& whole = op_.declared(op_.outputs("Y") > 0 ? "Y" : "Out").shape;
    const std::size_t axis = axis_of(whole.size());
    const Integers to = image_of(steps_of(whole));
    Boxes boxes;
    std::int64_t first = 0;
    for (std::size_t i = 0; i < op_.count("X"); ++i) {
      Shape part = image_of(op_.in("X", i).shape);
      if (part.size() < to.size()) part.insert(part.begin() + static_cast<int>(axis), 1);
      Box box = box_of(part, steps_of(part), to);
      box.input = i;
      box.to = first * to[axis];
      first += part[axis];
      boxes.push_back(std::move(box));
    }
    return {boxes};
  }

  /// Each value several times: in the place of one (expand), or all one after the other (tile).
  std::vector<Boxes> repeated() const {
    const Shape& from = shape_of();
    const Shape& to = op_.declared("Out").shape;
    keep_images(first_ == 0 || (from.size() == to.size() && fits(from[0], to[0])));
    return {{repeated_box(image_of(from), image_of(to))}};
  }

  /// Parts of one axis, in any order.
  std::vector<Boxes> gathered() const {
    const Shape shape = image_of(shape_of());
    const std::size_t axis = axis_of(shape_of().size());
    const Integers places = op_.integers("Indices");
    const std::int64_t inner = product(shape, axis + 1, shape.size());
    const std::int64_t outer = product(shape, 0, axis);
    const auto count = static_cast<std::int64_t>(places.size());
    Boxes boxes;
    for (const std::int64_t place : places) {
      const std::size_t from = op_.axis(place, static_cast<std::size_t>(shape[axis]));
      Box& box = boxes.emplace_back();
      box.from = static_cast<std::int64_t>(from) * inner;
      box.to = static_cast<std::int64_t>(boxes.size() - 1) * inner;
      box.add({outer, shape[axis] * inner, count * inner});
      box.add({inner, 1, 1});
    }
    return {boxes};
  }

  /// Up to three parts of each axis: before the values, they, and behind them.
  std::vector<Boxes> padded() const {
    op_.supports(first_ == 1, "kernel that pads a constant");
    const Shape& shape = shape_of();
    const Paddings paddings = read_paddings(op_);
    keep_images(paddings.before[0] == 0 && paddings.behind[0] == 0);
    const Integers from = steps_of(shape);
    const Integers to = steps_of(op_.declared("Out").shape);
    Boxes boxes(1);
    for (std::size_t i = 1; i < shape.size(); ++i) {
      const std::int64_t size = shape[i];
      const std::int64_t before = std::max<std::int64_t>(paddings.before[i], 0);
      const std::int64_t behind = std::max<std::int64_t>(paddings.behind[i], 0);
      const std::int64_t cut = before - paddings.before[i];
      const std::int64_t kept = size - cut + std::min<std::int64_t>(paddings.behind[i], 0);
      struct Part {
        std::int64_t count, first, step, place;
      };
      std::vector<Part> parts = {{kept, cut, 1, before}};
      if (paddings.mode == PadMode::Reflect) {
        parts.push_back({before, before, -1, 0});
        parts.push_back({behind, size - 2, -1, before + size});
      } else if (paddings.mode == PadMode::Edge) {
        parts.push_back({before, 0, 0, 0});
        parts.push_back({behind, size - 1, 0, before + size});
      } else if (paddings.mode == PadMode::Wrap) {
        op_.supports(std::max(before, behind) <= size, "kernel for paddings larger than the image");
        parts.push_back({before, size - before, 1, 0});
        parts.push_back({behind, 0, 1, before + size});
      }
      for (const Box& box : std::exchange(boxes, {})) {
        for (const Part& part : parts) {
          if (part.count == 0) continue;
          Box& made = boxes.emplace_back(box);
          made.from += part.first * from[i];
          made.to += part.place * to[i];
          made.add({part.count, part.step * from[i], to[i]});
        }
      }
    }
    return {boxes};
  }

  std::vector<Boxes> flipped() const {
    const Shape shape = image_of(shape_of());
    Integers from = steps_of(shape);
    std::int64_t first = 0;
    for (const std::size_t axis : distinct_axes(op_, op_.integers("axis"), shape.size() + first_)) {
      keep_images(axis >= first_);
      first += (shape[axis - first_] - 1) * from[axis - first_];
      from[axis - first_] *= -1;
    }
    Box box = box_of(shape, from, steps_of(shape));
    box.from = first;
    return {{box}};
  }

 private:
  const Shape& shape_of() const { return op_.in(input_).shape; }
  void keep_images(bool keeps) const { op_.supports(keeps, "operator that mixes images"); }
  /// Without that of the images.
  std::size_t axis_of(std::size_t rank) const {
    const std::size_t axis = op_.axis(op_.integer("axis", 0), rank);
    keep_images(axis >= first_);
    return axis - first_;
  }
  /// A shape without the number of images, which constants do not have.
  Shape image_of(const Shape& shape) const {
    return {shape.begin() + static_cast<std::ptrdiff_t>(first_), shape.end()};
  }

  const OperatorView& op_;
  const char* input_;
  std::size_t first_;  ///< axis that is moved
};

struct Kind {
  std::string_view types;
  std::vector<Boxes> (BoxReader::*read)() const;
};

constexpr Kind kKinds[] = {
    {"transpose2 transpose Transpose", &BoxReader::transposed},
    {"slice strided_slice Slice", &BoxReader::sliced},
    {"split split_with_num unbind Split", &BoxReader::split},
    {"concat stack Concat", &BoxReader::joined},
    {"expand_v2 expand tile Expand Tile", &BoxReader::repeated},
    {"Gather", &BoxReader::gathered},
    {"flip", &BoxReader::flipped},
    {"pad pad3d Pad", &BoxReader::padded},
};

const Kind* find_kind(std::string_view type) {
  const auto* const found =
      std::find_if(std::begin(kKinds), std::end(kKinds),
                   [type](const Kind& kind) { return has_word(kind.types, type); });
  return found == std::end(kKinds) ? nullptr : found;
}

/// What such an operator copies of one image: a list of boxes for each of its outputs.
/// \param of_constants whether its inputs are that, which have no images
/// \throws Error Unsupported: it mixes images
std::vector<Boxes> read_boxes(const OperatorView& op, std::string_view type, bool of_constants) {
  return (BoxReader(op, of_constants).*find_kind(type)->read)();
}

}  // namespace

std::optional<Activation> read_activation(const OperatorView& op, std::string_view type) {
  const auto* const function =
      std::find_if(std::begin(kFunctions), std::end(kFunctions),
                   [&](const Function& each) { return has_word(each.types, type); });
  if (function == std::end(kFunctions)) return std::nullopt;
  Activation found{function->kind, number(op, function->alpha), number(op, function->beta)};
  if (type == "selu" || type == "Selu") found.alpha *= found.beta;
  if (type == "hard_swish") {
    op.supports(op.number("threshold", 6) == static_cast<double>(found.alpha),
                "kernel for a threshold that is not the scale");
    found.alpha = 1 / found.alpha;
    found.beta *= found.alpha;
  }
  if (found.kind == ActivationKind::Gelu) {
    const bool tanh =
        op.is_onnx() ? op.text("approximate", "none") == "tanh" : op.flag("approximate");
    if (tanh) found.kind = ActivationKind::GeluTanh;
  }
  const auto is_nan = [](float value) { return std::isnan(value); };
  op.require(!is_nan(found.alpha) && !is_nan(found.beta), "a parameter that is no number");
  if (found.kind != ActivationKind::Clip) return found;
  constexpr float kMax = std::numeric_limits<float>::max();
  if (found.alpha == 0 && found.beta >= kMax) found = {ActivationKind::Relu};
  if (found.alpha <= -kMax && found.beta >= kMax) found = {};
  return found;
}

Box repeated_box(Shape from, const Shape& to) {
  from.insert(from.begin(), to.size() - from.size(), 1);
  const Integers from_steps = steps_of(from);
  const Integers to_steps = steps_of(to);
  Box box;
  for (std::size_t i = 0; i < to.size(); ++i) {
    box.add({to[i] / from[i], 0, to_steps[i] * from[i]});
    box.add({from[i], from_steps[i], to_steps[i]});
  }
  return box;
}

bool moves_values(std::string_view type) { return find_kind(type) != nullptr; }

void NetworkReader::read_moved(const std::string& type) {
  const char* const name = view_->present({"X", "Input"});
  const std::string output = view_->outputs("Y") > 0 ? "Y" : "Out";
  std::vector<std::size_t> inputs;
  std::size_t constants = 0;
  for (std::size_t i = 0; i < view_->count(name); ++i) constants += constant(name, i) != nullptr;
  if (constants == view_->count(name)) return fold_moved(type, name, output);
  for (std::size_t i = 0; i < view_->count(name); ++i) {
    image_shape(shape(name, i));
    inputs.push_back(tensor(name, i));
  }
  std::vector<Boxes> boxes = read_boxes(*view_, type, false);
  for (std::size_t i = 0; i < boxes.size(); ++i) move(std::move(boxes[i]), inputs, output, i);
}

void NetworkReader::fold_moved(const std::string& type, const char* input,
                               const std::string& output) {
  const int dtype = constant(input)->data_dtype;
  const std::size_t size = element_size(dtype);
  for (std::size_t i = 0; i < view_->count(input); ++i) {
    const Value& from = *constant(input, i);
    require(from.data_dtype == dtype && static_cast<std::int64_t>(count_values(from)) ==
                                            product(from.shape, 0, from.shape.size()),
            "move of constants but of one type, with as many values as their shapes say");
  }
  const std::vector<Boxes> outputs = read_boxes(*view_, type, true);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    char* const contents = fold(given(output, i), dtype).data();
    for (const Box& box : outputs[i]) {
      const char* const from = constant(input, box.input)->data.data();
      each_place(box, [&](std::int64_t at, std::int64_t to) {
        std::memcpy(contents + static_cast<std::size_t>(to) * size,
                    from + static_cast<std::size_t>(at) * size, size);
      });
    }
  }
}

void NetworkReader::move(std::vector<Box> boxes, const std::vector<std::size_t>& inputs,
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
  require(!quantized_ || joins || (!follows_onednn() && kind == LayerKind::Channels),
          "kernel for this operator in int8");
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

void NetworkReader::read_reshape() {
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

}  // namespace lenet::native

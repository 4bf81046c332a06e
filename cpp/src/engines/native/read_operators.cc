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

/// A number that an operator has under a name, or as a rule.
struct Parameter {
  const char* name = "";
  double otherwise = 0;
};

struct Function {
  std::string_view kinds;
  ActivationKind kind;
  Parameter alpha = {};
  Parameter beta = {};
};

constexpr double kInfinity = std::numeric_limits<double>::infinity();

constexpr Function kFunctions[] = {
    {"Relu", ActivationKind::Relu},
    {"Relu6", ActivationKind::Clip, {}, {"threshold", 6}},
    {"Clip", ActivationKind::Clip, {"min", -kInfinity}, {"max", kInfinity}},
    {"LeakyRelu", ActivationKind::LeakyRelu, {"alpha", 0.01}},
    {"Elu", ActivationKind::Elu, {"alpha", 1}, {"", 1}},
    {"Selu",
     ActivationKind::Elu,
     {"alpha", 1.67326319217681884765625},
     {"gamma", 1.05070102214813232421875}},
    {"HardSigmoid", ActivationKind::HardSigmoid, {"alpha", 0.2}, {"beta", 0.5}},
    {"HardSwish", ActivationKind::HardSwish, {"scale", 6}, {"offset", 3}},
    {"Sigmoid", ActivationKind::Sigmoid},
    {"Swish", ActivationKind::Swish, {"alpha", 1}},
    {"Gelu", ActivationKind::Gelu},
    {"Mish", ActivationKind::Mish},
    {"Tanh", ActivationKind::Tanh},
    {"Softplus", ActivationKind::Softplus, {"beta", 1}, {"threshold", kInfinity}},
    {"Softsign", ActivationKind::Softsign},
    {"Erf", ActivationKind::Erf},
    {"Exp", ActivationKind::Exp},
    {"Log", ActivationKind::Log},
    {"Sqrt", ActivationKind::Sqrt},
    {"Abs", ActivationKind::Abs},
    {"Reciprocal", ActivationKind::Reciprocal},
    {"ThresholdedRelu", ActivationKind::ThresholdedRelu, {"alpha", 1}},
};

float number(const OperatorView& op, const Parameter& parameter) {
  return static_cast<float>(op.number(parameter.name, parameter.otherwise));
}

// ---- moving values

using Boxes = std::vector<Box>;

/// A slice of the images that ends here or beyond has all of them.
constexpr std::int64_t kMaxBatch = std::numeric_limits<std::int32_t>::max();

/// Reads one operator.
class BoxReader {
 public:
  BoxReader(const OperatorView& op, bool of_constants) : op_(op), first_(of_constants ? 0 : 1) {}

  std::vector<Boxes> transposed() const {
    const Shape& shape = shape_of();
    Integers reversed(shape.size());
    std::iota(reversed.rbegin(), reversed.rend(), 0);
    const Integers order = op_.integers("perm", reversed);
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
    const Integers strides = op_.integers("steps", Integers(axes.size(), 1));
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
    const Shape& whole = op_.declared("Out").shape;
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
  const Shape& shape_of() const { return op_.in("X").shape; }
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
  std::size_t first_;  ///< axis that is moved
};

struct Kind {
  std::string_view kinds;
  std::vector<Boxes> (BoxReader::*read)() const;
};

constexpr Kind kKinds[] = {
    {"Transpose", &BoxReader::transposed}, {"Slice", &BoxReader::sliced},
    {"Split Unbind", &BoxReader::split},   {"Concat Stack", &BoxReader::joined},
    {"Expand Tile", &BoxReader::repeated}, {"Gather", &BoxReader::gathered},
    {"Flip", &BoxReader::flipped},         {"Pad", &BoxReader::padded},
};

const Kind* find_kind(std::string_view kind) {
  const auto* const found =
      std::find_if(std::begin(kKinds), std::end(kKinds),
                   [kind](const Kind& each) { return has_word(each.kinds, kind); });
  return found == std::end(kKinds) ? nullptr : found;
}

/// What such an operator copies of one image: a list of boxes for each of its outputs.
/// \param of_constants whether its inputs are that, which have no images
/// \throws Error Unsupported: it mixes images
std::vector<Boxes> read_boxes(const OperatorView& op, bool of_constants) {
  return (BoxReader(op, of_constants).*find_kind(op.kind())->read)();
}

}  // namespace

std::optional<Activation> read_activation(const OperatorView& op) {
  const auto* const function =
      std::find_if(std::begin(kFunctions), std::end(kFunctions),
                   [&](const Function& each) { return has_word(each.kinds, op.kind()); });
  if (function == std::end(kFunctions)) return std::nullopt;
  Activation found{function->kind, number(op, function->alpha), number(op, function->beta)};
  if (op.kind() == "Selu") found.alpha *= found.beta;
  if (op.kind() == "HardSwish") {  // its scale and offset, of which the layer's are made
    op.supports(op.number("threshold", 6) == static_cast<double>(found.alpha),
                "kernel for a threshold that is not the scale");
    found.alpha = 1 / found.alpha;
    found.beta *= found.alpha;
  }
  if (found.kind == ActivationKind::Gelu) {
    const bool tanh = op.text("approximate", "none") == "tanh";
    if (op.flag("tanh", tanh)) found.kind = ActivationKind::GeluTanh;
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

bool moves_values(std::string_view kind) { return find_kind(kind) != nullptr; }

void NetworkReader::read_moved() {
  const std::size_t count = view_->count("X");
  std::vector<std::size_t> inputs;
  std::size_t constants = 0;
  for (std::size_t i = 0; i < count; ++i) constants += constant("X", i) != nullptr;
  if (constants == count) return fold_moved();
  for (std::size_t i = 0; i < count; ++i) {
    image_shape(shape("X", i));
    inputs.push_back(tensor("X", i));
  }
  std::vector<Boxes> boxes = read_boxes(*view_, false);
  for (std::size_t i = 0; i < boxes.size(); ++i) move(std::move(boxes[i]), inputs, i);
}

void NetworkReader::fold_moved() {
  const int dtype = constant("X")->data_dtype;
  const std::size_t size = element_size(dtype);
  for (std::size_t i = 0; i < view_->count("X"); ++i) {
    const Value& from = *constant("X", i);
    require(from.data_dtype == dtype && static_cast<std::int64_t>(count_values(from)) ==
                                            product(from.shape, 0, from.shape.size()),
            "move of constants but of one type, with as many values as their shapes say");
  }
  const std::vector<Boxes> outputs = read_boxes(*view_, true);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    char* const contents = fold(given(i), dtype).data();
    for (const Box& box : outputs[i]) {
      const char* const from = constant("X", box.input)->data.data();
      each_place(box, [&](std::int64_t at, std::int64_t to) {
        std::memcpy(contents + static_cast<std::size_t>(to) * size,
                    from + static_cast<std::size_t>(at) * size, size);
      });
    }
  }
}

void NetworkReader::move(std::vector<Box> boxes, const std::vector<std::size_t>& inputs,
                         std::size_t index) {
  const TensorShape to = image_shape(graph_.values[given(index)].shape);
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
  joins &= end == to.values();  // nothing is left to be filled
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
  require(!quantized_ || joins || (!follows_onednn_ && kind == LayerKind::Channels),
          "kernel for this operator in int8");
  Layer& made = layer(kind, inputs, index);
  made.channels = std::move(sources);
  if (kind == LayerKind::Copy) {
    made.boxes = std::move(boxes);
    made.fill = static_cast<float>(view_->number("value", 0));
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
    return keep_contents();
  }
  const std::size_t input = tensor("X");
  const std::int64_t values = shape_of(input).values();
  const std::int64_t images = network_.input_spec.shape[0];
  require(!sizes.empty() && (sizes[0] == images || sizes[0] == kUnknown) &&
              product(sizes, 1, sizes.size()) == values,
          "change of shape but of each image");
  const bool flat = sizes.size() == 2 && op_->kind != "Reshape";
  layer(follows_onednn_ && flat ? LayerKind::Flatten : LayerKind::Identity, {input});
}

}  // namespace lenet::native

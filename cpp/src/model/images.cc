#include "model/images.h"

#include <algorithm>
#include <optional>

#include "model/index_slices.h"
#include "model/rules/operator_view.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

/// Operators that give the values of their input in the same order, in another shape.
constexpr std::string_view kRearranges = "Reshape Flatten FlattenRange Squeeze Unsqueeze";
/// Operators whose other axes than the first two are those of an image, along which values meet.
constexpr std::string_view kOfImages =
    "Conv ConvTranspose MaxPool AveragePool GlobalMaxPool GlobalAveragePool AdaptiveMaxPool "
    "AdaptiveAveragePool Resize LRN "
    "DepthToSpace SpaceToDepth ChannelShuffle Unfold Col2Im Upsample";
/// Operators that repeat inputs along each other, the last axes of which are the same.
constexpr std::string_view kBroadcasts =
    "Add Sub Mul Div FloorDiv Mod Maximum Minimum Pow Equal Less LessOrEqual Greater "
    "GreaterOrEqual And Or Xor Where Sum Max Min Mean PRelu";
/// Operators whose result is for all images together.
constexpr std::string_view kOfBatch = "If While Branch Choice";

class ImageFinder {
 public:
  ImageFinder(Graph& graph, const std::string& path, std::int64_t fixed)
      : graph_(graph), path_(path), fixed_(fixed) {}

  /// \param checked of each operator
  void find(const std::vector<bool>& checked) {
    if (fixed_ > 1) give_first_axis(graph_.values[graph_.inputs[0]]);
    for (std::size_t i = 0; i < graph_.operators.size(); ++i) {
      at_ = i;
      Operator& op = graph_.operators[i];
      op.mixes_images = checked[i] && takes_images(op) && mixes(op);
    }
  }

 private:
  Value& value(std::size_t index) const { return graph_.values[index]; }
  static bool has_images(const Value& value) { return value.images.axis != kNone; }

  bool takes_images(const Operator& op) const {
    bool takes = false;
    each_value(op.inputs, [&](std::size_t input) { takes |= has_images(value(input)); });
    return takes;
  }

  void give_first_axis(Value& given) const {
    if (!given.shape.empty() && given.shape[0] == fixed_) given.images = {0, 1, 1};
  }

  /// Whether one image's result depends on the others, or nobody knows. Sets where the outputs have
  /// the images.
  bool mixes(const Operator& op) {
    if (has_word("Fetch Shape Size", op.kind)) return false;
    bool mixed = has_word(kOfBatch, op.kind) || goes_along_images(op);
    bool gives = false;
    bool knows = false;
    for (const auto& [name, outputs] : op.outputs) {
      if (has_word(kUnreadOutputs, name)) continue;
      for (const std::size_t output : outputs) {
        if (output == kNone) continue;
        if (fixed_ > 1) give_first_axis(value(output));
        knows |= is_known(value(output));
        if (is_known(value(output)) || !has_images(value(output))) continue;
        gives = true;
        mixed |= !places_images(op, value(output));
      }
    }
    return mixed || !(gives || knows);
  }

  /// Whether an operator goes along the axis of the images of what it takes.
  bool goes_along_images(const Operator& op) const {
    const OperatorView view(graph_, at_, path_);
    bool along = false;
    each_value(op.inputs, [&](std::size_t input) {
      const Value& taken = value(input);
      if (has_images(taken)) along |= goes_along(op, view, taken, input);
    });
    return along;
  }

  bool goes_along(const Operator& op, const OperatorView& view, const Value& taken,
                  std::size_t input) const {
    const std::size_t axis = taken.images.axis;
    const auto is = [&](std::string_view flag) { return op.attributes.count(flag) > 0; };
    if (op.kind == "ScatterND") return !read_index_slices(graph_, at_, path_);
    if (is("anywhere")) return true;
    // The axis of a quantization is that of its scales.
    if (has_word("QuantizeLinear DequantizeLinear", op.kind)) return false;
    if (is("by_image") || has_word(kOfImages, op.kind)) return axis != 0;
    if (is("by_column")) return axis != 1;
    if (op.kind == "Trilu") return axis + 2 >= taken.shape.size();
    if (has_word("Softmax LogSoftmax Hardmax", op.kind)) {
      const std::size_t along = view.axis(softmax_axis(view), taken.shape.size());
      return axis == along || (axis > along && view.opset() < 13);  // the axes behind it too
    }
    if (op.kind == "GatherND") {
      const auto first = static_cast<std::size_t>(view.integer("batch_dims", 0));
      const auto count = static_cast<std::size_t>(view.in("Indices").shape.back());
      return op.inputs.at("X")[0] == input && axis >= first && axis < first + count;
    }
    if (op.kind == "Pad") return read_paddings(view).before[axis] != 0;
    if (op.kind == "Slice") return slices_backwards(view, axis, taken.shape.size());
    // Of other operators with several inputs, these meet at an axis; and so do they where one is
    // joined to the other, which the sizes tell.
    const bool whole = is("along_x") || op.kind == "Concat" || op.kind == "Stack";
    if (!whole && count_computed(op) > 1) return false;
    if (is("along_x") && op.inputs.at("X")[0] != input) return false;
    const auto rank = static_cast<std::int64_t>(taken.shape.size());
    for (const std::int64_t given : axes_of(op, view)) {
      // A Flatten's may be the rank; that of a Stack counts in the result.
      const std::int64_t at = given < 0 ? given + rank + (op.kind == "Stack" ? 1 : 0) : given;
      if (op.kind == "Stack" || at < 0 || at >= rank) continue;
      const auto first = static_cast<std::size_t>(at);
      if (first == axis || (is("to_end") && first < axis)) return true;
    }
    return false;
  }

  std::size_t count_computed(const Operator& op) const {
    std::size_t count = 0;
    each_value(op.inputs, [&](std::size_t input) { count += is_known(value(input)) ? 0U : 1U; });
    return count;
  }

  /// The axes that an attribute names, or an input that the program fixes.
  static Integers axes_of(const Operator& op, const OperatorView& view) {
    if (has_word(kRearranges, op.kind)) return {};
    if (const auto* axis = op.attribute<std::int64_t>("axis")) return {*axis};
    if (const auto* axes = op.attribute<Integers>("axis")) return *axes;
    return view.count("axis") == 1 ? view.list("axis").value_or(Integers()) : Integers();
  }

  static bool slices_backwards(const OperatorView& view, std::size_t axis, std::size_t rank) {
    const Integers steps = view.integers("steps", Integers());
    const Integers axes = view.integers("axes", Integers());
    for (std::size_t i = 0; i < steps.size(); ++i) {
      const std::size_t at = axes.empty() ? i : view.axis(axes[i], rank);
      if (at == axis && steps[i] != 1) return true;
    }
    return false;
  }

  /// Sets where the images lie in the axis of an output. \returns false: they are not kept apart
  bool places_images(const Operator& op, Value& output) const {
    Images& images = output.images;
    if (images.per_image == 0) return false;
    std::optional<Images> taken;
    bool alike = true;
    each_value(op.inputs, [&](std::size_t input) {
      const Value& from = value(input);
      if (!has_images(from)) return;
      if (!taken) taken = from.images;
      alike &= keeps_axis(op, from, output);
      alike &= taken->before == from.images.before && taken->per_image == from.images.per_image;
    });
    if (!alike) return false;
    if (!has_word(kRearranges, op.kind)) {
      images.before = taken->before;
      return images.per_image == taken->per_image;
    }
    // Before the first value of the second image lie as many of the first as before.
    const Value& from = value(op.inputs.at("X")[0]);
    const std::int64_t before = product(from.shape, 0, from.images.axis) * from.images.before;
    const std::int64_t outer = product(output.shape, 0, images.axis);
    const bool fits = before % outer == 0 && images.per_image % (before / outer) == 0;
    if (fits) images.before = before / outer;
    if (!fits) images.per_image = 0;
    return fits;
  }

  /// Whether the axis of the images of an input becomes that of an output, as the operator aligns
  /// them. The sizes alone do not tell where a program takes some numbers of images only.
  static bool keeps_axis(const Operator& op, const Value& from, const Value& output) {
    const std::size_t rank = from.shape.size();
    const std::size_t behind = output.shape.size() - output.images.axis;
    if (op.kind == "MatMul" && rank <= output.shape.size()) {  // else the other one is a vector
      return rank - from.images.axis == behind;
    }
    if (has_word(kBroadcasts, op.kind)) {
      const auto* axis = op.attribute<std::int64_t>("axis");
      const bool aligns = axis != nullptr && *axis >= 0 && rank < output.shape.size();
      if (aligns) return from.images.axis + static_cast<std::size_t>(*axis) == output.images.axis;
      return rank - from.images.axis == behind;
    }
    if (has_word(kRearranges, op.kind) || has_word("Transpose Einsum", op.kind)) return true;
    return rank != output.shape.size() || from.images.axis == output.images.axis;
  }

  Graph& graph_;
  const std::string& path_;
  std::int64_t fixed_;
  std::size_t at_ = 0;  ///< of the operator that is looked at
};

}  // namespace

void find_images(Graph& graph, const std::string& path, const std::vector<bool>& checked,
                 std::int64_t fixed) {
  ImageFinder(graph, path, fixed).find(checked);
}

}  // namespace lenet

#include "model/images.h"

#include <optional>

#include "model/image_rules.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

/// Operators that count: what they give along the axis of the images is another number for each.
constexpr std::string_view kCounts = "Range Linspace";

class ImageFinder {
 public:
  ImageFinder(Graph& graph, const std::string& path, std::int64_t fixed)
      : graph_(graph), path_(path), fixed_(fixed), facts_(graph.values.size()) {}

  /// \param checked of each operator
  void find(const std::vector<bool>& checked) {
    Value& input = graph_.values[graph_.inputs[0]];
    if (fixed_ > 1) input.images = {0, 1, 1};
    facts_.computed[graph_.inputs[0]] = true;
    for (std::size_t i = 0; i < graph_.operators.size(); ++i) {
      Operator& op = graph_.operators[i];
      op.may_mix_images = checked[i] && takes_images(op) && !follow(i);
    }
  }

 private:
  /// Facts of each value.
  struct Facts {
    explicit Facts(std::size_t values) : lost(values), computed(values), counted(values) {}
    std::vector<bool> lost;      ///< where it has the images is not known
    std::vector<bool> computed;  ///< from the images
    std::vector<bool> counted;   ///< from numbers that count the images
  };

  static bool has_images(const Value& value) { return value.images.axis != kNone; }

  /// Whether an operator takes what is another for each image. What counts them takes nothing.
  bool takes_images(const Operator& op) const {
    bool takes = has_word(kCounts, op.kind);
    each_value(op.inputs, [&](std::size_t input) {
      takes |= has_images(graph_.values[input]) || facts_.lost[input];
    });
    return takes;
  }

  /// Sets where the outputs have the images. \returns whether it is known that they stay apart
  bool follow(std::size_t at) {
    const Operator& op = graph_.operators[at];
    if (has_word(kCounts, op.kind)) return follow_count(op);
    bool apart = true;
    for (const auto& [name, outputs] : op.outputs) {
      if (has_word(kUnreadOutputs, name)) continue;
      for (const std::size_t output : outputs) {
        if (output == kNone || is_known(graph_.values[output])) continue;
        const bool followed = follow_output(at, name, output);
        if (!followed) facts_.lost[output] = true;
        apart &= followed;
      }
    }
    return apart;
  }

  bool follow_count(const Operator& op) {
    each_value(op.outputs, [&](std::size_t output) {
      facts_.counted[output] = has_images(graph_.values[output]);
    });
    return true;
  }

  bool follow_output(std::size_t at, std::string_view name, std::size_t output) {
    const Operator& op = graph_.operators[at];
    Value& value = graph_.values[output];
    const ImageRule rule = find_image_rule(op.kind);
    if (rule == nullptr) return false;
    ImageFollower images(graph_, at, path_, facts_.lost, name, value, fixed_);
    try {
      rule(images);
    } catch (const Error&) {  // such as an axis that the program does not fix
      return false;
    }
    for (const auto& [argument, inputs] : op.inputs) {
      if (images.is_ignored(argument)) continue;
      for (const std::size_t input : inputs) {
        if (input == kNone) continue;
        if (facts_.computed[input]) facts_.computed[output] = true;
        if (facts_.counted[input]) facts_.counted[output] = true;
      }
    }
    // An image's place in the batch must not count.
    if (facts_.computed[output] && facts_.counted[output]) return false;
    const std::optional<Images> found = images.result();
    return found && accept(*found, value);
  }

  /// Sets where a value has the images, if its sizes say so too.
  bool accept(const Images& found, Value& value) const {
    if (found.axis == kNone) return !has_images(value);
    if (found.axis >= value.shape.size() || found.per_image < 1) return false;
    const bool fits =
        fixed_ > 1 ? value.shape[found.axis] == found.per_image * fixed_
                   : value.images.axis == found.axis && value.images.per_image == found.per_image;
    if (fits) value.images = found;
    return fits;
  }

  Graph& graph_;
  const std::string& path_;
  std::int64_t fixed_;
  Facts facts_;
};

}  // namespace

void find_images(Graph& graph, const std::string& path, const std::vector<bool>& checked,
                 std::int64_t fixed) {
  ImageFinder(graph, path, fixed).find(checked);
}

}  // namespace lenet

#include "model/output_meanings.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "io/printable.h"
#include "model/element_types.h"
#include "model/rules/support.h"

namespace lenet {
namespace {

/// Operators whose results are logits, if they are a program's outputs.
constexpr std::string_view kLinear =
    "MatMul Gemm FlatMatMul fc Conv ConvTranspose BatchNormalization LogSoftmax";
/// Operators that multiply by weights: what they take are features of what they give.
constexpr std::string_view kProducts = "MatMul Gemm FlatMatMul fc Conv ConvTranspose";
/// Operators that give their first input in another shape, type or under another name.
constexpr std::string_view kMoves =
    "Identity Cast Reshape Flatten FlattenRange Squeeze Unsqueeze Transpose QuantizeByRange "
    "DequantizeByRange share_data_ QuantizeLinear DequantizeLinear";
/// The members of kMoves that keep the axis of the classes where it is.
constexpr std::string_view kKeepsAxes =
    "Identity Cast QuantizeByRange DequantizeByRange share_data_ QuantizeLinear DequantizeLinear";
/// Operators that average, clip or cut logits, which are logits still.
constexpr std::string_view kKeepsLogits =
    "Scale AveragePool MaxPool GlobalAveragePool GlobalMaxPool AdaptiveAveragePool AdaptiveMaxPool "
    "ReduceMean ReduceMax Dropout "
    "Relu Relu6 LeakyRelu PRelu Clip Slice Split Unbind";
/// Operators all of whose inputs are addends or parts of the result.
constexpr std::string_view kCombines = "Add Sub Maximum Minimum Sum Max Min Concat 0.combine";
/// Operators whose inputs have to be constants, such as a temperature, but for one.
constexpr std::string_view kMultiplies = "Mul Div";
/// Operators that leave the order of the classes as it is.
constexpr std::string_view kKeepsOrder = "Softmax LogSoftmax Sigmoid";
constexpr std::string_view kTopK = "TopK argsort";
constexpr std::string_view kArgMax = "ArgMax ArgMin";
constexpr std::string_view kGathers = "Gather GatherElements ai.onnx.ml.ArrayFeatureExtractor";
/// Classifiers of scikit-learn: a class number, and the scores of all classes.
constexpr std::string_view kTraditional =
    "ai.onnx.ml.LinearClassifier ai.onnx.ml.SVMClassifier ai.onnx.ml.TreeEnsembleClassifier";

/// What is known of a value.
struct Numbers {
  OutputRole role = OutputRole::Unknown;
  /// The value of all classes that has the same order as these numbers, or from which they were
  /// picked. kNone: this value itself.
  std::size_t source = kNone;
  std::size_t picker = kNone;  ///< the operator that picked them; kNone: none did
  bool ranked = false;         ///< several for each image, the best first
  /// Picked only if the class numbers are there too: else a pooling over positions.
  bool may_be_pooled = false;
  std::size_t features = kNone;  ///< what the last product took
  int axis = -1;                 ///< of the classes; -1: not known
};

class Outputs {
 public:
  Outputs(const Graph& graph, const std::vector<std::size_t>& outputs)
      : graph_(graph), outputs_(outputs), numbers_(graph.values.size()) {}

  std::vector<NamedMeaning> describe() {
    for (std::size_t i = 0; i < graph_.operators.size(); ++i) follow(i);
    const std::vector<std::string> names = name_outputs();
    const std::set<std::size_t> features = find_features();
    std::vector<NamedMeaning> found;
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      const std::size_t value = outputs_[i];
      const Numbers& numbers = numbers_[value];
      OutputMeaning meaning;
      meaning.role = features.count(value) > 0 ? OutputRole::Features : numbers.role;
      meaning.picked = numbers.picker != kNone && numbers.role != OutputRole::ClassNumbers;
      meaning.ranked = numbers.ranked;
      meaning.class_axis = numbers.axis;
      meaning.source = source_of(value);
      meaning.family = numbers.features == kNone ? value : numbers.features;
      if (numbers.picker != kNone) meaning.num_classes = count_classes(numbers);
      found.push_back({names[i], meaning});
    }
    find_partners(found);
    return found;
  }

 private:
  const Value& value(std::size_t index) const { return graph_.values[index]; }

  /// The inputs that the model does not fix; valid until it is called again.
  const std::vector<std::size_t>& data_of(const Operator& op) {
    data_.clear();
    each_value(op.inputs, [&](std::size_t input) {
      if (!is_constant(graph_, input)) data_.push_back(input);
    });
    return data_;
  }

  std::size_t source_of(std::size_t index) const {
    const std::size_t source = numbers_[index].source;
    return source == kNone ? index : source;
  }

  /// The value of an argument; before the check those of .json and .onnx have places alone.
  static std::size_t argument(const Arguments& arguments, std::string_view name,
                              std::size_t place) {
    auto found = arguments.find(name);
    if (found == arguments.end()) {
      if (place >= arguments.size() || !arguments[place].first.empty()) return kNone;
      found = arguments.begin() + static_cast<std::ptrdiff_t>(place);
    }
    return found->second.empty() ? kNone : found->second[0];
  }

  /// Whether this is a scale of 1 without a bias, which Paddle puts behind each output that it
  /// saves.
  bool scales_by_one(const Operator& op) const {
    if (op.kind != "Scale") return false;
    const auto number = [](const Operator& from, std::string_view name) {
      const auto* found = from.attribute<double>(name);
      return found == nullptr ? std::nullopt : std::optional(*found);
    };
    std::optional<double> factor = number(op, "scale");
    if (!factor && op.inputs.size() == 2 && op.inputs[1].second.size() == 1) {  // of PIR
      const std::size_t by = op.inputs[1].second[0];
      const std::size_t full = by == kNone ? kNone : value(by).producer;
      if (full != kNone) factor = number(graph_.operators[full], "value");
    }
    return factor == 1 && number(op, "bias").value_or(0) == 0;
  }

  /// Fills in what an operator gives, of what it takes. A value that comes later is not known yet.
  void follow(std::size_t index) {
    const Operator& op = graph_.operators[index];
    const std::vector<std::size_t>& data = data_of(op);
    if (data.empty()) return;
    const std::size_t first = data[0];
    if (has_word(kTopK, op.kind)) return follow_top_k(index, first);
    if (has_word(kArgMax, op.kind)) return give(op, pick_numbers(index, first, false));
    if (has_word(kTraditional, op.kind)) return follow_traditional(index);
    Numbers made;
    if (has_word(kMoves, op.kind) || scales_by_one(op)) {
      made = numbers_[first];
      made.source = source_of(first);
      if (!has_word(kKeepsAxes, op.kind) && op.kind != "Scale") made.axis = -1;
    } else if (has_word(kGathers, op.kind)) {
      made = follow_gather(op, data);
    } else if (op.kind == "Softmax" || op.kind == "Sigmoid") {
      made = follow_normalization(op, first);
    } else if (has_word(kLinear, op.kind)) {
      made.role = OutputRole::Logits;
      if (has_word(kProducts, op.kind)) {
        made.features = source_of(first);
      } else {
        made.features = numbers_[first].features;
      }
      if (has_word(kKeepsOrder, op.kind)) keep_order(first, made);
    } else if (op.kind == "ReduceMax") {
      made = follow_maximum(index, first);
    } else {
      made = follow_arithmetic(op, data);
    }
    give(op, made);
  }

  void give(const Operator& op, const Numbers& made) {
    each_value(op.outputs, [&](std::size_t output) { numbers_[output] = made; });
  }

  void keep_order(std::size_t input, Numbers& made) const {
    const Numbers& from = numbers_[input];
    made.source = source_of(input);
    made.picker = from.picker;
    made.ranked = from.ranked;
  }

  Numbers follow_normalization(const Operator& op, std::size_t input) const {
    Numbers made;
    made.role = op.kind == "Softmax" ? OutputRole::Probabilities : OutputRole::Scores;
    made.features = numbers_[input].features;
    keep_order(input, made);
    const auto rank = static_cast<std::int64_t>(value(input).shape.size());
    const auto* axis = op.attribute<std::int64_t>("axis");
    if (op.kind == "Softmax" && axis != nullptr && value(input).has_shape && *axis >= -rank &&
        *axis < rank) {
      made.axis = static_cast<int>(*axis < 0 ? *axis + rank : *axis);
    }
    return made;
  }

  /// Class numbers that an operator picks of the values of all classes.
  Numbers pick_numbers(std::size_t picker, std::size_t input, bool ranked) const {
    Numbers made;
    made.role = OutputRole::ClassNumbers;
    made.source = source_of(input);
    made.picker = picker;
    made.ranked = ranked;
    made.features = numbers_[input].features;
    return made;
  }

  void follow_top_k(std::size_t index, std::size_t input) {
    const Operator& op = graph_.operators[index];
    const Numbers picked = pick_numbers(index, input, true);
    const std::size_t values = argument(op.outputs, "Out", 0);
    const std::size_t numbers = argument(op.outputs, "Indices", 1);
    if (values != kNone) {
      numbers_[values] = picked;
      numbers_[values].role = numbers_[input].role;
    }
    if (numbers != kNone) numbers_[numbers] = picked;
  }

  /// The greatest of all classes, or of all positions of an image, which is a pooling.
  Numbers follow_maximum(std::size_t index, std::size_t input) const {
    Numbers made = pick_numbers(index, input, false);
    made.role = numbers_[input].role;
    const bool is_vector = value(input).has_shape && value(input).shape.size() == 2;
    made.may_be_pooled = !is_vector;
    return made;
  }

  void follow_traditional(std::size_t index) {
    const Operator& op = graph_.operators[index];
    const std::size_t label = argument(op.outputs, "", 0);
    const std::size_t scores = argument(op.outputs, "", 1);
    if (label == kNone || scores == kNone) return;
    numbers_[label] = pick_numbers(index, scores, false);
  }

  /// Class numbers that a table of the model gives for others, or what they choose among values.
  Numbers follow_gather(const Operator& op, const std::vector<std::size_t>& data) const {
    const std::size_t taken = argument(op.inputs, "X", 0);
    const bool from_table = taken != kNone && is_constant(graph_, taken) && data.size() == 1;
    if (from_table && numbers_[data[0]].role == OutputRole::ClassNumbers) return numbers_[data[0]];
    const Numbers& by = numbers_[data.back()];
    if (data.size() == 2 && by.picker != kNone && by.source == source_of(data[0])) {
      Numbers made = by;  // the values at the numbers that were picked of them
      made.role = numbers_[data[0]].role;
      return made;
    }
    return {};
  }

  Numbers follow_arithmetic(const Operator& op, const std::vector<std::size_t>& data) const {
    if (const Numbers found = follow_threshold(op, data); found.role != OutputRole::Unknown) {
      return found;
    }
    const bool multiplies = has_word(kMultiplies, op.kind);
    const bool takes_all = multiplies || has_word(kCombines, op.kind);
    if (!takes_all && !has_word(kKeepsLogits, op.kind)) return {};
    if (multiplies && data.size() != 1) return {};
    Numbers made;
    made.features = numbers_[data[0]].features;
    for (const std::size_t input : data) {
      if (numbers_[input].role != OutputRole::Logits) return made;
      if (numbers_[input].features != made.features) made.features = kNone;
      if (!takes_all) break;
    }
    made.role = OutputRole::Logits;
    const bool alone = data.size() == 1 || !takes_all;
    if (alone && (multiplies || takes_all || op.kind == "Dropout" || op.kind == "Scale")) {
      keep_order(data[0], made);
    }
    return made;
  }

  /// Whether each class is above a threshold, which a program may compute itself.
  Numbers follow_threshold(const Operator& op, const std::vector<std::size_t>& data) const {
    const Numbers& from = numbers_[data[0]];
    if (data.size() != 1) return {};
    const bool has_scores = (from.role == OutputRole::Scores || from.role == OutputRole::Logits ||
                             from.role == OutputRole::Probabilities) &&
                            from.picker == kNone;
    const std::size_t left = argument(op.inputs, "X", 0);
    const bool above = has_word("Greater GreaterOrEqual", op.kind) && left == data[0];
    const bool below = has_word("Less LessOrEqual", op.kind) && left != kNone && left != data[0];
    const bool rounds = op.kind == "Round" && from.role != OutputRole::Logits;
    Numbers made;
    if (has_scores && (above || below || rounds)) made.role = OutputRole::MultiHot;
    if (op.kind == "Where" && from.role == OutputRole::MultiHot) {
      const std::size_t yes = argument(op.inputs, "X", 1);
      const std::size_t no = argument(op.inputs, "Y", 2);
      if (is_all(yes, 1) && is_all(no, 0)) made.role = OutputRole::MultiHot;
    }
    made.features = from.features;
    made.source = source_of(data[0]);
    return made;
  }

  /// Whether every number of a value that the model fixes is this one.
  bool is_all(std::size_t index, double number) const {
    if (index == kNone || !is_known(value(index))) return false;
    const std::size_t count = count_values(value(index));
    for (std::size_t i = 0; i < count; ++i) {
      if (number_at(value(index), i) != number) return false;
    }
    return count > 0;
  }

  /// The outputs from which products compute others: features, whatever computes them.
  std::set<std::size_t> find_features() const {
    const std::set<std::size_t> outputs(outputs_.begin(), outputs_.end());
    std::vector<bool> below(graph_.values.size());
    std::vector<std::size_t> next;
    const auto add = [&](std::size_t index) {
      if (below[index]) return;
      below[index] = true;
      next.push_back(index);
    };
    for (const std::size_t output : outputs) {
      if (numbers_[output].features != kNone) add(numbers_[output].features);
    }
    std::vector<bool> sources(graph_.values.size());  // a value in another shape is the same
    while (!next.empty()) {
      const std::size_t index = next.back();
      next.pop_back();
      sources[source_of(index)] = true;
      const std::size_t producer = value(index).producer;
      if (producer == kNone) continue;
      each_value(graph_.operators[producer].inputs, add);
    }
    std::set<std::size_t> found;
    for (const std::size_t output : outputs) {
      const bool is_choice =
          numbers_[output].picker != kNone || numbers_[output].role == OutputRole::MultiHot;
      if (!is_choice && sources[source_of(output)]) found.insert(output);
    }
    return found;
  }

  std::int64_t count_classes(const Numbers& numbers) const {
    const Value& all = value(numbers.source);
    const std::ptrdiff_t count = std::count_if(all.shape.begin(), all.shape.end(),
                                               [](std::int64_t size) { return size > 1; });
    const bool known = all.has_shape && all.shape.size() > 1 && all.shape.back() > 1 && count <= 3;
    return known ? all.shape.back() : 0;
  }

  /// Fetches of .json have names of their own, by which Paddle gives the outputs.
  std::vector<std::string> name_outputs() const {
    std::map<std::size_t, std::string> fetched;
    for (const Operator& op : graph_.operators) {
      const auto* name = op.attribute<std::string>("name");
      if (op.kind != "Fetch" || name == nullptr) continue;
      each_value(op.inputs, [&](std::size_t input) { fetched.emplace(input, *name); });
    }
    std::vector<std::string> names;
    for (const std::size_t output : outputs_) {
      const auto found = fetched.find(output);
      names.push_back(found == fetched.end() ? printable(value(output).name) : found->second);
    }
    return names;
  }

  /// Joins values that were picked with the numbers of their classes.
  void find_partners(std::vector<NamedMeaning>& found) const {
    // By what picked them, and else by what they were picked of and how many there are.
    std::map<std::size_t, std::size_t> by_picker;
    std::map<std::pair<std::size_t, bool>, std::size_t> by_source;
    for (std::size_t i = 0; i < found.size(); ++i) {
      const Numbers& numbers = numbers_[outputs_[i]];
      if (numbers.role != OutputRole::ClassNumbers) continue;
      if (numbers.picker != kNone) by_picker.emplace(numbers.picker, i);
      by_source.emplace(std::pair(numbers.source, numbers.ranked), i);
    }
    for (std::size_t i = 0; i < found.size(); ++i) {
      OutputMeaning& meaning = found[i].meaning;
      const Numbers& numbers = numbers_[outputs_[i]];
      if (!meaning.picked) continue;
      std::size_t partner = kNone;
      if (const auto at = by_picker.find(numbers.picker); at != by_picker.end()) {
        partner = at->second;
      } else if (const auto same = by_source.find({numbers.source, numbers.ranked});
                 same != by_source.end()) {
        partner = same->second;
      }
      if (partner == kNone) {
        if (numbers.may_be_pooled) meaning.picked = meaning.ranked = false;
        continue;
      }
      OutputMeaning& other = found[partner].meaning;
      if (other.partner != kNoOutput) continue;
      meaning.partner = partner;
      other.partner = i;
      other.role = OutputRole::Indices;
    }
  }

  const Graph& graph_;
  const std::vector<std::size_t>& outputs_;
  std::vector<Numbers> numbers_;   ///< of each value
  std::vector<std::size_t> data_;  ///< whose memory is used again for each operator
};

}  // namespace

std::vector<NamedMeaning> describe_outputs(const Graph& graph,
                                           const std::vector<std::size_t>& outputs) {
  return Outputs(graph, outputs).describe();
}

}  // namespace lenet

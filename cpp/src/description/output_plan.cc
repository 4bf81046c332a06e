#include "description/output_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "io/printable.h"

namespace lenet {
namespace {

bool is_integer(const TensorSpec& spec) {
  return spec.dtype == "int32" || spec.dtype == "int64" || spec.dtype == "bool";
}

/// The sizes behind the images, without those of 1; open ones are -1.
Shape sizes_of(const Shape& shape) {
  Shape sizes;
  for (std::size_t i = 1; i < shape.size(); ++i) {
    if (shape[i] != 1) sizes.push_back(shape[i]);
  }
  return sizes;
}

/// Whether the classes are the first of two sizes, as a softmax along that axis says.
bool classes_come_first(const Shape& shape, int class_axis) {
  if (class_axis < 1) return false;
  for (auto i = static_cast<std::size_t>(class_axis) + 1; i < shape.size(); ++i) {
    if (shape[i] != 1) return true;
  }
  return false;
}

/// Whether each number of an image is an answer for itself.
bool gives_one_each(const OutputMeaning& meaning) {
  const bool numbers = meaning.role == OutputRole::ClassNumbers;
  return (numbers || meaning.picked) && !meaning.ranked;
}

/// An output that may be the classifier.
struct Candidate {
  std::size_t output = 0;
  int rank = 0;              ///< the greatest is taken; 0: it is none
  std::int64_t classes = 0;  ///< 0: not known
};

Candidate candidate_of(std::size_t output, const TensorSpec& spec, const OutputMeaning& meaning) {
  Candidate found{output, 0, 0};
  if (spec.shape.empty() || !spec.by_image) return found;
  const Shape sizes = sizes_of(spec.shape);
  if (sizes.size() > (gives_one_each(meaning) ? 1 : 2)) return found;  // such as of each pixel
  const bool lacks_numbers = meaning.picked && meaning.partner == kNoOutput;
  if (lacks_numbers) return found;
  if (meaning.picked || meaning.role == OutputRole::ClassNumbers) {
    found.classes = meaning.num_classes;
  } else if (sizes.empty()) {
    found.classes = 1;
  } else {
    const bool first = sizes.size() == 2 && classes_come_first(spec.shape, meaning.class_axis);
    found.classes = std::max<std::int64_t>(first ? sizes.front() : sizes.back(), 0);
  }
  switch (meaning.role) {
    case OutputRole::Probabilities:
    case OutputRole::Scores:
      found.rank = meaning.picked ? 4 : 6;
      break;
    case OutputRole::Logits:
      found.rank = meaning.picked ? 4 : 5;
      break;
    case OutputRole::MultiHot:
      found.rank = 3;
      break;
    case OutputRole::ClassNumbers:
      found.rank = 2;
      break;
    case OutputRole::Unknown:
      found.rank = meaning.picked ? 4 : is_integer(spec) ? 0 : 1;
      break;
    case OutputRole::Features:
    case OutputRole::Indices:
      break;
  }
  return found;
}

/// Why there is no classifier among the outputs.
std::string why_none(const std::vector<TensorSpec>& specs,
                     const std::vector<OutputMeaning>& meanings) {
  const TensorSpec& first = specs.front();
  const OutputMeaning& meaning = meanings.front();
  std::string what = "its output '" + printable(first.name) + "' is " + to_string(first.shape);
  if (meaning.picked) {
    what += ", the greatest values without the numbers of their classes";
  } else if (is_integer(first)) {
    what += " of " + first.dtype + ", and the program does not tell that these are class numbers";
  }
  return what + "; run_outputs gives the outputs as they are";
}

std::string quoted_names(const std::vector<TensorSpec>& specs,
                         const std::vector<Candidate>& candidates) {
  std::string names;
  for (const Candidate& one : candidates) {
    names += (names.empty() ? "'" : ", '") + printable(specs[one.output].name) + "'";
  }
  return names;
}

/// Leaves those of the greatest rank, each of other numbers.
void keep_best(std::vector<Candidate>& candidates, const std::vector<OutputMeaning>& meanings) {
  const int best =
      std::max_element(candidates.begin(), candidates.end(),
                       [](const Candidate& a, const Candidate& b) { return a.rank < b.rank; })
          ->rank;
  std::vector<Candidate> kept;
  for (const Candidate& one : candidates) {
    const auto is_same = [&](const Candidate& other) {
      return meanings[other.output].source == meanings[one.output].source;
    };
    if (one.rank == best && std::none_of(kept.begin(), kept.end(), is_same)) kept.push_back(one);
  }
  candidates = std::move(kept);
}

/// Whether several outputs are answers to different questions, and no copies of one classifier as
/// those of GoogLeNet, which help in training.
bool are_heads(const std::vector<Candidate>& candidates,
               const std::vector<OutputMeaning>& meanings) {
  const Candidate& first = candidates.front();
  const auto is_of_family = [&](const Candidate& one) {
    return meanings[one.output].family == meanings[first.output].family;
  };
  if (std::all_of(candidates.begin(), candidates.end(), is_of_family)) return true;
  const auto is_known = [](const Candidate& one) { return one.classes > 0 && one.rank > 1; };
  return std::all_of(candidates.begin(), candidates.end(), is_known) &&
         std::any_of(candidates.begin(), candidates.end(),
                     [&](const Candidate& one) { return one.classes != first.classes; });
}

OutputRole role_as_said(const OutputMeaning& meaning, const SaidOfOutputs& said) {
  const OutputRole role = meaning.role;
  const bool of_values = role == OutputRole::Unknown || role == OutputRole::Logits ||
                         role == OutputRole::Probabilities || role == OutputRole::Scores;
  if (!of_values) return role;
  if (said.softmax) return *said.softmax ? OutputRole::Logits : OutputRole::Probabilities;
  if (role != OutputRole::Unknown || !said.manifest_softmax) return role;
  return *said.manifest_softmax ? OutputRole::Probabilities : OutputRole::Logits;
}

/// The values of one answer about an image.
struct Part {
  std::string name;  ///< of several answers; or empty
  std::vector<float> values;
  std::vector<float> numbers;  ///< of picked values: their classes
};

[[noreturn]] void refuse_outputs(const OutputPlan& plan, const Shape& shape) {
  throw Error(ErrorCode::Unsupported,
              "'" + plan.model + "' is no classifier: its output is " + to_string(shape));
}

/// \returns one part, or one for each answer of the output
std::vector<Part> parts_of(const OutputPlan& plan, const Head& head,
                           const std::vector<TensorView>& outputs, std::int64_t image) {
  const TensorView& values = outputs[head.values];
  const Shape& shape = values.shape;
  const Shape sizes = sizes_of(shape);
  const bool one_each = gives_one_each(head.meaning);
  const bool has_image = !shape.empty() && image < shape[0];
  if (!has_image || sizes.size() > (one_each ? 1 : 2)) refuse_outputs(plan, shape);
  const std::size_t row = element_count(shape) / static_cast<std::size_t>(shape[0]);
  if (row == 0) refuse_outputs(plan, shape);
  const bool first = sizes.size() == 2 && classes_come_first(shape, head.meaning.class_axis);
  const std::size_t classes = one_each ? 1
                              : sizes.empty()
                                  ? 1
                                  : static_cast<std::size_t>(first ? sizes.front() : sizes.back());
  const std::size_t count = row / classes;
  const auto take = [&](const TensorView& from, std::size_t part) {
    const float* const begin = from.data + row * static_cast<std::size_t>(image);
    std::vector<float> taken(classes);
    for (std::size_t i = 0; i < classes; ++i) {
      taken[i] = begin[first ? i * count + part : part * classes + i];
    }
    return taken;
  };
  const bool has_numbers = head.numbers != kNoOutput;
  if (has_numbers && element_count(outputs[head.numbers].shape) != element_count(shape)) {
    throw Error(ErrorCode::Unsupported,
                "'" + plan.model + "' gives values " + to_string(shape) + " and class numbers " +
                    to_string(outputs[head.numbers].shape) + ", which do not match");
  }
  std::vector<Part> parts(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (plan.heads.size() > 1 || count > 1) parts[i].name = printable(head.name);
    if (count > 1) parts[i].name += "[" + std::to_string(i) + "]";
    parts[i].values = take(values, i);
    if (has_numbers) parts[i].numbers = take(outputs[head.numbers], i);
  }
  return parts;
}

std::vector<float> features_of(const OutputPlan& plan, const std::vector<TensorView>& outputs,
                               std::int64_t image) {
  const Shape& shape = outputs[0].shape;
  if (shape.empty() || image >= shape[0]) refuse_outputs(plan, shape);
  const std::size_t row = element_count(shape) / static_cast<std::size_t>(shape[0]);
  const float* const begin = outputs[0].data + row * static_cast<std::size_t>(image);
  return {begin, begin + row};
}

/// As rules and printing take it: logits of which not all are there have no softmax.
OutputRole reported_role(const Head& head, const ResultRule& rule) {
  const OutputRole role = role_for(rule, head.meaning.role);
  return head.meaning.picked && role == OutputRole::Logits ? OutputRole::Unknown : role;
}

std::string problem_of(const Part& part, const Head& head, const ResultRule& rule) {
  const std::string problem =
      problem_of(part.values.data(), part.values.size(), reported_role(head, rule));
  if (!problem.empty()) return problem;
  const auto most = static_cast<float>(head.meaning.num_classes);
  for (const float number : part.numbers) {
    if (number >= 0 && (most == 0 || number < most)) continue;
    return "a value of the class " + std::to_string(static_cast<std::int64_t>(number)) + " of " +
           std::to_string(head.meaning.num_classes);
  }
  return "";
}

std::optional<std::string> label_of(std::int64_t id, const std::vector<std::string>& labels) {
  const bool known = id >= 0 && static_cast<std::uint64_t>(id) < labels.size();
  return known ? std::optional(labels[static_cast<std::size_t>(id)]) : std::nullopt;
}

/// The classes of values that were picked, the best first.
std::vector<Prediction> picked_classes(const Part& part, const std::vector<std::string>& labels,
                                       const Wish& wish) {
  std::vector<Prediction> found;
  for (std::size_t i = 0; i < part.values.size(); ++i) {
    const float value = part.values[i];
    const auto id = static_cast<std::int64_t>(part.numbers[i]);
    if (wish.threshold && value < *wish.threshold) continue;
    found.push_back({id, value, value, label_of(id, labels)});
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const Prediction& a, const Prediction& b) { return a.value > b.value; });
  const auto most = static_cast<std::size_t>(wish.topk.value_or(std::int64_t{1} << 32));
  if (found.size() > most) found.resize(most);
  return found;
}

/// The classes that hold.
std::vector<Prediction> marked_classes(const Part& part, const std::vector<std::string>& labels) {
  std::vector<Prediction> found;
  const float none = std::numeric_limits<float>::quiet_NaN();
  for (std::size_t i = 0; i < part.values.size(); ++i) {
    const auto id = static_cast<std::int64_t>(i);
    if (part.values[i] != 0) found.push_back({id, none, none, label_of(id, labels)});
  }
  return found;
}

Finding interpret_part(const Part& part, const Head& head, const Described& described,
                       const Config& config, const Wish& wish) {
  const OutputRole role = head.meaning.role;
  const bool numbers_alone = role == OutputRole::ClassNumbers;
  const std::size_t all = head.meaning.picked || numbers_alone
                              ? static_cast<std::size_t>(head.meaning.num_classes)
                              : part.values.size();
  const std::vector<std::string> none;
  const bool named = takes_labels(all, described, config);
  const std::vector<std::string>& labels = named ? described.description.labels : none;
  if (head.meaning.picked) return {picked_classes(part, labels, wish), {}, {}, {}};
  if (role == OutputRole::MultiHot) return {marked_classes(part, labels), {}, {}, {}};
  Finding found =
      interpret(part.values.data(), part.values.size(), described.description, role, wish);
  if (named) return found;
  for (Prediction& prediction : found.predictions) prediction.label.reset();
  return found;
}

}  // namespace

bool OutputPlan::is_plain() const {
  return heads.size() == 1 && heads[0].numbers == kNoOutput &&
         heads[0].meaning.role != OutputRole::MultiHot &&
         heads[0].meaning.role != OutputRole::ClassNumbers;
}

OutputRole OutputPlan::role() const {
  if (heads.empty()) return OutputRole::Features;
  const OutputRole first = heads.front().meaning.role;
  const bool same = std::all_of(heads.begin(), heads.end(),
                                [&](const Head& head) { return head.meaning.role == first; });
  return same ? first : OutputRole::Unknown;
}

OutputPlan plan_outputs(const std::string& model, const std::vector<TensorSpec>& specs,
                        const std::vector<OutputMeaning>& meanings, const SaidOfOutputs& said) {
  OutputPlan plan;
  plan.model = model;
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const Candidate found = candidate_of(i, specs[i], meanings[i]);
    if (found.rank > 0) candidates.push_back(found);
    if (meanings[i].role == OutputRole::Features && plan.features == kNoOutput) plan.features = i;
  }
  if (candidates.empty()) {
    if (plan.features != kNoOutput) {
      plan.wanted = {plan.features};
      return plan;
    }
    throw Error(ErrorCode::Unsupported,
                "'" + model + "' is no classifier: " + why_none(specs, meanings));
  }
  std::vector<Candidate> named;
  for (const Candidate& one : candidates) {
    const auto labels = static_cast<std::int64_t>(said.labels);
    if (labels > 0 && one.classes == labels) named.push_back(one);
  }
  if (!named.empty()) candidates = std::move(named);
  keep_best(candidates, meanings);
  if (candidates.size() > 1 && !are_heads(candidates, meanings)) {
    plan.note = "the classes are those of the output '" +
                printable(specs[candidates[0].output].name) + "', the first of " +
                quoted_names(specs, candidates) + "; output_name chooses another one";
    candidates.resize(1);
  }
  const auto is_alike = [&](const Candidate& one) { return one.classes == candidates[0].classes; };
  if (std::all_of(candidates.begin(), candidates.end(), is_alike)) {
    plan.num_classes = candidates[0].classes;
  }
  plan.gives_several = candidates.size() > 1;
  for (const Candidate& one : candidates) {
    const std::size_t sizes = sizes_of(specs[one.output].shape).size();
    plan.gives_several |= sizes > (gives_one_each(meanings[one.output]) ? 0 : 1);
    Head head{specs[one.output].name, plan.wanted.size(), kNoOutput, meanings[one.output]};
    head.meaning.role = role_as_said(head.meaning, said);
    plan.wanted.push_back(one.output);
    if (head.meaning.picked) {
      head.numbers = plan.wanted.size();
      plan.wanted.push_back(head.meaning.partner);
    }
    plan.heads.push_back(std::move(head));
  }
  return plan;
}

OutputPlan plan_outputs(const Predictor& predictor, const Described& described,
                        std::optional<bool> softmax) {
  SaidOfOutputs said;
  said.labels = described.description.labels.size();
  said.softmax = softmax;
  // The manifest says nothing of a value that the user makes the output.
  if (!replaces_output(predictor.config())) said.manifest_softmax = described.softmax;
  return plan_outputs(predictor.config().model_file, predictor.output_specs(),
                      predictor.output_meanings(), said);
}

void run_plan(Predictor& predictor, const TensorView& input, const OutputPlan& plan,
              std::vector<Tensor>& outputs) {
  if (plan.wanted.size() == 1 && plan.wanted[0] == 0) {
    outputs.resize(1);
    predictor.run(input, outputs[0]);
  } else {
    std::vector<std::string> names;
    for (const std::size_t wanted : plan.wanted) {
      names.push_back(predictor.output_specs()[wanted].name);
    }
    outputs = predictor.run_outputs(input, names);
  }
  // The shape may depend on the size of the image, so that it is known only now.
  for (const Tensor& output : outputs) {
    const Shape& shape = output.shape;
    if (shape.empty() || shape[0] != input.shape[0]) refuse_outputs(plan, shape);
  }
}

std::string problem_of(const OutputPlan& plan, const ResultRule& rule,
                       const std::vector<TensorView>& outputs, std::int64_t image) {
  if (plan.heads.empty()) {
    const std::vector<float> features = features_of(plan, outputs, image);
    return problem_of(features.data(), features.size(), OutputRole::Unknown);
  }
  for (const Head& head : plan.heads) {
    for (const Part& part : parts_of(plan, head, outputs, image)) {
      const std::string problem = problem_of(part, head, rule);
      if (!problem.empty()) return problem + (part.name.empty() ? "" : " (" + part.name + ")");
    }
  }
  return "";
}

Finding interpret(const OutputPlan& plan, const std::vector<TensorView>& outputs,
                  std::int64_t image, const Described& described, const Config& config,
                  const Wish& wish) {
  Finding found;
  if (plan.heads.empty()) {
    found.features = features_of(plan, outputs, image);
    if (described.description.outputs.type == PostProcess::NormalizeFeatures) {
      return interpret(found.features.data(), found.features.size(), described.description,
                       OutputRole::Unknown, wish);
    }
  }
  for (const Head& head : plan.heads) {
    for (const Part& part : parts_of(plan, head, outputs, image)) {
      const std::string problem = problem_of(part, head, described.description.outputs);
      if (!problem.empty()) throw no_class("the image", problem, "");
      Finding one = interpret_part(part, head, described, config, wish);
      for (Prediction& prediction : one.predictions) {
        prediction.head = part.name;
        found.predictions.push_back(std::move(prediction));
      }
      found.attributes.insert(found.attributes.end(), one.attributes.begin(), one.attributes.end());
      found.flags.insert(found.flags.end(), one.flags.begin(), one.flags.end());
      found.features.insert(found.features.end(), one.features.begin(), one.features.end());
    }
  }
  return found;
}

bool gives_classes(const OutputPlan& plan, const ResultRule& rule) {
  return !plan.heads.empty() && rule.type != PostProcess::NormalizeFeatures;
}

const char* value_name(const OutputPlan& plan, const ResultRule& rule) {
  const bool known = std::all_of(plan.heads.begin(), plan.heads.end(), [&](const Head& head) {
    return gives_probability(reported_role(head, rule));
  });
  return known && !plan.heads.empty() ? "probability" : "score";
}

std::vector<TensorView> views_of(const std::vector<Tensor>& outputs) {
  std::vector<TensorView> views;
  for (const Tensor& output : outputs) views.push_back(output.view());
  return views;
}

}  // namespace lenet

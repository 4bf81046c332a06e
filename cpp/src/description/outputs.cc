#include "description/outputs.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "io/json.h"

namespace lenet {
namespace {

using Names = std::vector<std::string>;

constexpr std::int64_t kUsualTopk = 5;

std::size_t greatest(const float* outputs, std::size_t begin, std::size_t end) {
  return static_cast<std::size_t>(std::max_element(outputs + begin, outputs + end) - outputs);
}

std::vector<Prediction> above(const float* outputs, std::size_t classes, double threshold,
                              bool by_score) {
  std::vector<Prediction> found;
  for (std::size_t i = 0; i < classes; ++i) {
    const bool counts = by_score ? outputs[i] > threshold : outputs[i] >= threshold;
    if (counts) found.push_back({static_cast<std::int64_t>(i), outputs[i], outputs[i]});
  }
  if (by_score) {
    std::sort(found.begin(), found.end(), [](const Prediction& a, const Prediction& b) {
      return a.value != b.value ? a.value > b.value : a.class_id < b.class_id;
    });
  }
  return found;
}

/// One class: the second of two, or else the most probable one, if it reaches the threshold.
Prediction one_class(const std::vector<Prediction>& top, double threshold, std::int64_t other) {
  const auto of_class = [&](std::int64_t id) {
    return *std::find_if(top.begin(), top.end(),
                         [id](const Prediction& one) { return one.class_id == id; });
  };
  if (top.size() == 2) {
    const Prediction second = of_class(1);
    if (!(second.value < threshold)) return second;
    return {0, 1 - second.value, of_class(0).score};
  }
  return top[0].value > threshold ? top[0] : of_class(other);
}

// The names and places of the outputs are those of PaddleClas 2.6 (deploy/python/postprocess.py).

Names person(const float* outputs, const std::vector<double>& thresholds) {
  constexpr const char* kAges[] = {"AgeLess18", "Age18-60", "AgeOver60"};
  constexpr const char* kSides[] = {"Front", "Side", "Back"};
  constexpr const char* kBags[] = {"HandBag", "ShoulderBag", "Backpack"};
  constexpr const char* kUpper[] = {"UpperStride", "UpperLogo", "UpperPlaid", "UpperSplice"};
  constexpr const char* kLower[] = {"LowerStripe", "LowerPattern", "LongCoat",
                                    "Trousers",    "Shorts",       "Skirt&Dress"};
  const auto is = [&](std::size_t i, double threshold) { return outputs[i] > threshold; };
  const double usual = thresholds[0];
  const auto told = [](const char* what, bool yes) {
    return std::string(what) + (yes ? ": True" : ": False");
  };
  const std::size_t bag = greatest(outputs, 15, 18);
  std::string upper =
      std::string("Upper: ") + (outputs[3] > outputs[2] ? "Long" : "Short") + "Sleeve";
  for (std::size_t i = 0; i < 4; ++i) {
    if (is(4 + i, usual)) upper += std::string(" ") + kUpper[i];
  }
  std::string lower;
  for (std::size_t i = 0; i < 6; ++i) {
    if (is(8 + i, usual)) lower += std::string(" ") + kLower[i];
  }
  if (lower.empty()) lower = std::string(" ") + kLower[greatest(outputs, 8, 14) - 8];
  return {is(22, usual) ? "Female" : "Male",
          kAges[greatest(outputs, 19, 22) - 19],
          kSides[greatest(outputs, 23, 26) - 23],
          told("Glasses", is(1, thresholds[1])),
          told("Hat", is(0, usual)),
          told("HoldObjectsInFront", is(18, thresholds[2])),
          is(bag, usual) ? kBags[bag - 15] : "No bag",
          upper,
          "Lower: " + lower,
          is(14, usual) ? "Boots" : "No boots"};
}

Names vehicle(const float* outputs, const std::vector<double>& thresholds) {
  constexpr const char* kNames[] = {"yellow", "orange", "green",  "gray",      "red",
                                    "blue",   "white",  "golden", "brown",     "black",
                                    "sedan",  "suv",    "van",    "hatchback", "mpv",
                                    "pickup", "bus",    "truck",  "estate"};
  const auto told = [&](const char* what, std::size_t best, double threshold) -> std::string {
    if (!(outputs[best] >= threshold)) return std::string(what) + " unknown";
    return std::string(what) + ": (" + kNames[best] +
           ", prob: " + python_text(static_cast<double>(outputs[best])) + ")";
  };
  return {told("Color", greatest(outputs, 0, 10), thresholds[0]),
          told("Type", greatest(outputs, 10, 19), thresholds[1])};
}

Names table(const float* outputs, const std::vector<double>& thresholds) {
  constexpr const char* kNames[][2] = {{"Photo", "Scanned"},
                                       {"Numerous", "Little"},
                                       {"Multicolor", "Black-and-White"},
                                       {"Blurry", "Clear"},
                                       {"With-Obstacles", "Without-Obstacles"},
                                       {"Tilted", "Horizontal"}};
  // As there: the names of the last two go by the threshold of the number.
  constexpr std::size_t kThresholds[] = {0, 1, 2, 3, 1, 1};
  Names names;
  for (std::size_t i = 0; i < 6; ++i) {
    names.emplace_back(kNames[i][outputs[i] > thresholds[kThresholds[i]] ? 1 : 0]);
  }
  return names;
}

Finding attributes_of(const float* outputs, std::size_t classes, const ResultRule& rule,
                      const std::vector<double>& thresholds) {
  const bool of_person = rule.type == PostProcess::PersonAttribute;
  const bool of_vehicle = rule.type == PostProcess::VehicleAttribute;
  const std::size_t expected = of_person ? 26 : of_vehicle ? 19 : 6;
  if (classes != expected) {
    throw Error(ErrorCode::BadModel, "the outputs of the model are " + std::to_string(classes) +
                                         ", its description has " +
                                         (of_person    ? "Person"
                                          : of_vehicle ? "Vehicle"
                                                       : "Table") +
                                         "Attribute, which is for " + std::to_string(expected));
  }
  Finding found;
  found.attributes = of_person    ? person(outputs, thresholds)
                     : of_vehicle ? vehicle(outputs, thresholds)
                                  : table(outputs, thresholds);
  for (std::size_t i = 0; i < classes; ++i) {
    const double threshold = of_person    ? i == 1    ? thresholds[1]
                                            : i == 18 ? thresholds[2]
                                                      : 0.5
                             : of_vehicle ? thresholds[i < 10 ? 0 : 1]
                                          : thresholds[i];
    found.flags.push_back(outputs[i] > threshold ? 1 : 0);
  }
  return found;
}

/// As PaddleX's NormalizeFeatures; zeros stay zeros.
std::vector<float> of_length_1(const float* outputs, std::size_t count) {
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    sum += static_cast<double>(outputs[i]) * static_cast<double>(outputs[i]);
  }
  const double length = sum > 0 ? std::sqrt(sum) : 1;
  std::vector<float> features;
  for (std::size_t i = 0; i < count; ++i) {
    features.push_back(static_cast<float>(static_cast<double>(outputs[i]) / length));
  }
  return features;
}

}  // namespace

OutputRole role_for(const ResultRule& rule, OutputRole role) {
  const bool one_of_them = rule.type == PostProcess::Topk || rule.type == PostProcess::ThreshOutput;
  return one_of_them || role != OutputRole::Logits ? role : OutputRole::Unknown;
}

bool gives_probability(OutputRole role) {
  return role == OutputRole::Logits || role == OutputRole::Probabilities ||
         role == OutputRole::Scores;
}

bool replaces_output(const Config& config) {
  return !config.output_name.empty() && config.output_name != kEveryValue;
}

std::string problem_of(const float* outputs, std::size_t classes, OutputRole role) {
  constexpr float kBeyondIntegers = 9223372036854775808.0F;  // 2^63
  const auto is = [&](std::size_t i, const char* what) {
    return "output " + std::to_string(i) + " of " + std::to_string(classes) + " is " + what;
  };
  float greatest = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < classes; ++i) {
    if (std::isnan(outputs[i])) return is(i, "NaN");
    if (role == OutputRole::ClassNumbers && !(std::abs(outputs[i]) < kBeyondIntegers)) {
      return is(i, "no class number");
    }
    if (role == OutputRole::Logits && outputs[i] > std::numeric_limits<float>::max()) {
      return is(i, "infinite, of which a softmax makes NaN");
    }
    greatest = std::max(greatest, outputs[i]);
  }
  const bool none = role == OutputRole::Logits && std::isinf(greatest) && classes > 0;
  return none ? "all outputs are -infinity, of which a softmax makes NaN" : "";
}

Error no_class(const std::string& image, const std::string& problem, const std::string& origin) {
  return Error(ErrorCode::BadInput, image + ": the model gives no class: " + problem + origin +
                                        "; check the preprocessing and the weights");
}

std::vector<Prediction> top_classes(const float* outputs, std::size_t classes, std::size_t k,
                                    OutputRole role) {
  if (role == OutputRole::ClassNumbers) {
    std::vector<Prediction> labels;
    for (std::size_t i = 0; i < std::min(k, classes); ++i) {
      labels.push_back({static_cast<std::int64_t>(outputs[i]), std::nanf(""), std::nanf("")});
    }
    return labels;
  }
  const bool softmax = role == OutputRole::Logits;
  std::vector<std::size_t> order(classes);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(k, classes));
  // By the outputs themselves: different logits may round to one probability.
  std::partial_sort(order.begin(), end, order.end(), [&](std::size_t a, std::size_t b) {
    return outputs[a] > outputs[b] || (outputs[a] == outputs[b] && a < b);
  });
  const double greatest = static_cast<double>(outputs[order.front()]);
  const auto exponential = [&](std::size_t i) {
    return std::exp(static_cast<double>(outputs[i]) - greatest);
  };
  double sum = 0;
  for (std::size_t i = 0; softmax && i < classes; ++i) sum += exponential(i);
  std::vector<Prediction> top;
  for (auto i = order.begin(); i != end; ++i) {
    const float value = softmax ? static_cast<float>(exponential(*i) / sum) : outputs[*i];
    top.push_back({static_cast<std::int64_t>(*i), value, outputs[*i]});
  }
  return top;
}

Finding interpret(const float* outputs, std::size_t classes, const Description& description,
                  OutputRole role, const Wish& wish) {
  const ResultRule& rule = description.outputs;
  if (classes == 0) return {};
  role = role_for(rule, role);
  const std::string problem = problem_of(outputs, classes, role);
  if (!problem.empty()) throw no_class("the image", problem, "");
  std::vector<double> thresholds = rule.thresholds;
  if (wish.threshold) std::fill(thresholds.begin(), thresholds.end(), *wish.threshold);
  Finding found;
  if (rule.type == PostProcess::NormalizeFeatures) {
    found.features = of_length_1(outputs, classes);
    return found;
  }
  std::vector<Prediction>& predictions = found.predictions;
  if (role == OutputRole::ClassNumbers || rule.type == PostProcess::Topk || wish.topk) {
    const std::int64_t k = wish.topk.value_or(rule.topk.value_or(kUsualTopk));
    predictions = top_classes(outputs, classes, static_cast<std::size_t>(k), role);
    const auto is_below = [&](const Prediction& one) { return one.value < *wish.threshold; };
    if (wish.threshold) {
      predictions.erase(std::remove_if(predictions.begin(), predictions.end(), is_below),
                        predictions.end());
    }
  } else if (rule.type == PostProcess::MultiLabelThreshOutput) {
    predictions = above(outputs, classes, thresholds[0], rule.by_score);
  } else if (rule.type == PostProcess::ThreshOutput) {
    if (static_cast<std::size_t>(rule.default_class) >= classes) {
      throw Error(ErrorCode::BadModel,
                  "the model has " + std::to_string(classes) +
                      " classes, the default_label_index of its description is " +
                      std::to_string(rule.default_class));
    }
    predictions = {
        one_class(top_classes(outputs, classes, classes, role), thresholds[0], rule.default_class)};
  } else {
    return attributes_of(outputs, classes, rule, thresholds);
  }
  const bool of_two = rule.type == PostProcess::ThreshOutput && classes == 2;
  for (Prediction& prediction : predictions) {
    const auto index = static_cast<std::size_t>(prediction.class_id);
    if (of_two && index < 2) {
      prediction.label = rule.pair[index];
    } else if (index < description.labels.size()) {
      prediction.label = description.labels[index];
    }
  }
  return found;
}

bool takes_labels(std::size_t classes, const Described& described, const Config& config) {
  const std::size_t labels = described.description.labels.size();
  if (labels == 0 || classes == 0 || labels == classes) return true;
  if (!described.labels_given && replaces_output(config)) return false;
  throw Error(described.labels_given ? ErrorCode::BadInput : ErrorCode::BadModel,
              "'" + described.labels_source + "' names " + std::to_string(labels) +
                  " classes, the model has " + std::to_string(classes));
}

void require_classes(bool has_classes, const Described& described) {
  if (has_classes || !described.labels_given) return;
  throw Error(ErrorCode::BadInput, "'" + described.labels_source +
                                       "' names classes; the model gives features, which have "
                                       "none");
}

}  // namespace lenet

/// \file
/// From the outputs of a network for one image to its classes, as a description says.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "description/description.h"
#include "lenet/predictor.h"

namespace lenet {

struct Prediction {
  std::int64_t class_id = 0;
  float value = 0;                                  ///< as value_name says
  float score = 0;                                  ///< the output of this class, as it is
  std::optional<std::string> label = std::nullopt;  ///< nothing: its name is not known
  std::string head = {};  ///< of a network that gives several answers: which one
};

/// What was found in an image.
struct Finding {
  std::vector<Prediction> predictions;  ///< in the order in which they are reported
  // Of the post-processings whose name ends in Attribute, which have no predictions:
  std::vector<std::string> attributes;
  std::vector<int> flags;  ///< whether each output is above its threshold
  /// What a network gives that has no classes. NormalizeFeatures divides them by their length.
  std::vector<float> features = {};
};

/// What users ask for in place of what the description says.
struct Wish {
  std::optional<std::int64_t> topk;
  std::optional<double> threshold;
};

/// The role of outputs by which a rule goes: logits of several labels are taken as they are.
OutputRole role_for(const ResultRule& rule, OutputRole role);

/// Whether the value of a prediction is a probability; else it is a score, or there is none.
bool gives_probability(OutputRole role);

/// Whether the user makes a value of the program the output.
bool replaces_output(const Config& config);

/// Whether classes get the labels that are known of a model. The model's own are left out where
/// they are not as many as the classes, and `output_name` makes another value the output.
/// \param classes the number of classes; 0: it is not known
/// \throws Error BadModel where they are not as many, BadInput of labels that the user gives,
///   naming the labels' file.
bool takes_labels(std::size_t classes, const Described& described, const Config& config);

/// Refuses labels that the user gives for a model without classes.
/// \throws Error BadInput naming the labels' file
void require_classes(bool has_classes, const Described& described);

/// What keeps the outputs of an image from being classes and scores, which are never made of NaN:
/// an output that is NaN, a class number that is no number of 64 bits, or logits whose softmax is
/// NaN, as of infinity. -infinity, as of a log-softmax, is a number.
/// \param role as role_for gives it
/// \returns a clause, such as "output 3 of 10 is nan"; nothing when they are sound
std::string problem_of(const float* outputs, std::size_t classes, OutputRole role);

/// The error of such an image: BadInput, as other images may fare better.
/// \param image as messages name it, quoted
/// \param origin as NanOrigin::find gives it
Error no_class(const std::string& image, const std::string& problem, const std::string& origin);

/// The `k` greatest of `outputs`, the lower number first when two are equal.
/// \param outputs with which problem_of finds nothing wrong
/// \param role of logits, the values are probabilities; of class numbers, which have none, NaN; of
///   others, the outputs themselves
std::vector<Prediction> top_classes(const float* outputs, std::size_t classes, std::size_t k,
                                    OutputRole role);

/// \param role as the network's outputs are; role_for is taken of it
/// \param wish with `topk` the rule is Topk, and 5 is what it has by default; `threshold` stands
/// for
///   every threshold of the rule, and takes those of the Topk away that are below it
/// \throws Error BadModel when the outputs are not as many as the description is made for; BadInput
///   when problem_of has something to say of them.
Finding interpret(const float* outputs, std::size_t classes, const Description& description,
                  OutputRole role, const Wish& wish);

}  // namespace lenet

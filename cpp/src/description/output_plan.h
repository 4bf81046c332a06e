/// \file
/// Which outputs of a network give the classes of an image, and how.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "description/description.h"
#include "description/outputs.h"
#include "lenet/predictor.h"

namespace lenet {

/// One answer about an image; a network may give several, such as the attributes of a person. Of an
/// output [N, H, classes] each of the H places is an answer too.
struct Head {
  std::string name;                 ///< of the output
  std::size_t values = 0;           ///< place in OutputPlan::wanted
  std::size_t numbers = kNoOutput;  ///< place there of the class numbers of picked values
  OutputMeaning meaning = {};       ///< with what the user and the manifest say of it
};

/// What to run of a network, and what the results are.
struct OutputPlan {
  std::string model;                ///< as messages name it
  std::vector<std::size_t> wanted;  ///< indices in Predictor::output_specs
  std::vector<Head> heads;          ///< none: the network gives features alone
  std::int64_t num_classes =
      0;                       ///< of each head; 0: not known before a run, or not of all the same
  bool gives_several = false;  ///< answers about an image, as far as the declared shapes tell
  std::size_t features = kNoOutput;  ///< index in Predictor::output_specs
  std::string note;  ///< where several outputs could be the classifier: which was taken, and how to
                     ///< choose another one; mostly empty

  /// Whether each image has one answer, of the values of all classes, in one output.
  bool is_plain() const;
  /// What the values are, of several heads where all agree; or Unknown.
  OutputRole role() const;
};

/// What is known of outputs besides the program.
struct SaidOfOutputs {
  std::size_t labels = 0;                ///< the number of names; 0: there are none
  std::optional<bool> softmax;           ///< by the user: whether outputs are to get a softmax
  std::optional<bool> manifest_softmax;  ///< by the manifest: whether they had one
};

/// Chooses the outputs of the classifier: those with as many values as there are names; of these
/// probabilities and scores before logits, before what was picked, before the rest, and features
/// only where there is nothing else. Several that are products of the same features, or have
/// different numbers of classes, are heads; of others the first is taken, and the note says so.
/// \param model as messages name it
/// \throws Error Unsupported when no output can be a classifier's.
OutputPlan plan_outputs(const std::string& model, const std::vector<TensorSpec>& specs,
                        const std::vector<OutputMeaning>& meanings, const SaidOfOutputs& said);

/// Chooses the outputs by all that is known of a model.
/// \param softmax whether the user asks for one
/// \throws Error as above.
OutputPlan plan_outputs(const Predictor& predictor, const Described& described,
                        std::optional<bool> softmax = std::nullopt);

/// Runs a network for the outputs of a plan. \param outputs whose memory is used again
/// \throws Error as Predictor::run_outputs.
void run_plan(Predictor& predictor, const TensorView& input, const OutputPlan& plan,
              std::vector<Tensor>& outputs);

/// What keeps the outputs of an image from being classes; see problem_of in outputs.h.
/// \param outputs of a batch, as run_plan gives them
/// \param image its number in the batch
/// \throws Error Unsupported when the outputs are no classifier's, such as a class for each pixel.
std::string problem_of(const OutputPlan& plan, const ResultRule& rule,
                       const std::vector<TensorView>& outputs, std::int64_t image);

/// What the outputs say of an image of a batch, with the labels of its classes. Where a model has
/// several answers, each prediction has the name of its head.
/// \throws Error as problem_of and as interpret in outputs.h.
Finding interpret(const OutputPlan& plan, const std::vector<TensorView>& outputs,
                  std::int64_t image, const Described& described, const Config& config,
                  const Wish& wish);

/// Whether images get classes; else features.
bool gives_classes(const OutputPlan& plan, const ResultRule& rule);

/// What the values of predictions are, of all heads: "probability" or "score".
const char* value_name(const OutputPlan& plan, const ResultRule& rule);

std::vector<TensorView> views_of(const std::vector<Tensor>& outputs);

}  // namespace lenet

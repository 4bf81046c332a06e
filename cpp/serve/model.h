/// \file
/// One version of a model that is served.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "description/description.h"
#include "description/output_plan.h"
#include "lenet/image_pipeline.h"
#include "lenet/predictor.h"
#include "metrics.h"
#include "request.h"

namespace lenet::serve {

/// An element type as requests name it.
struct Datatype {
  const char* dtype;  ///< as TensorSpec has it
  const char* name;
  std::size_t size;  ///< bytes of an element
};

/// Returns the datatype of the protocol for a model's input or output.
const Datatype& datatype_of(const TensorSpec& spec);

class Model {
 public:
  /// Reads and checks a model.
  /// \param path of a program, or of a folder with one
  /// \throws Error as Predictor and apps::describe
  Model(std::string name, std::int64_t version, const std::string& path, const Options& options);
  /// Runs zeros before anything else runs, so that the first client finds the model warm.
  /// \throws Error BackendFailure when that takes longer than so many seconds
  void measure(int seconds);

  const std::string name;
  const std::string version;
  Described described;                    ///< its note is for who runs the server
  std::optional<ImagePipeline> pipeline;  ///< nothing: it is not known
  TensorSpec input;
  std::vector<TensorSpec> outputs;
  std::vector<OutputMeaning> meanings;  ///< of the outputs
  std::optional<OutputPlan> plan;       ///< nothing: the model is no classifier
  bool joins_images = false;            ///< as Predictor::joins_images: requests are not one batch
  double multiply_adds = 0;             ///< as Predictor::multiply_adds: 0 of open sizes
  double image_us = 0;  ///< of a warm run of one image; infinite where the shape is not known
  mutable Statistics statistics;

  /// A predictor for the thread that asks, until the pointer is gone.
  using Lease = std::unique_ptr<Predictor, std::function<void(Predictor*)>>;
  Lease lend();
  /// Ends the runs that the engine can end, with BackendFailure.
  void cancel();
  /// As Predictor::multiply_adds of an input. That of the last sizes is remembered.
  double multiply_adds_of(const Shape& shape);

  /// Whether an output has a score for each class, of which a request may ask for the greatest.
  bool has_score_of_each_class(std::size_t output) const;
  /// Whether the description is of this output.
  bool is_classifier(std::size_t output) const;

  // What the endpoints answer.
  nlohmann::json metadata() const;
  nlohmann::json config() const;
  nlohmann::json counted() const;
  /// Without a limit of time where its engine cannot be stopped.
  const Config& options() const { return first_->config(); }
  CompiledSizes compiled_sizes() const { return first_->compiled_sizes(); }
  /// Why it is computed in another precision than the configuration's or the model's own; or empty.
  std::string precision_reason() const { return first_->computed_precision().reason; }

 private:
  void try_out();

  std::string platform_;
  std::unique_ptr<const Predictor> first_;  // whose clones run
  std::mutex mutex_;                        // guards what follows
  std::vector<std::unique_ptr<Predictor>> idle_;
  std::set<Predictor*> running_;
  std::deque<std::pair<Shape, double>> works_;  // of images of these sizes, the last one first
};

}  // namespace lenet::serve

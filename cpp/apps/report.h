/// What the programs found, and how they print it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lenet/predictor.h"
#include "measure.h"
#include "options.h"

namespace lenet::apps {

/// Of a run of lenet_infer_test.
struct Report {
  std::string input;  ///< the file, or what was used instead
  Shape input_shape;
  Tensor output;
  std::vector<std::int64_t> classes;    ///< the greatest output of each image
  std::optional<std::int64_t> correct;  ///< classes that are those of the labels
  std::int64_t batch_size = 0;
  std::int64_t peak_bytes = 0;  ///< of resident memory
  double load_ms = 0;
  double first_run_ms = 0;
  std::optional<Latency> latency;
};

/// \param predictor that ran
std::string format_report(const char* program, const Options& options, const Predictor& predictor,
                          const Report& report);

/// Of lenet_classify.
struct Prediction {
  std::int64_t class_id = 0;
  float value = 0;  ///< as value_name says
};

struct ImageResult {
  std::string file;
  std::vector<Prediction> predictions;  ///< the most probable first
  std::string error;                    ///< why the image could not be read; empty when it could
};

/// What the value of a prediction is: "probability", or "score" of labels, which have none, and of
/// outputs of an unknown kind.
const char* value_name(OutputKind kind);

/// The `k` greatest of `outputs`, the lower number first when two are equal.
/// \param kind of logits, the values are probabilities; of labels, which are the classes
/// themselves,
///   NaN; of others, the outputs themselves
std::vector<Prediction> top_classes(const float* outputs, std::size_t classes, int k,
                                    OutputKind kind);

/// \param names of all classes; empty when they are not known
/// \param kind as top_classes had it
/// \returns text: a table; csv and json: as lenet-cpp predict writes them.
std::string format_results(const std::vector<ImageResult>& results,
                           const std::vector<std::string>& names, Format format, OutputKind kind);

}  // namespace lenet::apps

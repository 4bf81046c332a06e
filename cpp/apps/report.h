/// What the programs found, and how they print it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "description/outputs.h"
#include "lenet/predictor.h"
#include "measure.h"
#include "options.h"

namespace lenet::apps {

/// In place of a class where the outputs give none, such as NaN.
constexpr std::int64_t kNoClass = -1;

/// Of a run of lenet_infer_test.
struct Report {
  std::string input;  ///< the file, or what was used instead
  Shape input_shape;
  Tensor output;
  std::vector<std::int64_t> classes;    ///< the greatest output of each image, or kNoClass
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
struct ImageResult {
  std::string file;
  Finding found;
  std::string error;         ///< why the image could not be read; empty when it could
  std::string warning = "";  ///< mostly empty
};

/// \param value what the values of predictions are called, as value_name says
/// \returns text: a table; csv and json: as lenet-cpp predict writes them.
std::string format_results(const std::vector<ImageResult>& results, Format format,
                           const std::string& value);

}  // namespace lenet::apps

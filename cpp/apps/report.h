/// \file
/// What a run found, and how it is printed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lenet/config.h"
#include "lenet/tensor.h"
#include "measure.h"
#include "options.h"

namespace lenet::apps {

struct Accuracy {
  std::int64_t correct = 0;
  std::int64_t total = 0;
};

struct Report {
  std::string program;  ///< its name
  Config config;
  Accelerator accelerator = Accelerator::Auto;  ///< that ran the batches
  bool quantized = false;                       ///< the model
  std::string engine_version;                   ///< of the library that the engine runs on
  std::string input;                            ///< the file, or what was used instead
  Shape input_shape;
  std::string output_name;
  Tensor output;
  std::vector<std::int64_t> classes;  ///< the greatest output of each image
  std::optional<Accuracy> accuracy;
  std::int64_t batch_size = 0;
  std::int64_t peak_bytes = 0;  ///< of resident memory
  double load_ms = 0;
  double first_run_ms = 0;
  std::int64_t repeats = 0;  ///< runs to be measured
  std::optional<Latency> latency;
};

std::string format_report(const Report& report, Format format);

}  // namespace lenet::apps

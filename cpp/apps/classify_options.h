/// \file
/// The command line of lenet_classify.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lenet/config.h"

namespace lenet::apps {

enum class ResultFormat { Text, Json, Csv };

struct ClassifyOptions {
  Config config;
  std::vector<std::string> images;  ///< files and folders
  std::string preprocess;           ///< empty: preprocess.json beside the model
  std::string labels;               ///< empty: the manifest's
  std::optional<bool> softmax;      ///< none: as the manifest says, or else the model
  int topk = 5;
  std::int64_t batch_size = 1;
  ResultFormat format = ResultFormat::Text;
  std::string output;         ///< empty: standard output
  std::string output_tensor;  ///< empty: not written
  bool help = false;
  bool version = false;
};

/// \throws UsageError
ClassifyOptions parse_classify_options(int argc, char** argv);

std::string classify_help();

}  // namespace lenet::apps

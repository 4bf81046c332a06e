/// The command lines of lenet_infer_test and lenet_classify.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "command_line.h"
#include "description/step_changes.h"
#include "lenet/config.h"

namespace lenet::apps {

enum class Format { Text, Json, Csv };

struct CommonOptions {
  Config config;
  std::string labels;           ///< file; empty: none, or the manifest's
  std::string output;           ///< file; empty: none, or standard output
  std::int64_t batch_size = 0;  ///< images a run; 0: the program's default
  Format format = Format::Text;
  bool int8 = false;  ///< --precision=int8
  bool precision_given = false;
  bool use_gpu = false;  ///< --device=gpu:ID
  int gpu_id = 0;
  bool help = false;
  bool help_all = false;
  bool version = false;
};

struct Options : CommonOptions {
  std::string input;        ///< empty: zeros
  int warmup = 10;          ///< runs before the measured ones
  int repeats = 0;          ///< measured runs; 0: no measurement
  int max_seconds = 600;    ///< that warming up and measuring may take
  bool check_range = true;  ///< warn of values far beyond the model's preprocessing
  bool profile = false;     ///< print what each layer costs, and run nothing else
  std::string trace;        ///< file for the profile's Chrome trace; empty: none
};

struct ClassifyOptions : CommonOptions {
  std::vector<std::string> images;   ///< files and folders
  std::string preprocess;            ///< empty: the description beside the model
  StepChanges changes;               ///< of its steps
  std::optional<bool> softmax;       ///< none: as the model tells, or else the manifest
  std::optional<std::int64_t> topk;  ///< none: as the description says
  std::optional<double> threshold;   ///< likewise
  std::string output_tensor;         ///< empty: not written
  bool skip_errors = false;
};

/// Both take the model from the first argument that is no option, unless an option names it or the
/// program's own file holds it.
/// \throws UsageError
Options parse_options(int argc, char** argv);
ClassifyOptions parse_classify_options(int argc, char** argv);

/// \param program the name of the program
/// \param all describe every option, and not only those that most users need
std::string help_text(const std::string& program, bool all);
std::string classify_help(bool all);

}  // namespace lenet::apps

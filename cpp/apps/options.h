/// \file
/// The command line of lenet_infer_test.
#pragma once

#include <cstdint>
#include <string>

#include "command_line.h"
#include "lenet/config.h"

namespace lenet::apps {

enum class Format { Text, Json };

struct Options {
  Config config;
  std::string input;            ///< empty: zeros
  std::string labels;           ///< empty: no accuracy
  std::string output;           ///< empty: nothing written
  std::int64_t batch_size = 0;  ///< images a run; 0: 64 with an input file, 1 without
  int warmup = 10;              ///< runs before the measured ones
  int repeats = 0;              ///< measured runs; 0: no measurement
  int max_seconds = 600;        ///< that warming up and measuring may take
  Format format = Format::Text;
  bool check_range = true;  ///< warn of values far beyond the model's preprocessing
  bool profile = false;     ///< print what each layer costs, and run nothing else
  std::string trace;        ///< file for the profile's Chrome trace; empty: none
  bool help = false;
  bool version = false;
};

/// \throws UsageError
Options parse_options(int argc, char** argv);

/// \param program the name of the program
std::string help_text(const std::string& program);

}  // namespace lenet::apps

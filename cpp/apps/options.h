/// \file
/// The command line of lenet_infer_test.
#pragma once

#include <stdexcept>
#include <string>

#include "lenet/config.h"
#include "lenet/error.h"

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
  Format format = Format::Text;
  bool help = false;
  bool version = false;
};

/// A command line that cannot be understood; `what()` says which argument and why.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message) : Error(ErrorCode::BadInput, message) {}
};

/// \throws UsageError
Options parse_options(int argc, char** argv);

std::string help_text();

}  // namespace lenet::apps

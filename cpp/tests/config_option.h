/// \file
/// A configuration from text.
#pragma once

#include <string>

#include "lenet/config.h"

namespace lenet::tests {

/// Sets the field of that name. \returns whether there is one
inline bool set_option(Config& config, const std::string& name, const std::string& value) {
  const bool yes = value != "false";
  if (name == "model_file") return config.model_file = value, true;
  if (name == "params_file") return config.params_file = value, true;
  if (name == "model_dir") return config.model_dir = value, true;
  if (name == "engine") return config.engine = value, true;
  if (name == "precision") return config.precision = value, true;
  if (name == "ir_optim") return config.ir_optim = yes, true;
  if (name == "memory_optim") return config.memory_optim = yes, true;
  if (name == "check_finite") return config.check_finite = yes, true;
  if (name == "check_program") return config.check_program = yes, true;
  if (name == "check_hashes") return config.check_hashes = yes, true;
  if (name == "accelerator") return config.accelerator = parse_accelerator(value), true;
  if (name == "threads") return config.threads = std::stoi(value), true;
  if (name == "max_batch_size") return config.max_batch_size = std::stoll(value), true;
  return false;
}

}  // namespace lenet::tests

/// \file
/// Flags that every program has.
#pragma once

#include <string>

#include "command_line.h"
#include "lenet/config.h"

namespace lenet::apps {

/// model_file, params_file, model_dir, check_program, check_hashes.
void add_model_flags(CommandLine& line, Config& config);

/// engine, accelerator, precision, int8, threads, ir_optim, time_limit_ms, memory_optim.
void add_engine_flags(CommandLine& line, Config& config);

/// version, help.
void add_information_flags(CommandLine& line, bool& version, bool& help);

/// \throws UsageError unless the model is named, in one way.
void require_model(const Config& config);

/// The exit codes and what signals do, for the end of a help text.
std::string exit_code_help();

}  // namespace lenet::apps

/// \file
/// What every program does around its work: signals, errors, exit codes, printing.
#pragma once

#include <functional>
#include <string>

namespace lenet::apps {

/// Runs `work` and prints what it returns on standard output; prints an error as one line on
/// standard error, beginning with `name`. `work` calls `catch_interrupts` once it knows what to do.
/// \returns the exit code.
int run_program(const char* name, const std::function<std::string()>& work);

/// What --version prints.
std::string version_text(const char* name);

}  // namespace lenet::apps

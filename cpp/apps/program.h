/// What every program does around its work: signals, errors, exit codes, printing.
#pragma once

#include <functional>
#include <string>

#include "lenet/error.h"

namespace lenet::apps {

/// Thrown by work that did a part of what it was to do: `result` is printed before the error.
struct PartialResult {
  std::string result;
  Error error;
};

/// Runs `work` and prints what it returns on standard output; prints an error as one line on
/// standard error, beginning with `name`. SIGINT (Ctrl-C), SIGTERM and SIGHUP end the program by
/// that signal at the next call of `stop_if_interrupted`, which this thread's loads and decoding
/// make too. A second signal ends it at once; so does
/// a timer of a few seconds, for work that does not make that call.
/// \returns the exit code.
int run_program(const char* name, const std::function<std::string()>& work);

/// Writes a line to standard error, such as "NAME: warning: TEXT", as terminal_text() shows it.
/// \param kind "warning", "note" or what the error is
void print_message(const char* name, const char* kind, const std::string& text);

/// Ends the work when a signal has come; what it unwinds removes its temporary files.
void stop_if_interrupted();

/// What --version prints.
std::string version_text(const char* name);

}  // namespace lenet::apps

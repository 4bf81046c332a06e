/// \file
/// Ending early: SIGINT (Ctrl-C), SIGTERM and SIGHUP, without leaving half a file.
#pragma once

namespace lenet::apps {

/// Thrown where the program can stop; what it unwinds removes its temporary files.
struct Interrupted {
  int signal;
};

/// From now on these signals set a flag that `stop_if_interrupted` looks at. A second one ends the
/// program at once, and so does the first when the program has not stopped seconds later.
void catch_interrupts();

/// \throws Interrupted when a signal has come.
void stop_if_interrupted();

/// Ends the program by the signal itself, so that the caller sees what happened (128 + its number
/// in a shell).
[[noreturn]] void end_by(int signal);

}  // namespace lenet::apps

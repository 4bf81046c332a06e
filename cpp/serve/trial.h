/// \file
/// Loading a model in a process of its own first. A file that kills whoever loads it then kills
/// that process, and the server goes on.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lenet/error.h"

namespace lenet::serve {

/// How a trial ended.
struct Trial {
  enum class End {
    Loaded,
    Refused,     ///< with an error
    Died,        ///< crashed, was killed, or took too long
    Stopped,     ///< because the server stops
    NotStarted,  ///< the system gave no process
  };
  End end = End::Loaded;
  ErrorCode code = ErrorCode::BackendFailure;  ///< of Refused
  std::string problem;  ///< one line: the error of Refused, what happened otherwise
};

/// Runs a program that loads a model, and waits for its end.
/// \param command the program's file and its arguments; it ends with 0, or with the number of an
///   ErrorCode after the line "PROGRAM: CODE: MESSAGE", as run_program() has it
/// \param seconds after which it is killed; 0: none
/// \param stops asked again and again; true kills it
Trial try_load(const std::vector<std::string>& command, int seconds,
               const std::function<bool()>& stops);

/// In the process that loads the model: it writes no memory image when it crashes, ends with the
/// server, and is killed before the server where memory runs out.
/// \param seconds as try_load(), for each processor; 0: none
void restrict_trial(int seconds) noexcept;

}  // namespace lenet::serve

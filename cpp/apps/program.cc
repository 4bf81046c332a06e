#include "program.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <new>

#include "command_line.h"
#include "interrupt.h"
#include "lenet/engines.h"
#include "lenet/version.h"

namespace lenet::apps {
namespace {

constexpr int kExitOutput = 1;
constexpr int kExitUsage = 2;
constexpr int kExitClosedPipe = 128 + SIGPIPE;

int print_out(const char* name, const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return 0;
  const int error = errno;
  if (error == EPIPE) return kExitClosedPipe;
  stop_if_interrupted();
  std::fprintf(stderr, "%s: error: cannot write to standard output: %s\n", name,
               std::strerror(error));
  return kExitOutput;
}

int fail(const char* name, ErrorCode code, const char* message) {
  std::fprintf(stderr, "%s: %s: %s\n", name, to_string(code), message);
  return static_cast<int>(code);
}

int print_work(const char* name, const std::function<std::string()>& work) try {
  return print_out(name, work());
} catch (const Error&) {
  stop_if_interrupted();  // whatever the signal made to fail
  throw;
}

}  // namespace

int run_program(const char* name, const std::function<std::string()>& work) {
  // A closed pipe (`| head -1`) then shows as a failed write instead of ending the program.
  std::signal(SIGPIPE, SIG_IGN);
  // Likewise a file grown beyond the limit on its size (`ulimit -f`).
  std::signal(SIGXFSZ, SIG_IGN);
  // Paddle's passes for bf16 and int8 report there; what the programs say they write to stderr.
  std::cerr.setstate(std::ios_base::failbit);
  try {
    return print_work(name, work);
  } catch (const Interrupted& interrupted) {
    end_by(interrupted.signal);
  } catch (const UsageError& error) {
    std::fprintf(stderr, "%s: %s (see --help)\n", name, error.what());
    return kExitUsage;
  } catch (const Error& error) {
    return fail(name, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return fail(name, ErrorCode::BackendFailure, "out of memory");
  } catch (const std::exception& error) {
    return fail(name, ErrorCode::BackendFailure, error.what());
  }
}

std::string version_text(const char* name) {
  std::string text = std::string(name) + " " + version() + "\n";
  for (const EngineInfo& engine : available_engines()) {
    text += engine.name + " " + engine.version +
            (engine.version.empty() ? "is not available: " + engine.unavailable : "") + "\n";
  }
  return text;
}

}  // namespace lenet::apps

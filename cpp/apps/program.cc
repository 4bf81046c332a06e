#include "program.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#include "command_line.h"
#include "engines/paddle/paddle.h"
#include "io/printable.h"
#include "lenet/engines.h"
#include "lenet/interruption.h"
#include "lenet/version.h"
#include "platform/platform.h"

namespace lenet::apps {
namespace {

constexpr int kExitOutput = 1;
constexpr int kExitUsage = 2;
struct Interrupted {};

int fail(const char* name, int code, const char* kind, const char* message) {
  if (platform::is_asked_to_end()) platform::end_as_asked();  // which made this fail
  print_message(name, kind, message);
  return code;
}

int print_out(const char* name, const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (written && std::fflush(stdout) == 0) return 0;
  if (errno == EPIPE) return platform::closed_pipe_status();
  return fail(name, kExitOutput, "error: cannot write to standard output", std::strerror(errno));
}

}  // namespace

int run_program(const char* name, const std::function<std::string()>& work) {
  const auto failed = [&](ErrorCode code, const char* message) {
    return fail(name, static_cast<int>(code), to_string(code), message);
  };
  platform::handle_signals();
  silence_paddle();
  // A signal also ends a load or the decoding of an image in this thread.
  const Interruption watch(stop_if_interrupted);
  try {
    return print_out(name, work());
  } catch (const Interrupted&) {
    platform::end_as_asked();
  } catch (const PartialResult& part) {
    const int code = print_out(name, part.result);
    return code != 0 ? code : failed(part.error.code(), part.error.what());
  } catch (const UsageError& error) {
    std::fprintf(stderr, "%s: %s (see --help)\n", name, terminal_text(error.what()).c_str());
    return kExitUsage;
  } catch (const Error& error) {
    return failed(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return failed(ErrorCode::BackendFailure, "out of memory");
  } catch (const std::exception& error) {
    return failed(ErrorCode::BackendFailure, error.what());
  }
}

void print_message(const char* name, const char* kind, const std::string& text) {
  std::fprintf(stderr, "%s: %s: %s\n", name, kind, terminal_text(text).c_str());
}

void stop_if_interrupted() {
  if (platform::is_asked_to_end()) throw Interrupted{};
}

std::string version_text(const char* name) {
  std::string text = std::string(name) + " " + version() + "\n";
  for (const EngineInfo& engine : available_engines()) {
    text += engine.name + " " + engine.version +
            (engine.version.empty() ? "is not available: " + engine.unavailable : "") + "\n";
  }
  return text + "native bf16 " + describe_bf16() + "\n";
}

}  // namespace lenet::apps

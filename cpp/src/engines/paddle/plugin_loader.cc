#include <dlfcn.h>
#include <link.h>

#include <filesystem>
#include <string_view>

#include "engines/paddle/paddle.h"
#include "engines/shared_library.h"
#include "io/file.h"
#include "platform/platform.h"

namespace lenet {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPluginFile = "liblenet_paddle.so";
constexpr const char* kPythonStubsFile = "liblenet_python_stubs.so";
constexpr char kPlaceholder = 'X';
constexpr const char* kWheelLibrary = "libpaddle.so";

[[noreturn]] void fail(ErrorCode code, const std::string& message) {
  throw Error(code, message +
                        "; run ./run.sh, install paddlepaddle" LENET_PADDLE_RANGE
                        ", or set LENET_PADDLE_LIBRARY to the library file; the native engine "
                        "needs none");
}

[[noreturn]] void fail_to_load() {
  const std::string message = platform::last_library_error();
  ErrorCode code = ErrorCode::BackendFailure;
  if (message.find("cannot open shared object file") != std::string::npos) {
    code = ErrorCode::FileNotFound;
  } else if (message.find("undefined symbol") != std::string::npos) {
    code = ErrorCode::VersionMismatch;
  }
  fail(code, "cannot load the Paddle Inference library: " + message);
}

void* open_library(const std::string& path, int flags) {
  void* handle = dlopen(path.c_str(), flags);
  if (handle == nullptr) fail_to_load();
  return handle;
}

/// The wheel's library refers to about 226 symbols of the Python interpreter. In a program without
/// one they are given by stubs that nothing calls.
///
/// Only that library may see the stubs: in the global namespace they would take the place of the
/// real functions in an interpreter that the program opens later. A library that is opened looks
/// for symbols in what needs it, so the stubs' library is made to need this one: it is linked to
/// one with a name long enough for any path, which is replaced in a copy.
void open_beside_stubs(const fs::path& stubs, const std::string& library, int flags) {
  std::string bytes = read_file(stubs.string());
  const std::size_t at = bytes.find(std::string(LENET_PLACEHOLDER_LENGTH, kPlaceholder));
  if (at == std::string::npos || library.size() > LENET_PLACEHOLDER_LENGTH) {
    throw Error(ErrorCode::BackendFailure, "'" + stubs.string() + "' cannot be made to need '" +
                                               library + "'; build lenet anew");
  }
  bytes.replace(at, LENET_PLACEHOLDER_LENGTH,
                library + std::string(LENET_PLACEHOLDER_LENGTH - library.size(), '\0'));
  const MemoryFile copy(bytes);
  open_library(copy.path(), flags);
}

/// The archive's library and the wheel's define the same symbols and crash in one process.
void refuse_second_paddle() {
  if (std::string_view(LENET_PADDLE_SONAME) == kWheelLibrary) return;
  const auto is_wheel_library = [](dl_phdr_info* info, std::size_t, void*) {
    const std::string_view name(info->dlpi_name == nullptr ? "" : info->dlpi_name);
    const auto slash = name.rfind('/');
    return static_cast<int>(name.substr(slash + 1) == kWheelLibrary && slash != name.npos);
  };
  if (dl_iterate_phdr(is_wheel_library, nullptr) != 0) {
    throw Error(
        ErrorCode::Unsupported,
        "this build of lenet uses the Paddle Inference archive, and this process has loaded "
        "the paddle Python package; the two libraries crash together. Use one process for "
        "each, or a build of lenet against the wheel");
  }
}

PaddlePlugin open_plugin(const std::string& chosen) {
  std::error_code failed;
  if (fs::current_path(failed).empty()) {  // Paddle's MKL would end the process
    throw Error(ErrorCode::FileNotFound,
                "the current folder is missing, which Paddle needs: change to another folder");
  }
  Dl_info own = {};
  dladdr(reinterpret_cast<const void*>(&open_plugin), &own);
  const fs::path folder = fs::path(own.dli_fname == nullptr ? "" : own.dli_fname).parent_path();
  refuse_second_paddle();
  // Once the library is in the process, the plug-in's reference to its soname resolves to it.
  const fs::path stubs = folder / kPythonStubsFile;
  if (dlsym(RTLD_DEFAULT, "Py_IsInitialized") == nullptr && fs::exists(stubs, failed)) {
    // A program of our Python package: Paddle's lies beside it, which the copy cannot know.
    const fs::path beside = folder / ".." / "paddle" / "base" / kWheelLibrary;
    const std::string usual = fs::exists(beside, failed) ? beside.string() : kWheelLibrary;
    open_beside_stubs(stubs, chosen.empty() ? usual : chosen,
                      (chosen.empty() ? RTLD_NOW : RTLD_LAZY) | RTLD_LOCAL);
  } else if (!chosen.empty()) {
    open_library(chosen, RTLD_LAZY | RTLD_LOCAL);
  }
  void* handle = open_library((folder / kPluginFile).string(), RTLD_NOW | RTLD_LOCAL);
  const auto get = reinterpret_cast<GetPaddlePlugin>(dlsym(handle, kPaddlePluginSymbol));
  if (get == nullptr) fail_to_load();
  const PaddlePlugin& opened = *get();
  const auto version = parse_version(opened.version);
  if (version < parse_version(LENET_PADDLE_MIN) || version >= parse_version(LENET_PADDLE_END)) {
    fail(ErrorCode::VersionMismatch,
         "Paddle " + opened.version + " was found, this build supports " LENET_PADDLE_RANGE);
  }
  return opened;
}

LazyLibrary<PaddlePlugin> plugin("LENET_PADDLE_LIBRARY", open_plugin);

}  // namespace

const PaddlePlugin& load_paddle_plugin() { return plugin.get(); }

const EngineLibrary kPaddleLibrary = {LENET_PADDLE_SONAME,
                                      [](const std::string& path) { plugin.set_path(path); },
                                      [] { return plugin.get().version; }};

}  // namespace lenet

#include "engines/onnxruntime/onnxruntime_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include "engines/onnxruntime/engine.h"
#include "engines/shared_library.h"
#include "lenet/error.h"

namespace lenet {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFileName = "libonnxruntime.so";
constexpr const char* kSoname = "libonnxruntime.so.1";
constexpr std::pair kOldest = {1, 17};

[[noreturn]] void fail(ErrorCode code, const std::string& message) {
  throw Error(code, message +
                        "; install it (pip install 'onnxruntime>=1.19'), or set "
                        "LENET_ONNXRUNTIME_LIBRARY to the library file (libonnxruntime.so)");
}

/// In the folder that was known at build time; the wheel has its version in the file's name.
std::string built_with() {
  std::error_code failed;
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(LENET_ONNXRUNTIME_DIR, failed)) {
    if (entry.path().filename().string().rfind(kFileName, 0) == 0) {
      found.push_back(entry.path().string());
    }
  }
  return found.empty() ? "" : *std::min_element(found.begin(), found.end());
}

void* open_library(const std::string& named) {
  std::error_code failed;
  if (!named.empty() && !fs::exists(named, failed)) {
    fail(ErrorCode::FileNotFound, "there is no onnxruntime library '" + named + "'");
  }
  const std::string chosen = named.empty() ? built_with() : named;
  void* handle = dlopen(chosen.empty() ? kSoname : chosen.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle != nullptr) return handle;
  const std::string reason = last_dl_error();
  if (chosen.empty()) {
    fail(ErrorCode::Unsupported,
         "the onnxruntime engine needs the library of that name, which was not found");
  }
  fail(ErrorCode::BackendFailure, "cannot load the onnxruntime library: " + reason);
}

/// Without "/onnxruntime_src/FILE:LINE SIGNATURE ".
std::string without_place(std::string text) {
  const auto begin = text.find("/onnxruntime_src/");
  if (begin == std::string::npos) return text;
  // A signature may have several parentheses, such as operator()(const T&).
  auto end = text.find('(', begin);
  for (int depth = 0; end < text.size() && (depth > 0 || text[end] == '('); ++end) {
    if (text[end] == '(') ++depth;
    if (text[end] == ')') --depth;
  }
  if (end >= text.size()) return text;
  constexpr std::string_view kConst = " const";
  if (text.compare(end, kConst.size(), kConst) == 0) end += kConst.size();
  return text.erase(begin, text.find_first_not_of(' ', end) - begin);
}

/// What goes wrong is told by an Error; the library's own log would only repeat it.
void ignore_log(void*, ort::LogLevel, const char*, const char*, const char*, const char*) {}

OnnxRuntimeLibrary open(const std::string& path) {
  void* handle = open_library(path);
  const auto get_base = reinterpret_cast<ort::GetApiBase>(dlsym(handle, ort::kGetApiBaseSymbol));
  if (get_base == nullptr) {
    fail(ErrorCode::BackendFailure,
         "the library that was named is not onnxruntime: " + last_dl_error());
  }
  OnnxRuntimeLibrary opened;
  opened.version = get_base()->GetVersionString();
  const std::string name = "onnxruntime " + opened.version;
  if (parse_version(opened.version) < kOldest) {
    fail(ErrorCode::VersionMismatch, name + " was found, 1.17 or later is needed");
  }
  opened.api = get_base()->GetApi(ort::kApiVersion);
  if (opened.api == nullptr) {
    fail(ErrorCode::VersionMismatch, name + " has no longer the API of 1.17");
  }
  ort::Status* status = opened.api->CreateEnvWithCustomLogger(&ignore_log, nullptr, ort::kLogFatal,
                                                              "lenet", &opened.environment);
  if (status != nullptr) {
    fail(ErrorCode::BackendFailure, name + " does not start: " + take_message(*opened.api, status));
  }
  return opened;
}

LazyLibrary<OnnxRuntimeLibrary> library("LENET_ONNXRUNTIME_LIBRARY", open);

}  // namespace

const OnnxRuntimeLibrary& load_onnxruntime() { return library.get(); }

std::string take_message(const ort::Api& api, ort::Status* status) {
  std::string message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  message.resize(std::min(message.find('\n'), message.size()));
  // An error inside another says all that there is to say: "[ONNXRuntimeError] : CODE : NAME : ".
  constexpr std::string_view kColon = " : ";
  auto inner = message.rfind("[ONNXRuntimeError]");
  for (int i = 0; i < 3 && inner != std::string::npos; ++i) inner = message.find(kColon, inner + 1);
  if (inner != std::string::npos) message.erase(0, inner + kColon.size());
  return without_place(std::move(message));
}

const EngineLibrary kOnnxRuntimeLibrary = {kFileName,
                                           [](const std::string& path) { library.set_path(path); },
                                           [] { return library.get().version; }};

}  // namespace lenet

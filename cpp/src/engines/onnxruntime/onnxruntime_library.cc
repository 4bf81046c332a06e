#include "engines/onnxruntime/onnxruntime_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "engines/onnxruntime/engine.h"
#include "engines/shared_library.h"
#include "lenet/error.h"

namespace lenet {
namespace fs = std::filesystem;
namespace {

constexpr const char* kLibraryVariable = "LENET_ONNXRUNTIME_LIBRARY";
constexpr const char* kFileName = "libonnxruntime.so";
constexpr const char* kSoname = "libonnxruntime.so.1";
constexpr std::tuple kOldest = {1, 17};
constexpr const char* kRemedy =
    "; install it (pip install 'onnxruntime>=1.19'), or set LENET_ONNXRUNTIME_LIBRARY to the "
    "library file (libonnxruntime.so)";

std::mutex mutex;
std::string library_path;                   // guarded by mutex
std::optional<OnnxRuntimeLibrary> library;  // guarded by mutex

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

void* open_library() {
  const char* variable = std::getenv(kLibraryVariable);
  const bool is_set = variable != nullptr && *variable != '\0';
  const std::string named = is_set ? variable : library_path;
  std::error_code failed;
  if (!named.empty() && !fs::exists(named, failed)) {
    throw Error(ErrorCode::FileNotFound,
                "there is no onnxruntime library '" + named + "'" + kRemedy);
  }
  const std::string chosen = named.empty() ? built_with() : named;
  void* handle = dlopen(chosen.empty() ? kSoname : chosen.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle != nullptr) return handle;
  const std::string reason = last_dl_error();
  if (chosen.empty()) {
    throw Error(ErrorCode::Unsupported,
                "the onnxruntime engine needs the library of that name, which was not found" +
                    std::string(kRemedy));
  }
  throw Error(ErrorCode::BackendFailure,
              "cannot load the onnxruntime library: " + reason + kRemedy);
}

void require_supported(const std::string& version) {
  int major = 0;
  int minor = 0;
  const bool is_version = std::sscanf(version.c_str(), "%d.%d", &major, &minor) == 2;
  if (is_version && std::tuple(major, minor) >= kOldest) return;
  throw Error(ErrorCode::VersionMismatch,
              "onnxruntime " + version + " was found, 1.17 or later is needed" + kRemedy);
}

/// The end of what is in parentheses from `open` on; the end of the text when they are not closed.
std::size_t end_of_parentheses(const std::string& text, std::size_t open) {
  int depth = 0;
  for (std::size_t at = open; at < text.size(); ++at) {
    if (text[at] == '(') ++depth;
    if (text[at] == ')' && --depth == 0) return at + 1;
  }
  return text.size();
}

/// Without "/onnxruntime_src/FILE:LINE SIGNATURE ".
std::string without_place(std::string text) {
  const auto begin = text.find("/onnxruntime_src/");
  if (begin == std::string::npos) return text;
  auto end = text.find('(', begin);
  while (end < text.size() && text[end] == '(')
    end = end_of_parentheses(text, end);  // operator()()
  if (end >= text.size()) return text;
  constexpr std::string_view kConst = " const";
  if (text.compare(end, kConst.size(), kConst) == 0) end += kConst.size();
  return text.erase(begin, text.find_first_not_of(' ', end) - begin);
}

/// What goes wrong is told by an Error; the library's own log would only repeat it.
void ignore_log(void*, ort::LogLevel, const char*, const char*, const char*, const char*) {}

OnnxRuntimeLibrary open() {
  void* handle = open_library();
  const auto get_base = reinterpret_cast<ort::GetApiBase>(dlsym(handle, ort::kGetApiBaseSymbol));
  if (get_base == nullptr) {
    throw Error(ErrorCode::BackendFailure,
                "the library that was named is not onnxruntime: " + last_dl_error() + kRemedy);
  }
  const ort::ApiBase* base = get_base();
  OnnxRuntimeLibrary opened;
  opened.version = base->GetVersionString();
  require_supported(opened.version);
  opened.api = base->GetApi(ort::kApiVersion);
  if (opened.api == nullptr) {
    throw Error(ErrorCode::VersionMismatch,
                "onnxruntime " + opened.version + " has no longer the API of 1.17" + kRemedy);
  }
  require_success(*opened.api,
                  opened.api->CreateEnvWithCustomLogger(&ignore_log, nullptr, ort::kLogFatal,
                                                        "lenet", &opened.environment),
                  "starting");
  return opened;
}

}  // namespace

const OnnxRuntimeLibrary& load_onnxruntime() {
  const std::lock_guard<std::mutex> lock(mutex);
  if (!library) library = open();
  return *library;
}

std::string plain_message(std::string message) {
  message.resize(std::min(message.find('\n'), message.size()));
  // An error inside another says all that there is to say: "[ONNXRuntimeError] : CODE : NAME : ".
  constexpr std::string_view kColon = " : ";
  auto inner = message.rfind("[ONNXRuntimeError]");
  for (int i = 0; i < 3 && inner != std::string::npos; ++i) inner = message.find(kColon, inner + 1);
  if (inner != std::string::npos) message.erase(0, inner + kColon.size());
  return without_place(std::move(message));
}

void require_success(const ort::Api& api, ort::Status* status, const char* doing) {
  if (status == nullptr) return;
  const std::string message = plain_message(api.GetErrorMessage(status));
  api.ReleaseStatus(status);
  throw Error(ErrorCode::BackendFailure,
              std::string("onnxruntime failed while ") + doing + ": " + message);
}

const EngineLibrary kOnnxRuntimeLibrary = {kFileName,
                                           [](const std::string& path) {
                                             const std::lock_guard<std::mutex> lock(mutex);
                                             library_path = path;
                                           },
                                           [] { return load_onnxruntime().version; }};

}  // namespace lenet

// An onnxruntime that never comes to an end with the session of a model in which the word
// LENET_NEVER_LOADS is, as the real one did with some equations of Einsum; that ends the process
// with the session of a model with the word LENET_CRASHES; and that adds 1 to the first value of
// each output where ONNXRUNTIME_IS_WRONG is set. All else is that of the library
// REAL_ONNXRUNTIME. For LENET_ONNXRUNTIME_LIBRARY.
#include <dlfcn.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

namespace {

using Function = void* (*)(...);
struct Base {
  const Function* (*get_api)(unsigned version);
  const char* (*version)();
};

// By onnxruntime_c_api.h.
constexpr int kCreateSession = 7;
constexpr int kRun = 9;
constexpr int kGetTensorMutableData = 51;
constexpr std::size_t kFunctions = 217;
Function table[kFunctions];
Function real_create_session;
Function real_run;

void* create_session(void* environment, const char* path, void* options, void* session) {
  std::ifstream file(path, std::ios::binary);
  const std::string model{std::istreambuf_iterator<char>(file), {}};
  if (model.find("LENET_CRASHES") != std::string::npos) std::raise(SIGSEGV);
  static volatile bool goes_on = true;
  while (model.find("LENET_NEVER_LOADS") != std::string::npos && goes_on) {
  }
  return real_create_session(environment, path, options, session);
}

void* run(void* session, void* options, const char* const* input_names, void* const* inputs,
          std::size_t input_count, const char* const* output_names, std::size_t output_count,
          void** outputs) {
  void* const status = real_run(session, options, input_names, inputs, input_count, output_names,
                                output_count, outputs);
  for (std::size_t i = 0; status == nullptr && i < output_count; ++i) {
    float* values = nullptr;
    table[kGetTensorMutableData](outputs[i], &values);
    values[0] += 1;
  }
  return status;
}

const Base* real() {
  static const auto get = reinterpret_cast<const Base* (*)()>(
      dlsym(dlopen(std::getenv("REAL_ONNXRUNTIME"), RTLD_NOW), "OrtGetApiBase"));
  return get();
}

const Function* get_api(unsigned version) {
  std::memcpy(table, real()->get_api(version), sizeof(table));
  real_create_session = table[kCreateSession];
  table[kCreateSession] = reinterpret_cast<Function>(create_session);
  if (std::getenv("ONNXRUNTIME_IS_WRONG") == nullptr) return table;
  real_run = table[kRun];
  table[kRun] = reinterpret_cast<Function>(run);
  return table;
}

}  // namespace

extern "C" const Base* OrtGetApiBase() {
  static const Base base = {get_api, [] { return real()->version(); }};
  return &base;
}

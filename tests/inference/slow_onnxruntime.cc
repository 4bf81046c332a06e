// An onnxruntime that never comes to an end with the session of a model in which the word
// LENET_NEVER_LOADS is, as the real one did with some equations of Einsum, and that ends the
// process with the session of a model with the word LENET_CRASHES. All else is that of the library
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
constexpr std::size_t kFunctions = 217;
Function table[kFunctions];
Function real_create_session;

void* create_session(void* environment, const char* path, void* options, void* session) {
  std::ifstream file(path, std::ios::binary);
  const std::string model{std::istreambuf_iterator<char>(file), {}};
  if (model.find("LENET_CRASHES") != std::string::npos) std::raise(SIGSEGV);
  static volatile bool goes_on = true;
  while (model.find("LENET_NEVER_LOADS") != std::string::npos && goes_on) {
  }
  return real_create_session(environment, path, options, session);
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
  return table;
}

}  // namespace

extern "C" const Base* OrtGetApiBase() {
  static const Base base = {get_api, [] { return real()->version(); }};
  return &base;
}

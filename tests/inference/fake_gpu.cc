// A Paddle and an onnxruntime that say that they were built with CUDA, print what is asked of the GPU,
// and compute on the processor. Preloaded, it takes the place of Paddle's functions; as
// LENET_ONNXRUNTIME_LIBRARY it hands on what the library FAKE_ONNXRUNTIME has.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace phi::backends::gpu {
int GetGPUDeviceCount() { return std::atoi(std::getenv("FAKE_GPUS")); }
}  // namespace phi::backends::gpu

namespace paddle {
struct AnalysisConfig {
  enum class Precision { kFloat32 = 0 };
  void EnableUseGpu(unsigned long megabytes, int device, Precision precision);
};
void AnalysisConfig::EnableUseGpu(unsigned long megabytes, int device, Precision precision) {
  std::fprintf(stderr, "Paddle: %lu MB, GPU %d, precision %d\n", megabytes, device,
               static_cast<int>(precision));
}
}  // namespace paddle

namespace {

using Function = void* (*)(...);
struct Base {
  const Function* (*get_api)(unsigned version);
  const char* (*version)();
};

// Places in the table of functions, by onnxruntime_c_api.h.
constexpr int kCreateStatus = 0;
constexpr int kAppend = 204;
constexpr int kCreate = 205;
constexpr int kUpdate = 206;
constexpr int kRelease = 208;
Function table[1024];
int options;

void* create(int** made) {
  *made = &options;
  return nullptr;
}
void* update(int* given, const char* const* names, const char* const* values, std::size_t count) {
  if (given != &options) std::abort();
  for (std::size_t i = 0; i < count; ++i) std::fprintf(stderr, "%s=%s\n", names[i], values[i]);
  return nullptr;
}
void* append(void*, const int* given) {
  const char* const failure = std::getenv("FAKE_FAILURE");
  std::fprintf(stderr, "CUDA %s\n", given == &options ? "appended" : "?");
  constexpr int kFail = 1;
  return failure == nullptr ? nullptr : table[kCreateStatus](kFail, failure);
}
void release(int* given) { std::fprintf(stderr, "CUDA %s\n", given == &options ? "released" : "?"); }

const Base* real() {
  static const auto get = reinterpret_cast<const Base* (*)()>(
      dlsym(dlopen(std::getenv("FAKE_ONNXRUNTIME"), RTLD_NOW), "OrtGetApiBase"));
  return get();
}

const Function* get_api(unsigned version) {
  std::memcpy(table, real()->get_api(version), 217 * sizeof(Function));
  table[kAppend] = reinterpret_cast<Function>(append);
  table[kCreate] = reinterpret_cast<Function>(create);
  table[kUpdate] = reinterpret_cast<Function>(update);
  table[kRelease] = reinterpret_cast<Function>(release);
  return table;
}

}  // namespace

extern "C" const Base* OrtGetApiBase() {
  static const Base base = {get_api, [] { return real()->version(); }};
  return &base;
}

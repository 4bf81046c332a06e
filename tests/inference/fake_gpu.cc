// A Paddle and an onnxruntime that say that they were built with CUDA, print what is asked of the
// GPU, and compute on the processor. Preloaded, it takes the place of Paddle's functions; as
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

// The first of four places in the table of functions, by onnxruntime_c_api.h: create, update, one
// that is not called, release. What appends a provider is in the place before.
struct Provider {
  const char* name;
  int create;
  int options;
};
Provider providers[] = {{"TensorRT", 171, 0}, {"CUDA", 205, 0}};
constexpr int kCreateStatus = 0;
constexpr int kFail = 1;
Function table[1024];

template <int kWhich>
void* create(int** made) {
  *made = &providers[kWhich].options;
  return nullptr;
}
template <int kWhich>
void* update(int* given, const char* const* names, const char* const* values, std::size_t count) {
  if (given != &providers[kWhich].options) std::abort();
  for (std::size_t i = 0; i < count; ++i) std::fprintf(stderr, "%s=%s\n", names[i], values[i]);
  return nullptr;
}
template <int kWhich>
void say(const int* given, const char* what) {
  const Provider& provider = providers[kWhich];
  std::fprintf(stderr, "%s %s\n", provider.name, given == &provider.options ? what : "?");
}
template <int kWhich>
void* append(void*, const int* given) {
  const char* const failure = std::getenv("FAKE_FAILURE");
  say<kWhich>(given, "appended");
  return failure == nullptr ? nullptr : table[kCreateStatus](kFail, failure);
}
template <int kWhich>
void release(int* given) {
  say<kWhich>(given, "released");
}
constexpr int kRun = 9;
Function real_run;
void* run(void* session, void* options, void* names, void* inputs, std::size_t input_count,
          void* output_names, std::size_t output_count, void* outputs) {
  std::fprintf(stderr, "run\n");
  static int fails = std::getenv("FAKE_FULL") == nullptr ? 0 : std::atoi(std::getenv("FAKE_FULL"));
  constexpr const char* kFull = "running Conv: CUDA error cudaErrorMemoryAllocation:out of memory";
  if (fails-- > 0) return table[kCreateStatus](kFail, kFull);
  return real_run(session, options, names, inputs, input_count, output_names, output_count,
                  outputs);
}
template <int kWhich>
void replace() {
  const int first = providers[kWhich].create;
  table[first - 1] = reinterpret_cast<Function>(append<kWhich>);
  table[first] = reinterpret_cast<Function>(create<kWhich>);
  table[first + 1] = reinterpret_cast<Function>(update<kWhich>);
  table[first + 3] = reinterpret_cast<Function>(release<kWhich>);
}

const Base* real() {
  static const auto get = reinterpret_cast<const Base* (*)()>(
      dlsym(dlopen(std::getenv("FAKE_ONNXRUNTIME"), RTLD_NOW), "OrtGetApiBase"));
  return get();
}

const Function* get_api(unsigned version) {
  std::memcpy(table, real()->get_api(version), 217 * sizeof(Function));
  replace<0>();
  replace<1>();
  real_run = table[kRun];
  table[kRun] = reinterpret_cast<Function>(run);
  return table;
}

}  // namespace

extern "C" const Base* OrtGetApiBase() {
  static const Base base = {get_api, [] { return real()->version(); }};
  return &base;
}

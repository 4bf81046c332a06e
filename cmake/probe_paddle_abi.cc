/// Measures, on the Paddle library at hand, what cpp/compat/paddle_inference_api.h takes for
/// granted. Run by cmake/ProbePaddleAbi.cmake; says on standard output what it finds.
///
///     probe_paddle_abi [NAME.pdmodel NAME.pdiparams]
#include <malloc.h>
#include <paddle_inference_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <vector>

namespace {

// Every allocation of the process goes through the operators below, those of the library too.
constexpr std::size_t kWatched = 4096;
struct Allocation {
  void* pointer;
  std::size_t bytes;
};
Allocation watched[kWatched];
std::size_t watched_count = 0;
bool watching = false;
long long outstanding_bytes = 0;

void* allocate(std::size_t bytes) {
  void* pointer = std::malloc(bytes);
  if (pointer == nullptr) std::abort();
  __atomic_add_fetch(&outstanding_bytes, static_cast<long long>(malloc_usable_size(pointer)),
                     __ATOMIC_RELAXED);
  if (watching && watched_count < kWatched) watched[watched_count++] = {pointer, bytes};
  return pointer;
}

void release(void* pointer) {
  __atomic_sub_fetch(&outstanding_bytes, static_cast<long long>(malloc_usable_size(pointer)),
                     __ATOMIC_RELAXED);
  std::free(pointer);
}

}  // namespace

void* operator new(std::size_t bytes) { return allocate(bytes); }
void* operator new[](std::size_t bytes) { return allocate(bytes); }
void operator delete(void* pointer) noexcept { release(pointer); }
void operator delete[](void* pointer) noexcept { release(pointer); }
void operator delete(void* pointer, std::size_t) noexcept { release(pointer); }
void operator delete[](void* pointer, std::size_t) noexcept { release(pointer); }

namespace {

using paddle_infer::Config;
using paddle_infer::Tensor;

[[noreturn]] void moved(const std::string& what) {
  std::printf("MOVED: %s\n", what.c_str());
  std::fflush(stdout);
  std::_Exit(1);
}

void require(bool holds, const std::string& what) {
  if (!holds) moved(what);
}

/// A crash later on is then reported for the right call.
void checking(const char* what) {
  std::printf("checking %s\n", what);
  std::fflush(stdout);
}

/// The end of what `construct` writes into the memory handed to it, whatever was there before.
template <typename Construct>
std::size_t bytes_touched(Construct construct) {
  constexpr std::size_t kRoom = 1 << 16;
  constexpr unsigned char kGuards[] = {0xa5, 0x5a};
  alignas(std::max_align_t) static unsigned char room[2][kRoom];
  for (int i = 0; i < 2; ++i) {
    std::memset(room[i], kGuards[i], kRoom);
    construct(static_cast<void*>(room[i]));
  }
  std::size_t end = kRoom;
  while (end > 0 && room[0][end - 1] == kGuards[0] && room[1][end - 1] == kGuards[1]) --end;
  return end;
}

void probe_config() {
  checking("the size of AnalysisConfig");
  const std::size_t made = bytes_touched([](void* place) { new (place) Config(); });
  static Config* const original = new (std::malloc(1 << 16)) Config();
  const std::size_t copied = bytes_touched([](void* place) { new (place) Config(*original); });
  const std::size_t touched = std::max(made, copied);
  std::printf("AnalysisConfig touches %zu bytes of %zu\n", touched, sizeof(Config));
  require(touched > 0, "the constructor of AnalysisConfig writes nothing");
  require(touched <= sizeof(Config), "AnalysisConfig needs " + std::to_string(touched) +
                                         " bytes, the header reserves " +
                                         std::to_string(sizeof(Config)));
}

void probe_version() {
  checking("GetVersion (the C++ ABI of std::string)");
  const std::string text = paddle_infer::GetVersion();
  constexpr const char* kKey = "version: ";
  require(text.compare(0, std::strlen(kKey), kKey) == 0,
          "GetVersion says '" + text.substr(0, 40) + "', not 'version: ...'");
  const std::string version = text.substr(std::strlen(kKey), text.find('\n') - std::strlen(kKey));
  std::printf("VERSION %s\n", version.c_str());
}

/// The address that a string without memory of its own (up to 15 characters) points to.
bool is_short_string(const unsigned char* at) {
  const unsigned char* text = nullptr;
  std::memcpy(&text, at, sizeof(text));
  return text == at + 2 * sizeof(void*);
}

void probe_tensor(paddle_infer::Predictor& predictor) {
  checking("the layout of Tensor");
  const std::string name = predictor.GetInputNames().at(0);
  predictor.GetInputHandle(name);
  const long long before = outstanding_bytes;
  watched_count = 0;
  watching = true;
  auto handle = predictor.GetInputHandle(name);
  watching = false;
  const Allocation* const end = watched + watched_count;
  // Memory is reused within a call: the last allocation at that place is the handle's.
  std::size_t bytes = 0;
  for (const Allocation* it = watched; it != end; ++it) {
    if (it->pointer == handle.get()) bytes = it->bytes;
  }
  std::printf("Tensor is %zu bytes of %zu\n", bytes, sizeof(Tensor));
  require(bytes == sizeof(Tensor), "Tensor is " + std::to_string(bytes) +
                                       " bytes, the header declares " +
                                       std::to_string(sizeof(Tensor)));
  const auto* object = reinterpret_cast<const unsigned char*>(handle.get());
  require(static_cast<const void*>(&handle->name()) == object && handle->name() == name,
          "Tensor does not begin with its name");
  require(is_short_string(object + sizeof(Tensor) - sizeof(std::string)),
          "Tensor does not end with a string");
  require(handle->type() == paddle_infer::DataType::FLOAT32, "DataType::FLOAT32 has another value");
  handle.reset();
  const long long left = outstanding_bytes - before;
  require(left == 0, "destroying a Tensor leaves " + std::to_string(left) + " bytes behind");
}

void probe_disposal(paddle_infer::Predictor& predictor) {
  checking("that the library disposes of a clone");
  const auto clone = [&] {
    return std::shared_ptr<paddle_infer::Predictor>(predictor.Clone().release());
  };
  clone();  // what the first clone makes for good does not count
  const long long before = outstanding_bytes;
  auto copy = clone();
  const long long taken = outstanding_bytes - before;
  copy.reset();
  const long long left = outstanding_bytes - before;
  std::printf("a clone takes %lld bytes and leaves %lld\n", taken, left);
  require(taken > 0 && left < taken / 2,
          "disposing of a Predictor does not reach the library's "
          "destructor: of " +
              std::to_string(taken) + " bytes " + std::to_string(left) + " stay");
}

void probe_run(paddle_infer::Predictor& predictor) {
  checking("a run and its output hook");
  static std::vector<std::int64_t> seen;
  predictor.RegisterOutputHook(
      [](const std::string&, const std::string&, const paddle::Tensor& tensor) {
        if (tensor.initialized() && tensor.dtype() == phi::DataType::FLOAT32) seen = tensor.shape();
      });
  auto input = predictor.GetInputHandle(predictor.GetInputNames().at(0));
  auto output = predictor.GetOutputHandle(predictor.GetOutputNames().at(0));
  std::vector<int> shape;
  const auto declared = predictor.GetInputTensorShape();
  for (const auto size : declared.begin()->second) {
    shape.push_back(size < 0 ? 1 : static_cast<int>(size));
  }
  std::size_t count = 1;
  for (const int size : shape) count *= static_cast<std::size_t>(size);
  input->Reshape(shape);
  input->CopyFromCpu(std::vector<float>(count).data());
  require(predictor.Run(), "Run() fails");
  const std::vector<int> got = output->shape();
  require(seen == std::vector<std::int64_t>(got.begin(), got.end()) && !seen.empty(),
          "the output hook sees no float32 tensor of the output's shape");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    probe_config();
    probe_version();
    if (argc == 3) {
      Config config;
      config.SetModel(argv[1], argv[2]);
      config.DisableGpu();
      config.DisableGlogInfo();
      config.DisableONEDNN();
      config.SwitchIrOptim(0);
      config.SetCpuMathLibraryNumThreads(1);
      checking("that a model loads");
      const auto predictor = paddle_infer::CreatePredictor(config);
      probe_tensor(*predictor);
      probe_run(*predictor);
      // Last: with the new executor off, destroying a clone frees the weights of its origin.
      probe_disposal(*predictor);
    }
  } catch (const std::exception& error) {
    const std::string text = error.what();
    moved("an exception: " + text.substr(text.size() > 400 ? text.size() - 400 : 0));
  }
  std::printf("SOUND\n");
  std::fflush(stdout);
  // Nothing of interest happens in the library's destructors.
  std::_Exit(0);
}

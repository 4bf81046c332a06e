/// Loads a file once and says what that took; run by growth.py.
///
///     lenet_measure_loading fp32|int8 FILE_OR_FOLDER
///
/// It prints `RESULT BLOCKS ALLOCATED PEAK SECONDS`: "loaded" or the name of an error; the basic
/// blocks that the readers executed (0 in a build without LENET_COUNT_BLOCKS); the bytes that were
/// allocated altogether; the most that were allocated at one time; and the processor's time.
#include <malloc.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <new>
#include <string>

#include "classify_files.h"
#include "lenet/error.h"
#include "lenet/image_pipeline.h"
#include "lenet/predictor.h"

#ifdef LENET_COUNT_BLOCKS
extern "C" std::uint64_t lenet_executed_blocks();
#else
static std::uint64_t lenet_executed_blocks() { return 0; }
#endif

namespace {

std::uint64_t allocated = 0;
std::uint64_t held = 0;
std::uint64_t peak = 0;

void* count(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  const std::uint64_t size = malloc_usable_size(memory);
  allocated += size;
  held += size;
  peak = std::max(peak, held);
  return memory;
}

void release(void* memory) noexcept {
  held -= malloc_usable_size(memory);
  std::free(memory);
}

void load(const std::string& precision, const std::filesystem::path& path) {
  if (path.filename() == "preprocess.json" || path.filename() == "inference.yml") {
    lenet::ImagePipeline::load(path.string());
  } else if (path.filename() == "manifest.json") {
    lenet::read_manifest((path.parent_path() / "model.pdmodel").string(), false);
  } else {
    lenet::Config config;
    config.engine = lenet::EngineKind::Native;
    config.precision = lenet::parse_precision(precision);
    (std::filesystem::is_directory(path) ? config.model_dir : config.model_file) = path.string();
    const lenet::Predictor predictor(config);
  }
}

}  // namespace

void* operator new(std::size_t size) { return count(std::malloc(size)); }
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept {
  void* memory = std::malloc(size);
  return memory == nullptr ? nullptr : count(memory);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  const auto whole = static_cast<std::size_t>(alignment);
  return count(std::aligned_alloc(whole, (size + whole - 1) / whole * whole));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept { release(memory); }
void operator delete(void* memory, std::size_t /*size*/, std::align_val_t /*alignment*/) noexcept {
  release(memory);
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: lenet_measure_loading fp32|int8 FILE_OR_FOLDER\n");
    return 2;
  }
  const std::uint64_t blocks = lenet_executed_blocks();
  std::string result = "loaded";
  std::string message;
  try {
    load(argv[1], argv[2]);
  } catch (const lenet::Error& error) {
    result = lenet::to_string(error.code());
    message = error.what();
  } catch (const std::bad_alloc&) {
    result = "out-of-memory";
  }
  std::printf("%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %.2f\n%s\n", result.c_str(),
              lenet_executed_blocks() - blocks, allocated, peak,
              static_cast<double>(std::clock()) / CLOCKS_PER_SEC, message.substr(0, 400).c_str());
  return 0;
}

/// \file
/// In place of what a module for browsers does without: files, threads, the other formats of
/// models, the limits of the machine.
#include <cstring>

#include "engines/engine.h"
#include "engines/native/kernels/dispatch.h"
#include "engines/native/machine_limits.h"
#include "engines/native/runtime/thread_pool.h"
#include "io/file.h"
#include "lenet/error.h"
#include "model/hash_check.h"
#include "model/readers.h"
#include "platform/platform.h"

namespace lenet {
namespace {

[[noreturn]] void refuse_format(const std::string& path) {
  throw Error(ErrorCode::Unsupported, "'" + path + "': only a .pdmodel runs in a browser");
}

}  // namespace

std::string name_other_engine(const Config& /*config*/, const Model& /*model*/) { return ""; }

std::string read_file(const std::string& path) {
  throw Error(ErrorCode::FileNotFound, "cannot read '" + path + "': there are no files");
}

MemoryFile::MemoryFile(std::string_view contents)
    : size_(contents.size()), mapped_(::operator new(contents.size())) {
  std::memcpy(mapped_, contents.data(), size_);
}
MemoryFile::~MemoryFile() { ::operator delete(mapped_); }
std::shared_ptr<const MemoryFile> MemoryFile::read(const std::string& path) {
  return std::make_shared<const MemoryFile>(read_file(path));
}

namespace platform {

std::size_t begin_of_name(const std::string& /*path*/) noexcept { return 0; }
bool is_plain_name(const std::string& name) { return name.find('/') == std::string::npos; }
void use_large_pages(void* /*memory*/, std::size_t /*bytes*/) noexcept {}
bool may_use_tiles() noexcept { return false; }

}  // namespace platform

void HashCheck::operator()(const std::string& path, std::string_view /*contents*/) {
  if (enabled_) read_file(path);
}

Graph read_pir_program(std::string_view /*bytes*/, const std::string& path, bool /*lenient*/) {
  refuse_format(path);
}
OnnxProgram read_onnx_program(std::string_view /*bytes*/, const std::string& path) {
  refuse_format(path);
}
void set_external_contents(OnnxProgram& /*program*/, const std::string& path,
                           const std::function<std::string_view(const std::string&)>& /*read*/) {
  refuse_format(path);
}

namespace native {

// One thread does all the work.
class ThreadPool::Worker {};
struct ThreadPool::Workers {};
ThreadPool::ThreadPool(std::size_t most) : most_(most) {}
ThreadPool::~ThreadPool() = default;
void ThreadPool::run(std::size_t /*count*/, const Job& job) { job.call(job.what, 0); }
void Team::share(std::uint32_t parts) {
  for (std::uint32_t part = 0; part < parts; ++part) call_(what_, 0, part);
}
void Team::follow(std::size_t /*thread*/) {}

Bf16Choice choose_bf16() { return {&choose_bf16_kernels(), {}}; }
MultiplyAddLimit measure_multiply_add_limit(double /*seconds*/, Arithmetic /*arithmetic*/) {
  return {};
}
double measure_memory_limit(double /*seconds*/) { return 0; }

}  // namespace native
}  // namespace lenet

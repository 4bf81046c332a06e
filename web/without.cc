/// \file
/// In place of what a module for browsers does without: files, threads, the other formats of
/// models, arithmetic in int8, the limits of the machine.
#include <cstring>

#include "engines/engine.h"
#include "engines/native/int8/program.h"
#include "engines/native/kernels/dispatch.h"
#include "engines/native/machine_limits.h"
#include "engines/native/passes/passes.h"
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
[[noreturn]] void refuse_int8() {
  throw Error(ErrorCode::Unsupported, "a quantized model does not run in a browser");
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

// Not reached: the module asks for float32, for which the engine refuses quantized models.
void round_as_onednn(Network& /*network*/) { refuse_int8(); }
void take_roundings(Network& /*network*/) { refuse_int8(); }
namespace int8 {

const Kernels kSimd128{};
bool has_kernels(const Network& /*network*/) { return false; }
std::unique_ptr<Op> make_rounded_layer(const FloatLayer& /*source*/) { refuse_int8(); }
Program::Program(Network network, const Kernels& kernels, std::int64_t min_shared_bytes)
    : native::Program(1, min_shared_bytes), kernels_(kernels), file_bytes_(network.file_bytes) {
  refuse_int8();
}
void Program::prepare(std::shared_ptr<SharedArrays> /*shared*/) {}
std::int64_t Program::image_bytes() const noexcept { return largest_floats_; }
void Program::write_rows(const float** /*images*/, std::int64_t /*channel*/, std::int64_t /*begin*/,
                         std::int64_t /*end*/, const Frame& /*frame*/,
                         std::int64_t /*unit*/) const {}
const float* Program::output_row(const Placement& /*tensor*/, const Frame& /*frame*/,
                                 std::int64_t /*unit*/, std::int64_t /*row*/) const {
  return nullptr;
}

}  // namespace int8
}  // namespace native
}  // namespace lenet

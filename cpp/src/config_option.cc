#include "config_option.h"

#include <charconv>
#include <system_error>
#include <utility>

#include "lenet/error.h"

namespace lenet {
namespace {

[[noreturn]] void refuse(std::string_view name, std::string_view text,
                         const std::string& expected) {
  throw Error(ErrorCode::BadInput,
              std::string(name) + " is '" + std::string(text) + "'; expected " + expected);
}

constexpr std::pair<Precision, const char*> kPrecisions[] = {{Precision::Fp32, "fp32"},
                                                             {Precision::Bf16, "bf16"},
                                                             {Precision::Int8, "int8"},
                                                             {Precision::Tf32, "tf32"}};
constexpr std::pair<Accelerator, const char*> kAccelerators[] = {
    {Accelerator::Auto, "auto"},
    {Accelerator::Plain, "plain"},
    {Accelerator::OneDnn, "onednn"},
    {Accelerator::OpenVino, "openvino"},
    {Accelerator::TensorRt, "tensorrt"}};

template <typename Names, typename Value>
const char* name_of(const Names& names, Value searched) noexcept {
  for (const auto& [value, name] : names) {
    if (value == searched) return name;
  }
  return "?";
}

template <typename Value, std::size_t kSize>
Value parse(const std::pair<Value, const char*> (&names)[kSize], std::string_view text,
            const char* what) {
  std::string known;
  for (const auto& [value, name] : names) {
    if (text == name) return value;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  throw Error(ErrorCode::BadInput,
              "unknown " + (what + (" '" + std::string(text))) + "'; choose one of " + known);
}

template <auto kField, auto... kLeast>
void set(Config& config, std::string_view shown, std::string_view text) {
  parse_value(shown, text, config.*kField, kLeast...);
}

template <auto kField, auto kParse>
void choose(Config& config, std::string_view /*shown*/, std::string_view text) {
  config.*kField = kParse(text);
}

}  // namespace

const char* to_string(Precision precision) noexcept { return name_of(kPrecisions, precision); }

const char* to_string(Accelerator accelerator) noexcept {
  return name_of(kAccelerators, accelerator);
}

Precision parse_precision(std::string_view name) { return parse(kPrecisions, name, "precision"); }

Accelerator parse_accelerator(std::string_view name) {
  return parse(kAccelerators, name, "accelerator");
}

const std::array<ConfigOption, 20> kConfigOptions = {{
    {"model_file", "FILE", "program: NAME.pdmodel, NAME.json or NAME.onnx",
     set<&Config::model_file>},
    {"params_file", "FILE",
     "parameters (default: NAME.pdiparams beside the program; not used with .onnx)",
     set<&Config::params_file>},
    {"model_dir", "DIR",
     "folder of an exported model, or of __model__ with one file for each variable; replaces both "
     "options above",
     set<&Config::model_dir>},
    {"check_program", "true|false",
     "refuse unknown operators, and programs that could crash Paddle (default: true; use false "
     "only for a trusted model with other operators)",
     set<&Config::check_program>},
    {"check_hashes", "true|false", "compare the files with SHA256SUMS beside them (default: true)",
     set<&Config::check_hashes>},
    {"check_finite", "true|false",
     "refuse NaN and infinity in the input and the parameters (default: true)",
     set<&Config::check_finite>},
    {"engine", "NAME",
     "inference engine (default: auto, the fastest that runs the model and supports the other "
     "options): ",
     choose<&Config::engine, parse_engine>},
    {"accelerator", "NAME",
     "auto, plain, onednn, openvino, or tensorrt for a GPU (default: auto: onednn for bf16 and "
     "int8; in float32 openvino for a .pdmodel, and for other formats plain for a single image of "
     "a small model, otherwise onednn)",
     choose<&Config::accelerator, parse_accelerator>},
    {"precision", "NAME",
     "arithmetic: fp32, bf16, int8 for a quantized model, or tf32 for a GPU (default: fp32)",
     choose<&Config::precision, parse_precision>},
    {"device", "NAME",
     "cpu, gpu or gpu:ID (default: cpu). A GPU needs the engine paddle or onnxruntime, with a "
     "library that was built with CUDA",
     set<&Config::device>},
    {"gpu_mem", "MB",
     "GPU memory: Paddle allocates this much at first, onnxruntime at most (default: 0, which "
     "means 100 for Paddle, and all memory for onnxruntime)",
     set<&Config::gpu_mem, 0>},
    {"threads", "N", "CPU threads of a run (default: 1)", set<&Config::threads, 1>},
    {"ir_optim", "true|false", "let the engine fuse and rewrite operators (default: true)",
     set<&Config::ir_optim>},
    {"memory_optim", "true|false", "let intermediate results share memory (default: false)",
     set<&Config::memory_optim>},
    {"max_batch_size", "N",
     "split larger batches into pieces of N images (default: 0, which means 64 for each thread, "
     "and with tf32 the whole batch)",
     set<&Config::max_batch_size, 0>},
    {"time_limit_ms", "N",
     "end a run with an error after N milliseconds (default: 0, no limit; not supported by Paddle)",
     set<&Config::time_limit_ms, 0>},
    {"load_seconds", "N",
     "abandon a load by Paddle or onnxruntime after N seconds (default: 120; 0: no limit)",
     set<&Config::load_seconds, 0>},
    {"output_name", "NAME",
     "compute only this value of the program, in the native engine: a name that --profile prints, "
     "or features, the input of the classifier; *: every value (default: the outputs)",
     set<&Config::output_name>},
    {"max_sizes", "N",
     "compile a model with open sizes for at most N sizes in the native engine, and refuse others "
     "(default: 0: compile any size, and keep the last 8)",
     set<&Config::max_sizes, 0>},
    {"self_check", "true|false",
     "compare the model with the plain program when it is loaded, and refuse it where they differ "
     "(default: false)",
     set<&Config::self_check>},
}};

std::int64_t parse_integer(std::string_view name, std::string_view text, std::int64_t least,
                           std::int64_t most) {
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [last, failure] = std::from_chars(text.data(), end, value);
  if (failure != std::errc() || last != end || value < least || value > most) {
    const bool bounded = most < std::numeric_limits<std::int32_t>::max();
    refuse(name, text,
           "an integer, " + std::to_string(least) +
               (bounded ? " to " + std::to_string(most) : std::string(" or more")));
  }
  return value;
}

int gpu_number(std::string_view device) {
  constexpr std::string_view kGpu = "gpu";
  if (device == "cpu") return -1;
  if (device == kGpu) return 0;
  if (device.substr(0, kGpu.size() + 1) == "gpu:") {
    constexpr std::int64_t kMax = 1023;
    return static_cast<int>(parse_integer("device", device.substr(kGpu.size() + 1), 0, kMax));
  }
  refuse("device", device, "cpu, gpu or gpu:ID");
}

void parse_value(std::string_view name, std::string_view text, bool& value) {
  value = text == "true" || text == "1";
  if (!value && text != "false" && text != "0") refuse(name, text, "true or false");
}

void set_option(Config& config, std::string_view name, std::string_view text) {
  std::string names;
  for (const ConfigOption& option : kConfigOptions) {
    if (name == option.name) return option.set(config, name, text);
    names += (names.empty() ? "" : ", ") + std::string(option.name);
  }
  throw Error(ErrorCode::BadInput,
              "unknown option '" + std::string(name) + "'; choose one of " + names);
}

}  // namespace lenet

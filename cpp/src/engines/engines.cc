#include "lenet/engines.h"

#include <algorithm>

#include "config_option.h"
#include "engines/engine.h"
#include "engines/native/machine_limits.h"
#include "engines/native/native_engine.h"
#include "engines/onnxruntime/engine.h"
#include "engines/paddle/paddle.h"
#include "engines/plain/plain_engine.h"
#include "lenet/error.h"
#include "lenet/version.h"

namespace lenet {
namespace {

constexpr const char* kAuto = "auto";

template <typename Value>
bool contains(const std::vector<Value>& values, Value value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

const EngineLibrary kOwnKernels = {"", [](const std::string&) {},
                                   [] { return std::string(version()); }};

constexpr const char* kTf32Remedy = "on a GPU onnxruntime has it, for an .onnx";

/// Whether it compiles the model, which takes less than to load it with another library.
bool runs_native(const Config& config, const Model& model) try {
  create_native_engine(config, model)->prepare();
  return true;
} catch (const Error&) {
  return false;
}

/// In the order in which Auto tries them.
const std::vector<EngineRow>& engine_rows() {
  static const std::vector<EngineRow> rows = {
      {EngineKind::Native,
       "native",
       kOwnKernels,
       {},
       "",
       {Precision::Fp32, Precision::Bf16, Precision::Int8},
       kTf32Remedy,
       {Accelerator::Plain},
       false,
       [](const Config& config) {
         return config.accelerator == Accelerator::Auto && config.ir_optim && !config.memory_optim;
       },
       [](const Config& config, const std::shared_ptr<const Model>& model) {
         return create_native_engine(config, *model);
       },
       true,
       true,
       false,
       [](Accelerator) { return false; },
       [](const Config&) {},
       runs_native},
      {EngineKind::OnnxRuntime,
       "onnxruntime",
       kOnnxRuntimeLibrary,
       {ModelFormat::Onnx},
       "lenet-cpp export-onnx makes an .onnx of it; the paddle engine runs it as it is",
       {Precision::Fp32, Precision::Tf32},
       "a model runs in the arithmetic that it was exported with; use fp32, or the native engine",
       {Accelerator::Plain, Accelerator::TensorRt},
       true,
       [](const Config&) { return true; },
       create_onnxruntime_engine,
       true,
       false,
       true,
       [](Accelerator) { return true; },
       [](const Config&) {},
       takes_onnx_model},
      {EngineKind::Paddle,
       "paddle",
       kPaddleLibrary,
       {ModelFormat::Pdmodel, ModelFormat::Json, ModelFormat::Separate},
       "lenet-cpp import makes a Paddle model of it; the onnxruntime engine runs it as it is",
       {Precision::Fp32, Precision::Bf16, Precision::Int8},
       kTf32Remedy,
       {Accelerator::Plain, Accelerator::OneDnn, Accelerator::OpenVino},
       true,
       [](const Config&) { return true; },
       create_paddle_engine,
       false,
       false,
       false,
       [](Accelerator accelerator) { return accelerator == Accelerator::OpenVino; },
       require_paddle_options,
       takes_paddle_model},
      // Auto never takes it, and no message advises it: it judges the others.
      {EngineKind::Plain,
       "plain",
       kOwnKernels,
       {},
       "",
       {Precision::Fp32, Precision::Int8},
       "it computes what the program says in double; use fp32, or int8 for a quantized model",
       {Accelerator::Plain},
       false,
       [](const Config&) { return false; },
       create_plain_engine,
       true,
       true,
       false,
       [](Accelerator) { return false; },
       [](const Config&) {},
       [](const Config&, const Model&) { return false; }},
  };
  return rows;
}

bool reads(const EngineRow& row, ModelFormat format) {
  return row.formats.empty() || contains(row.formats, format);
}

const EngineRow& row_of(EngineKind engine) {
  for (const EngineRow& row : engine_rows()) {
    if (row.kind == engine) return row;
  }
  throw Error(ErrorCode::BadInput, "auto is no engine of its own; name one");
}

void require_gpu_options(const EngineRow& row, const Config& config) {
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::Unsupported, "device " + config.device + ": " + why);
  };
  if (!row.has_gpu) {
    std::string others;
    for (const EngineRow& other : engine_rows()) {
      if (other.has_gpu) others += (others.empty() ? "" : " or ") + std::string(other.name);
    }
    refuse(std::string("the ") + row.name + " engine computes on the processor; use engine " +
           others + ", or device cpu");
  }
  if (config.precision != Precision::Fp32 && config.precision != Precision::Tf32) {
    refuse("a GPU computes in fp32 and tf32 only; use device cpu");
  }
  if (config.accelerator == Accelerator::OneDnn || config.accelerator == Accelerator::OpenVino) {
    refuse(std::string("accelerator ") + to_string(config.accelerator) +
           " computes on the processor; use accelerator auto, or device cpu");
  }
  // It has no option to multiply in float32.
  if (config.accelerator == Accelerator::TensorRt && config.precision != Precision::Tf32) {
    refuse("accelerator tensorrt computes in tf32; add precision tf32");
  }
}

void require_options(const EngineRow& row, const Config& config) {
  const std::string refusal = std::string("the ") + row.name + " engine does not support ";
  if (!contains(row.precisions, config.precision)) {
    throw Error(ErrorCode::Unsupported,
                refusal + "precision " + to_string(config.precision) + ": " + row.precision_remedy);
  }
  if (config.accelerator != Accelerator::Auto && !contains(row.accelerators, config.accelerator)) {
    const auto& rows = engine_rows();
    const auto owner = std::find_if(rows.begin(), rows.end(), [&](const EngineRow& other) {
      return contains(other.accelerators, config.accelerator);
    });
    throw Error(ErrorCode::Unsupported, refusal + "accelerator " + to_string(config.accelerator) +
                                            ", which belongs to the " + owner->name +
                                            " engine; use auto");
  }
  if (gpu_number(config.device) >= 0) {
    require_gpu_options(row, config);
  } else if (config.precision == Precision::Tf32 || config.accelerator == Accelerator::TensorRt) {
    throw Error(ErrorCode::Unsupported,
                "precision tf32 and accelerator tensorrt are for a GPU; set device gpu");
  }
  if (config.time_limit_ms > 0 && !row.stops) {
    throw Error(ErrorCode::Unsupported, refusal + "time_limit_ms; use the native engine");
  }
  if (!config.output_name.empty() && !row.gives_any_value) {
    throw Error(ErrorCode::Unsupported,
                refusal + "output_name; use the native engine where it supports the operators");
  }
  row.require_options(config);
  // Before the model is read: why this build does not have the engine. Auto tries others.
  if (config.engine == row.kind && *row.library.name == '\0') row.library.version();
}

/// Whether the engine has what is asked of it.
bool fits(const EngineRow& row, const Config& config) try {
  require_options(row, config);
  return true;
} catch (const Error& error) {
  if (error.code() != ErrorCode::Unsupported) throw;
  return false;
}

}  // namespace

std::string name_other_engine(const Config& config, const Model& model) {
  if (config.engine == EngineKind::Auto) return "";  // each is tried
  const bool uses_fp32 = config.precision == Precision::Fp32;
  for (const EngineRow& row : engine_rows()) {
    if (row.kind == config.engine || !reads(row, model.format)) continue;
    Config other = config;
    other.engine = EngineKind::Auto;
    other.accelerator = Accelerator::Auto;
    const bool fits_as_is = fits(row, other);
    if (!fits_as_is) other.precision = Precision::Fp32;
    if ((fits_as_is || (!uses_fp32 && fits(row, other))) && row.takes(other, model)) {
      return std::string("engine ") + row.name + (fits_as_is ? "" : " with precision fp32");
    }
  }
  return "";
}

std::string name_precisions(const Config& config, const Model& model) {
  std::string names;
  for (const Precision precision : {Precision::Fp32, Precision::Bf16}) {
    Config other = config;
    other.engine = EngineKind::Auto;
    other.precision = precision;
    const auto runs = [&](const EngineRow& row) {
      const bool asked = config.engine == EngineKind::Auto || config.engine == row.kind;
      return asked && reads(row, model.format) && fits(row, other) && row.takes(other, model);
    };
    const auto& rows = engine_rows();
    if (std::none_of(rows.begin(), rows.end(), runs)) continue;
    names += (names.empty() ? "" : " or ") + std::string(to_string(precision));
  }
  return names;
}

Config plain_config(const Config& config) {
  Config plain;
  plain.model_file = config.model_file;
  plain.params_file = config.params_file;
  plain.model_dir = config.model_dir;
  plain.output_name = config.output_name;
  plain.threads = config.threads;
  plain.check_finite = config.check_finite;
  plain.check_program = config.check_program;
  plain.check_hashes = config.check_hashes;
  plain.engine = EngineKind::Plain;
  return plain;
}

bool gives_any_value(EngineKind engine) { return row_of(engine).gives_any_value; }

const char* to_string(EngineKind engine) {
  for (const EngineRow& row : engine_rows()) {
    if (row.kind == engine) return row.name;
  }
  return engine == EngineKind::Auto ? kAuto : "?";
}

EngineKind parse_engine(std::string_view name) {
  if (name == kAuto) return EngineKind::Auto;
  for (const EngineRow& row : engine_rows()) {
    if (name == row.name) return row.kind;
  }
  throw Error(ErrorCode::BadInput,
              "unknown engine '" + std::string(name) + "'; choose one of " + engine_names());
}

std::string engine_names() {
  std::string names = kAuto;
  for (const EngineRow& row : engine_rows()) names += std::string(", ") + row.name;
  return names;
}

std::vector<EngineInfo> available_engines() {
  std::vector<EngineInfo> found;
  for (const EngineRow& row : engine_rows()) {
    EngineInfo& engine = found.emplace_back();
    engine.name = row.name;
    try {
      engine.version = row.library.version();
    } catch (const Error& error) {
      engine.unavailable = error.what();
    }
  }
  return found;
}

std::string describe_bf16() try {
  const native::Bf16Choice choice = native::choose_bf16();
  return (choice.kernels == nullptr ? "is computed in fp32: " : "is computed in bf16: ") +
         choice.reason;
} catch (const Error& error) {
  return std::string("is not available: ") + error.what();
}

std::string engine_version(EngineKind engine) { return row_of(engine).library.version(); }

std::string engine_library_name(EngineKind engine) { return row_of(engine).library.name; }

void set_engine_library(EngineKind engine, const std::string& path) {
  row_of(engine).library.set_path(path);
}

bool supports_precision(EngineKind engine, Precision precision) {
  return engine == EngineKind::Auto || contains(row_of(engine).precisions, precision);
}

bool keeps_threads(const Config& config, Accelerator accelerator) {
  return config.threads > 1 && row_of(config.engine).keeps_threads(accelerator);
}

bool prefers_onnx(EngineKind engine) {
  return engine != EngineKind::Auto && !reads(row_of(engine), ModelFormat::Pdmodel);
}

std::vector<const EngineRow*> find_engines(const Config& config, const ModelFiles& files) {
  std::vector<const EngineRow*> found;
  const EngineRow* last = nullptr;  // that reads the model
  for (const EngineRow& row : engine_rows()) {
    const bool readable = reads(row, files.format);
    if (config.engine == row.kind && !readable) {
      throw Error(ErrorCode::Unsupported, "'" + files.program + "' is not a model for the " +
                                              row.name + " engine: " + row.format_remedy);
    }
    if (readable && row.supports_options(config)) last = &row;
    const bool chosen = config.engine == EngineKind::Auto
                            ? readable && row.supports_options(config) && fits(row, config)
                            : config.engine == row.kind;
    if (!chosen) continue;
    require_options(row, config);
    found.push_back(&row);
  }
  if (found.empty()) {  // the options exclude each other
    require_options(*last, config);
    found.push_back(last);
  }
  return found;
}

}  // namespace lenet

/// What a predictor asks of an inference engine. Each engine has a folder of its own beside this
/// file, and one row of the table in engines.cc.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agreement.h"
#include "engines/run_control.h"
#include "lenet/config.h"
#include "lenet/error.h"
#include "lenet/layer_callback.h"
#include "lenet/profile.h"
#include "lenet/tensor.h"
#include "model/element_types.h"
#include "model/model.h"
#include "model/model_files.h"

namespace lenet {

/// More drive intermediate results out of the processor's caches (docs/benchmark.md).
inline constexpr std::int64_t kImagesPerThread = 64;

/// Where the outputs of a run go, as the predictor has it.
class Outputs {
 public:
  /// Whether an output is to be computed. \param index in `Engine::output_specs`
  virtual bool wants(std::size_t index) const = 0;
  /// \param index of an output that is wanted
  /// \param shape of the output of this batch, as computed or known beforehand
  /// \returns room for its values, which the engine writes
  /// \throws Error BackendFailure: the model declares another shape, or there is no memory;
  ///   BadInput: the caller's buffer has another size; Unsupported: for open sizes, the output has
  ///   no row for each of several images.
  virtual float* place(std::size_t index, const Shape& shape) = 0;
  /// Of the whole run, of which this may be one batch.
  virtual std::int64_t images() const = 0;

 protected:
  ~Outputs() = default;
};

/// One loaded model. Used by one thread at a time. Methods may throw std::bad_alloc.
class Engine {
 public:
  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  virtual ~Engine() = default;

  virtual TensorSpec input_spec() const = 0;
  /// The outputs that the engine gives. Floating-point numbers come first, and behind them integers
  /// and bools, both in the model's order. The predictor sets `by_image`; an engine that
  /// `takes_any_shape` has it false for a scalar, to tell it from an output whose shape is not
  /// declared.
  virtual std::vector<TensorSpec> output_specs() const = 0;
  /// The predictor cuts larger batches into pieces, of so many images without max_batch_size.
  virtual std::int64_t largest_batch(int threads) const { return kImagesPerThread * threads; }
  /// Runs a batch of at least one image whose shape the predictor has checked.
  /// \param input values, in the model's order; pixels only where `reads_pixels`; of a model of
  ///   another type than float32 numbers where `reads_numbers`, else values
  /// \throws Error also what `control` throws, where the engine can be stopped.
  virtual void run(const TensorView& input, Outputs& outputs, RunControl& control) = 0;
  virtual bool reads_pixels() const { return false; }
  virtual bool reads_numbers() const { return false; }
  virtual std::unique_ptr<Engine> clone() const = 0;
  /// As `Predictor::profile`, without what the predictor knows.
  /// \throws Error also what `control` throws.
  virtual Profile profile(std::int64_t /*images*/, int /*runs*/, const RunControl& /*control*/) {
    throw Error(ErrorCode::Unsupported,
                "only the native engine profiles its layers, and another engine runs this model; "
                "use the native engine where it supports the operators");
  }
  /// Whether it can show each operator's output.
  virtual bool has_layers() const { return false; }
  /// Called where it can. \param callback empty: none any more
  virtual void set_layer_callback(LayerCallback /*callback*/) {}
  /// Whether "auto" takes this engine although another can run the model too.
  virtual bool is_fastest() const { return true; }
  /// Called once it was chosen, before it runs: packs weights. Throws as creating it does.
  virtual void prepare() {}
  /// As `Predictor::computed_precision`. \param asked the configuration's
  virtual ComputedPrecision computed_precision(Precision asked) const { return {asked, {}}; }
  /// Whether it reads the Model after that, also to make clones.
  virtual bool needs_model() const { return true; }
  /// As `Predictor::compiled_sizes`. Any thread may ask.
  virtual CompiledSizes compiled_sizes() const { return {}; }
  /// That which runs so many images at once. Any thread may ask.
  virtual Accelerator accelerator(std::int64_t /*images*/) const { return Accelerator::Plain; }
};

/// \param why continues "'MODEL'"
/// \throws Error Unsupported.
[[noreturn]] inline void refuse_model(const Model& model, const std::string& why) {
  throw Error(ErrorCode::Unsupported, "'" + model.path + "'" + why);
}

inline void require_one_input(const Model& model, std::size_t inputs, std::size_t outputs) {
  if (inputs == 1 && outputs > 0) return;
  refuse_model(model, " has " + std::to_string(inputs) + " inputs and " + std::to_string(outputs) +
                          " outputs; one input and at least one output are supported");
}

/// \param values of an output of integers \throws Error Unsupported: float32 may not hold them.
inline void require_exact(const TensorSpec& output, const float* values, std::size_t count) {
  constexpr float kMostExact = 0x1p24F;  // of the integers that float32 has without a gap
  const auto is_exact = [](float number) { return std::abs(number) <= kMostExact; };
  if (is_real(output.dtype) || std::all_of(values, values + count, is_exact)) return;
  throw Error(ErrorCode::Unsupported, "the output '" + output.name +
                                          "' holds an integer beyond 16777216, the largest up to "
                                          "which float32 has them all");
}

/// The library that an engine runs on, opened when it is first needed.
struct EngineLibrary {
  const char* name;                           ///< as `engine_library_name`
  void (*set_path)(const std::string& path);  ///< as `set_engine_library`
  std::string (*version)();                   ///< as `engine_version`
};

/// What the rest of the program knows of an engine before it is created.
struct EngineRow {
  EngineKind kind;
  const char* name;
  const EngineLibrary& library;
  std::vector<ModelFormat> formats;  ///< that it reads; none named: all
  const char* format_remedy;         ///< how to make a model that it reads of one that it does not
  std::vector<Precision> precisions;
  const char* precision_remedy;
  std::vector<Accelerator> accelerators;  ///< beside Auto
  bool has_gpu;                           ///< with a library that was built with CUDA
  /// Whether Auto may take it: it supports what is set to other than its default.
  bool (*supports_options)(const Config&);
  /// \param config with int8 the model is a quantized one.
  /// With Auto there are others to be tried: the engine names none where it refuses the model.
  std::unique_ptr<Engine> (*create)(const Config& config,
                                    const std::shared_ptr<const Model>& model);
  bool stops = true;             ///< early: supports time_limit_ms and cancel
  bool gives_any_value = false;  ///< of the program: supports output_name
  /// Whether it runs a model that declares wrong shapes of its outputs.
  bool takes_any_shape = false;
  /// Whether its library keeps threads when there is more than one.
  bool (*keeps_threads)(Accelerator) = [](Accelerator) { return false; };

  /// Whether options exclude each other. \throws Error BadInput, Unsupported.
  void (*require_options)(const Config&) = [](const Config&) {};
  /// Whether it runs a model of its formats that another engine refuses, as far as can be told
  /// without its library.
  bool (*takes)(const Config&, const Model&) = [](const Config&, const Model&) { return true; };
};

/// The engine that may run a model which that of the configuration refuses, as messages name it,
/// such as "engine onnxruntime with precision fp32"; empty where none does, and with Auto, which
/// tries each.
std::string name_other_engine(const Config& config, const Model& model);

/// The precisions in which a model that is not quantized runs with the engine of the configuration,
/// such as "fp32 or bf16"; empty where there is none.
std::string name_precisions(const Config& config, const Model& model);

/// The configuration of the plain program, which other engines are compared with: of the same model
/// with the same outputs.
Config plain_config(const Config& config);

/// Whether it gives each value of a program, as `Config::output_name` chooses one.
bool gives_any_value(EngineKind engine);

/// What `compare` allows between a predictor of this configuration and the plain program.
inline double plain_tolerance(const Config& config, bool quantized) {
  // In int8 the native engine rounds by the program's own scales, as the plain program does.
  const bool rounds_alike =
      config.precision == Precision::Fp32 ||
      (config.precision == Precision::Int8 && config.engine == EngineKind::Native);
  return quantized && rounds_alike ? kRoundingTolerance : tolerance_of(config.precision);
}

/// Whether a folder's .onnx comes before its other models: the engine reads no others.
bool prefers_onnx(EngineKind engine);

/// The engine of the configuration; for Auto those that read models of this format, the one to be
/// tried first in front, and at least one.
/// \throws Error Unsupported: it does not read them; BadInput, Unsupported: an option that can be
///   refused without the model.
std::vector<const EngineRow*> find_engines(const Config& config, const ModelFiles& files);

}  // namespace lenet

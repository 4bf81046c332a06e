#include "engines/paddle/paddle.h"

#include <cstddef>
#include <map>
#include <mutex>
#include <set>
#include <utility>

#include "config_option.h"
#include "engines/foreign_load.h"
#include "io/printable.h"
#include "lenet/error.h"
#include "model/element_types.h"
#include "platform/processor.h"

namespace lenet {
namespace {

/// Paddle fails at most other types, without saying so. A program of 16 bits that nobody checked
/// may run on a GPU. \throws Error Unsupported.
void require_types(const Config& config, const Model& model) {
  const std::string remedy =
      "; export the model in float32, or use the native engine where it supports the operators";
  const std::string half(model.graph.half);
  const bool may_run = gpu_number(config.device) >= 0 && !config.check_program;
  if (!half.empty() && !may_run) {
    refuse_model(model,
                 " computes in " + half + ", which Paddle does not run on a processor" + remedy);
  }
  for (const std::size_t index : model.graph.inputs) {
    const Value& input = model.graph.values[index];
    const int dtype = declared_dtype(input);
    if (takes_input(dtype)) continue;
    refuse_model(model, " has an input '" + printable(input.name) + "' that is no tensor of " +
                            kInputTypes + " values" + (is_half(dtype) ? remedy : ""));
  }
}

/// With the accelerator of the configuration, which is not Auto.
std::unique_ptr<Engine> create(const Config& config, const std::shared_ptr<const Model>& shared,
                               const ProgramTraits& traits) {
  const Model& model = *shared;
  const auto refuse = [&](const std::string& why) { refuse_model(model, why); };
  /// \param before the name of the engine that runs it, where there is one
  const auto or_other = [&](const char* before) {
    const std::string other = name_other_engine(config, model);
    return other.empty() ? other : before + other;
  };
  if (model.format == ModelFormat::Json) {
    std::set<std::size_t> values(model.graph.inputs.begin(), model.graph.inputs.end());
    for (const std::size_t value : model.graph.outputs) {
      if (values.insert(value).second) continue;
      refuse(
          " gives its input, or a value twice, as outputs, which Paddle does not load from a "
          ".json; use the .pdmodel" +
          or_other(", or "));
    }
  }
  if (!traits.refusal.empty()) {
    refuse(" has " + traits.refusal +
           ", which Paddle leaves out of account, and so gives other answers" + or_other("; use "));
  }
  const std::string others =
      traits.onednn_refusal.empty() ? "auto, onednn or plain" : "auto or plain";
  if (config.accelerator == Accelerator::OpenVino) {
    if (model.quantized) {
      refuse(" is a quantized model, which Paddle's OpenVINO cannot convert; use accelerator " +
             others + ", or for speed precision int8");
    }
    if (model.format != ModelFormat::Pdmodel) {
      refuse(
          ": OpenVINO runs .pdmodel programs only (Paddle ignores the switch for .json and fails "
          "on one file per variable); use the .pdmodel, or accelerator " +
          others);
    }
    if (!traits.openvino_refusal.empty()) {
      refuse(" has " + traits.openvino_refusal +
             ", which OpenVINO is not known to compute as Paddle does; use accelerator " + others);
    }
  }
  // Paddle computes in float32 without a word where it cannot do as it was told.
  if (config.precision == Precision::Bf16) {
    if (model.quantized) {
      refuse(
          " is quantized, so that nothing of it runs in bf16; use precision int8 or fp32, or the "
          "float model");
    }
    if (!has_bf16()) {
      throw Error(ErrorCode::Unsupported,
                  "precision bf16 needs a processor with AVX-512 and its bf16 instructions "
                  "(avx512_bf16), which this one does not have; use fp32");
    }
  }
  if (config.accelerator == Accelerator::OneDnn && !traits.onednn_refusal.empty()) {
    refuse(" has " + traits.onednn_refusal +
           ", which oneDNN computes wrongly or not at all; use accelerator " +
           (config.precision == Precision::Fp32 ? "auto or plain" : "plain with precision fp32"));
  }
  if (config.precision == Precision::Int8 && !traits.int8_refusal.empty()) {
    const std::string other = name_other_engine(config, model);
    refuse(" has " + traits.int8_refusal + ", which oneDNN computes wrongly in int8; use " + other +
           (other.empty() ? "" : ", or ") + "precision fp32");
  }
  const PaddlePlugin& plugin = load_paddle_plugin();  // in this thread, as onnxruntime's
  return load_in_time(config, model, [config, shared, traits, &plugin](const GivenUp& given_up) {
    return std::unique_ptr<Engine>(plugin.create(config, *shared, traits, given_up));
  });
}

/// The fastest by measurement, of those that have not failed.
Accelerator choose(const Config& config, const Model& model, const ProgramTraits& traits,
                   std::int64_t images) {
  if (config.precision != Precision::Fp32) return Accelerator::OneDnn;
  if (gpu_number(config.device) >= 0) return Accelerator::Plain;
  // Of a program that was not checked it is not known what the others make of it.
  if (model.unchecked) return Accelerator::Plain;
  // Measured on LeNet (250 kB), one core, us a run of 1 / 2 / 64 images (docs/benchmark.md):
  //   .pdmodel  OpenVINO 36 / 48 / 770   oneDNN 116 / 142 / 1240   plain 78 / 165 / 4200
  //   .json                              oneDNN 78 / 91 / 700      plain 62 / 150 / 4150
  // And quantized, with precision fp32, of which OpenVINO converts nothing:
  //   .pdmodel                           oneDNN 459 / 482 / 5430   plain 261 / 354 / 7580
  if (model.format == ModelFormat::Pdmodel && traits.openvino_refusal.empty() && !model.quantized) {
    return Accelerator::OpenVino;
  }
  if (!traits.onednn_refusal.empty()) return Accelerator::Plain;
  // What oneDNN costs to set up outweighs what it saves only where there is little to compute.
  constexpr std::size_t kSmallModelBytes = 1 << 20;
  const bool small = model.format != ModelFormat::Separate &&
                     (model.format == ModelFormat::Json || model.quantized) &&
                     model.params->contents().size() < kSmallModelBytes;
  const std::int64_t few = model.quantized ? 2 : 1;
  return small && images <= few ? Accelerator::Plain : Accelerator::OneDnn;
}

/// Has an engine for each accelerator that Auto has asked for.
class Accelerated final : public Engine {
 public:
  Accelerated(const Config& config, std::shared_ptr<const Model> model, ProgramTraits traits)
      : config_(config), model_(std::move(model)), traits_(std::move(traits)) {}

  TensorSpec input_spec() const override { return any().input_spec(); }
  bool reads_numbers() const override { return any().reads_numbers(); }
  std::vector<TensorSpec> output_specs() const override { return any().output_specs(); }

  void run(const TensorView& input, Outputs& outputs, RunControl& control) override {
    for (;;) {
      Engine& engine = engine_for(outputs.images());
      try {
        return engine.run(input, outputs, control);
      } catch (const Error& error) {
        leave_out(accelerator(outputs.images()), error);
      }
    }
  }

  std::unique_ptr<Engine> clone() const override {
    auto made = std::make_unique<Accelerated>(config_, model_, traits_);
    made->failures_ = failures_;
    for (const auto& [accelerator, engine] : engines_) {
      made->engines_[accelerator] = engine->clone();
    }
    return made;
  }

  bool has_layers() const override { return any().has_layers(); }
  void set_layer_callback(LayerCallback callback) override {
    for (const auto& [accelerator, engine] : engines_) engine->set_layer_callback(callback);
    callback_ = std::move(callback);
  }
  /// Without an accelerator, Paddle's kernels are slower than those of the native engine.
  bool is_fastest() const override {
    return accelerator(1) != Accelerator::Plain || traits_.onednn_refusal.empty();
  }

  Accelerator accelerator(std::int64_t images) const override {
    if (config_.accelerator != Accelerator::Auto) return config_.accelerator;
    const std::lock_guard<std::mutex> lock(mutex_);
    return choose(config_, *model_, traits_, images);
  }

  Engine& engine_for(std::int64_t images) {
    for (;;) {
      Config config = config_;
      config.accelerator = accelerator(images);
      const auto found = engines_.find(config.accelerator);
      if (found != engines_.end()) return *found->second;
      try {
        std::unique_ptr<Engine> made = create(config, model_, traits_);
        if (callback_) made->set_layer_callback(callback_);
        return *(engines_[config.accelerator] = std::move(made));
      } catch (const Error& error) {
        leave_out(config.accelerator, error);
      }
    }
  }

 private:
  /// Each says the same of the model.
  const Engine& any() const { return *engines_.begin()->second; }

  /// Makes Auto go on without an accelerator that has failed, for good: the same model would fail
  /// again. With float32 alone there is another one than oneDNN and OpenVINO.
  /// \throws Error `error` itself where another accelerator does not help.
  void leave_out(Accelerator failed, const Error& error) {
    const bool other =
        config_.accelerator == Accelerator::Auto && config_.precision == Precision::Fp32 &&
        failed != Accelerator::Plain &&
        (error.code() == ErrorCode::BackendFailure || error.code() == ErrorCode::Unsupported);
    std::string& refusal =
        failed == Accelerator::OpenVino ? traits_.openvino_refusal : traits_.onednn_refusal;
    if (!other || !refusal.empty()) throw Error(error.code(), error.what() + failures_);
    const std::lock_guard<std::mutex> lock(mutex_);
    refusal = "what failed before";
    failures_ +=
        std::string(" (accelerator ") + to_string(failed) + " failed before: " + error.what() + ")";
    engines_.erase(failed);
  }

  const Config config_;
  const std::shared_ptr<const Model> model_;
  mutable std::mutex mutex_;  ///< guards traits_, for accelerator()
  ProgramTraits traits_;      ///< the model's, and which accelerators have failed since
  std::string failures_;      ///< of those, each in parentheses
  std::map<Accelerator, std::unique_ptr<Engine>> engines_;
  LayerCallback callback_;
};

}  // namespace

void require_paddle_options(const Config& config) {
  if (config.precision == Precision::Fp32) return;
  const std::string precision = std::string("precision ") + to_string(config.precision);
  if (config.accelerator != Accelerator::Auto && config.accelerator != Accelerator::OneDnn) {
    throw Error(ErrorCode::BadInput, precision +
                                         " is computed by oneDNN: set accelerator to onednn or " +
                                         "auto, not to " + to_string(config.accelerator));
  }
  if (!config.ir_optim) {
    throw Error(ErrorCode::BadInput,
                precision + " comes of rewriting operators: set ir_optim to true");
  }
}

std::unique_ptr<Engine> create_paddle_engine(const Config& config,
                                             const std::shared_ptr<const Model>& model) {
  require_types(config, *model);
  auto engine = std::make_unique<Accelerated>(config, model, read_program_traits(model->graph));
  engine->engine_for(1);
  return engine;
}

bool takes_paddle_model(const Config& config, const Model& model) {
  if (!may_run_in_paddle(model.graph)) return false;
  const ProgramTraits traits = read_program_traits(model.graph);
  if (!traits.refusal.empty()) return false;
  const bool uses_onednn = config.precision != Precision::Fp32;
  if (uses_onednn && !traits.onednn_refusal.empty()) return false;
  if (config.precision == Precision::Bf16) return has_bf16() && !model.quantized;
  return config.precision != Precision::Int8 || traits.int8_refusal.empty();
}

bool has_bf16() noexcept {
#if defined(__x86_64__)
  using namespace platform::features;
  return platform::has_all({kAvx512f, kAvx512bw, kAvx512dq, kAvx512vl, kAvx512bf16});
#else
  return false;
#endif
}

}  // namespace lenet

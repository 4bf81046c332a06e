#include "engines/paddle/paddle.h"

#include <cstddef>
#include <set>

#include "config_option.h"
#include "lenet/error.h"

namespace lenet {

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

std::unique_ptr<Engine> create_paddle_engine(const Config& config, const Model& model) {
  const ProgramTraits& traits = model.traits;
  const auto refuse = [&](const std::string& why) { refuse_model(model, why); };
  if (model.format == ModelFormat::Json) {
    std::set<std::size_t> values(model.graph.inputs.begin(), model.graph.inputs.end());
    for (const std::size_t value : model.graph.outputs) {
      if (values.insert(value).second) continue;
      refuse(
          " gives its input, or a value twice, as outputs, which Paddle does not load from a "
          ".json; use the .pdmodel, or engine native");
    }
  }
  if (config.accelerator == Accelerator::OpenVino) {
    if (traits.quantized) {
      refuse(
          " is a quantized model, which Paddle's OpenVINO cannot convert; use accelerator auto, "
          "plain or onednn, or for speed precision int8");
    }
    if (model.format != ModelFormat::Pdmodel) {
      refuse(
          ": OpenVINO runs .pdmodel programs only (Paddle ignores the switch for .json and fails "
          "on one file per variable); use the .pdmodel, or accelerator onednn or plain");
    }
    if (!traits.openvino_refusal.empty()) {
      refuse(" has " + traits.openvino_refusal +
             ", which OpenVINO is not known to compute as Paddle does; use accelerator auto, "
             "onednn or plain");
    }
  }
  // Paddle computes in float32 without a word where it cannot do as it was told.
  if (config.precision == Precision::Bf16) {
    if (traits.quantized) {
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
  return std::unique_ptr<Engine>(load_paddle_plugin().create(config, model));
}

Accelerator choose_paddle_accelerator(const Config& config, const Model& model,
                                      const ProgramTraits& traits, std::int64_t images) {
  if (config.precision != Precision::Fp32) return Accelerator::OneDnn;
  if (gpu_number(config.device) >= 0) return Accelerator::Plain;
  // Of a program that was not checked it is not known what the others make of it.
  if (model.unchecked) return Accelerator::Plain;
  // Measured on LeNet (250 kB), one core, us a run of 1 / 2 / 64 images (docs/benchmark.md):
  //   .pdmodel  OpenVINO 36 / 48 / 770   oneDNN 116 / 142 / 1240   plain 78 / 165 / 4200
  //   .json                              oneDNN 78 / 91 / 700      plain 62 / 150 / 4150
  // And quantized, with precision fp32, of which OpenVINO converts nothing:
  //   .pdmodel                           oneDNN 459 / 482 / 5430   plain 261 / 354 / 7580
  if (model.format == ModelFormat::Pdmodel && traits.openvino_refusal.empty() &&
      !traits.quantized) {
    return Accelerator::OpenVino;
  }
  if (!traits.onednn_refusal.empty()) return Accelerator::Plain;
  // What oneDNN costs to set up outweighs what it saves only where there is little to compute.
  constexpr std::size_t kSmallModelBytes = 1 << 20;
  const bool small = model.format != ModelFormat::Separate &&
                     (model.format == ModelFormat::Json || traits.quantized) &&
                     model.params->contents().size() < kSmallModelBytes;
  const std::int64_t few = traits.quantized ? 2 : 1;
  return small && images <= few ? Accelerator::Plain : Accelerator::OneDnn;
}

bool leave_out_paddle_accelerator(const Config& config, ProgramTraits& traits, Accelerator failed) {
  if (config.precision != Precision::Fp32 || failed == Accelerator::Plain) return false;
  std::string& refusal =
      failed == Accelerator::OpenVino ? traits.openvino_refusal : traits.onednn_refusal;
  if (!refusal.empty()) return false;
  refusal = "what failed before";
  return true;
}

bool has_bf16() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace lenet

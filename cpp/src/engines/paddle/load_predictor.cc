#include "engines/paddle/load_predictor.h"

#include <atomic>
#include <filesystem>
#include <sstream>
#include <unordered_set>

#include "config_option.h"
#include "engines/paddle/onednn_cache.h"
#include "io/file.h"
#include "model/readers.h"

namespace lenet {
namespace fs = std::filesystem;
namespace {

/// What a .pdmodel computes in bf16.
std::unordered_set<std::string> bf16_operators() {
  return {"conv2d",    "fused_conv2d", "conv2d_transpose", "fc",        "matmul",
          "matmul_v2", "fused_matmul", "pool2d",           "relu",      "concat",
          "reshape2",  "transpose2",   "squeeze2",         "unsqueeze2"};
}

// The newer names where headers and library have them, which warn of the older ones.
template <typename Target>
void enable_precision(Target& target, Precision precision, long) {
  precision == Precision::Int8 ? target.EnableMkldnnInt8() : target.EnableMkldnnBfloat16();
}
template <typename Target>
auto enable_precision(Target& target, Precision precision,
                      int) -> decltype(target.EnableOnednnBfloat16()) {
  if (is_paddle_3_1()) return enable_precision(target, precision, 0L);
  precision == Precision::Int8 ? target.EnableOnednnInt8() : target.EnableOnednnBfloat16();
}

void set_precision(paddle_infer::Config& target, const Config& config, const Model& model) {
  if (config.precision == Precision::Fp32) return;
  {
    // Errors only: Paddle's message that the processor has bf16 ignores DisableGlogInfo.
    constexpr std::int32_t kErrors = 2;
    const ProcessFlag<std::int32_t> quiet(&fLI::FLAGS_minloglevel, kErrors);
    enable_precision(target, config.precision, 0);
  }
  // Without a list Paddle takes elementwise_add too, and fails when one of its inputs is a
  // parameter, such as the bias of a convolution. A .json has passes of its own, which do not.
  if (config.precision == Precision::Bf16 && model.format != ModelFormat::Json) {
    target.SetBfloat16Op(bf16_operators());
  }
  // It makes one operator of fully connected layers that follow each other, which exists in
  // float32 only.
  target.DeletePass("repeated_fc_relu_fuse_pass");
}

/// \param device as the user named it
/// \param number of the GPU
/// \throws Error Unsupported: why this Paddle cannot compute there
void require_gpu(const std::string& device, int number) {
  const auto refuse = [&device](const std::string& why) {
    throw Error(ErrorCode::Unsupported, "device " + device + ": " + why);
  };
  if (&phi::backends::gpu::GetGPUDeviceCount == nullptr) {
    refuse("this Paddle library (" + paddle_version() +
           ") was built without CUDA; install paddlepaddle-gpu, or set LENET_PADDLE_LIBRARY to the "
           "library of Paddle's GPU archive, or use device cpu");
  }
  const int count = phi::backends::gpu::GetGPUDeviceCount();  // 0 without a driver
  if (count == 0) refuse("Paddle finds no GPU; look for one, and for its driver, by nvidia-smi");
  if (number >= count) {
    refuse("there is no GPU " + std::to_string(number) + "; Paddle finds " + std::to_string(count));
  }
}

void configure(paddle_infer::Config& target, const Config& config, const Model& model,
               const ProgramTraits& traits) {
  const int gpu = gpu_number(config.device);
  if (gpu < 0) {
    target.DisableGpu();
  } else {
    constexpr int kFirstMegabytes = 100;  // as in Paddle's examples
    require_gpu(config.device, gpu);
    target.EnableUseGpu(
        static_cast<std::uint64_t>(config.gpu_mem > 0 ? config.gpu_mem : kFirstMegabytes), gpu);
  }
  target.DisableGlogInfo();
  target.SetCpuMathLibraryNumThreads(config.threads);
  target.SwitchIrOptim(config.ir_optim ? 1 : 0);
  if (model.format == ModelFormat::Json) {
    // Without the new executor, memory optimization of a .json fails while loading. That the
    // program is in the new IR, Paddle 3.3 sees by itself; its documentation asks to say so all the
    // same.
    target.EnableNewExecutor(true);
    target.EnableNewIR(true);
    // It puts the channels of maxima over 3 x 3 last, and fails at a concat along another axis than
    // theirs and at a stack. On a processor pools are slower so.
    target.DeletePass("transfer_layout_pass");
  }
  target.EnableMemoryOptim(config.memory_optim);
  if (config.accelerator == Accelerator::OneDnn) {
    target.EnableONEDNN();
    target.SetOnednnCacheCapacity(0);  // onednn_cache.h
    if (traits.activation_fusing_faults) {
      target.DeletePass("conv_activation_onednn_fuse_pass");
    }
    // It leaves out what else reads a normalization that a relu follows, and Paddle faults.
    target.DeletePass("batch_norm_act_fuse_pass");
    // It overwrites values which operators of oneDNN, or outputs of the program, read later.
    target.DeletePass("inplace_pass");
  } else {
    target.DisableONEDNN();
  }
  if (config.accelerator == Accelerator::OpenVino) {
    target.EnableOpenVINOEngine(paddle_infer::PrecisionType::kFloat32);
  }
  if (traits.simplifying_faults) target.DeletePass("simplify_with_basic_ops_pass");
  if (traits.folding_is_wrong) {
    for (const char* pass :
         {"conv_bn_fuse_pass", "conv_eltwiseadd_bn_fuse_pass", "conv_transpose_bn_fuse_pass",
          "conv_transpose_eltwiseadd_bn_fuse_pass", "conv2d_bn_fuse_pass"}) {
      target.DeletePass(pass);
    }
  }
  set_precision(target, config, model);
}

/// Writes the program for OpenVINO.
///
/// Paddle keeps OpenVINO's engines in a table of the process (openvino_subgraph_pass.cc,
/// OVEngineManager); the keys are hashes of variable names in the order of memory addresses, and an
/// equal key frees the engine that another predictor still uses. Unique names keep them apart.
void write_openvino_program(const Model& model, const std::string& path) {
  static std::atomic<std::uint64_t> loads{0};
  const std::string suffix = "_lenet" + std::to_string(++loads);
  write_atomically(path, {with_renamed_variables(model.checked_program->contents(), model.graph,
                                                 suffix, model.path)});
}

}  // namespace

std::string paddle_version() {
  // "version: 3.3.1\ncommit: ...\nbranch: ..."
  std::istringstream words(paddle_infer::GetVersion());
  std::string key;
  std::string value;
  return words >> key >> value && key == "version:" ? value : "unknown";
}

bool is_paddle_3_1() { return paddle_version().compare(0, 4, "3.1.") == 0; }

PaddlePredictor load_predictor(const Config& config, const Model& model,
                               const ProgramTraits& traits, const GivenUp& given_up) {
  std::string program = model.checked_program->path();
  std::string params = model.params->path();
  std::shared_ptr<TemporaryFolder> folder;
  const auto link = [&](std::string& file, const char* name) {
    const std::string path = folder->path() + name;
    fs::create_symlink(file, path);
    file = path;
  };
  paddle_infer::Config target;
  if (config.accelerator == Accelerator::OpenVino) {
    folder = std::make_shared<TemporaryFolder>();
    program = folder->path() + "/model.pdmodel";
    write_openvino_program(model, program);
    // OpenVINO looks for the parameters beside the program, whatever it is told.
    link(params, "/model.pdiparams");
    // By default OpenVINO keeps compiled models in ./__cache__: it would litter the user's folder,
    // and trust what somebody else may have left there.
    target.SetOptimCacheDir(folder->path());
  } else if (model.format == ModelFormat::Json) {
    // Paddle knows the format by the suffix.
    folder = std::make_shared<TemporaryFolder>();
    link(program, "/model.json");
  }
  target.SetModel(program, params);
  configure(target, config, model, traits);
  const NoOneDnnRun guard(given_up);  // whatever the accelerator: each pass empties oneDNN's cache
  const PaddlePredictor predictor = paddle_infer::CreatePredictor(target);
  if (model.format != ModelFormat::Json) return predictor;
  // When it clones, Paddle reads a .json again.
  return {predictor.get(), [predictor, folder](const void*) {}};
}

}  // namespace lenet

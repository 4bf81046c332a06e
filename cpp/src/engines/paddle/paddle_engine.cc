#include <paddle_inference_api.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <sstream>
#include <unordered_set>
#include <utility>
#include <vector>

#include "engines/paddle/onednn_cache.h"
#include "engines/paddle/plugin.h"
#include "io/file.h"
#include "lenet/error.h"
#include "model/sha256.h"
#include "model/variable_names.h"

// A flag of Paddle's (paddle/common/flags.cc), exported by its libcommon.so; null where it is not.
namespace paddle_flags {
extern double FLAGS_eager_delete_tensor_gb __attribute__((weak));
}

// The same of glog's, which Paddle has inside.
namespace fLI {
extern std::int32_t FLAGS_minloglevel __attribute__((weak));
}

namespace lenet {
namespace fs = std::filesystem;
namespace {

/// Paddle's messages are a C++ stack over many lines; the line that says what happened follows the
/// heading "Error Message Summary:" and a rule, or is the only one.
std::string summary_of(const std::string& message) {
  constexpr const char* kHeading = "Error Message Summary:";
  const auto heading = message.find(kHeading);
  std::istringstream lines(
      heading == std::string::npos ? message : message.substr(heading + std::strlen(kHeading)));
  bool after_user_code = false;  // where the lines of the Python program come first
  for (std::string line; std::getline(lines, line);) {
    // What oneDNN throws through Paddle's executor has no message.
    if (line == "std::exception") break;
    after_user_code |= line == "In user code:";
    const auto first = line.find_first_not_of("- \t\r");
    if (first == std::string::npos) continue;
    if (!after_user_code || line.find("Error: ") != std::string::npos) return line.substr(first);
  }
  return "no reason given";
}

template <typename Action>
auto guarded(const char* doing, Action&& action, Accelerator accelerator = Accelerator::Plain) {
  try {
    return action();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::BackendFailure, std::string("out of memory while ") + doing);
  } catch (const std::exception& error) {
    const std::string how = std::string("Paddle failed while ") + doing;
    const std::string summary = ": " + summary_of(error.what());
    if (accelerator == Accelerator::Plain) throw Error(ErrorCode::BackendFailure, how + summary);
    // The model has been checked: Paddle's own kernels may well run it.
    throw Error(ErrorCode::Unsupported, how + " with accelerator " + to_string(accelerator) +
                                            summary + "; use accelerator auto or plain");
  }
}

std::string library_version() {
  // "version: 3.3.1\ncommit: ...\nbranch: ..."
  std::istringstream words(paddle_infer::GetVersion());
  std::string key;
  std::string value;
  return words >> key >> value && key == "version:" ? value : "unknown";
}

bool is_paddle_3_1() { return library_version().compare(0, 4, "3.1.") == 0; }

/// In Paddle 3.1 the queries for element types crash on a .json program.
bool knows_types(ModelFormat format) { return format != ModelFormat::Json || !is_paddle_3_1(); }

/// What a .pdmodel computes in bf16.
std::unordered_set<std::string> bf16_operators() {
  return {"conv2d",    "fused_conv2d", "conv2d_transpose", "fc",        "matmul",
          "matmul_v2", "fused_matmul", "pool2d",           "relu",      "concat",
          "reshape2",  "transpose2",   "squeeze2",         "unsqueeze2"};
}

/// While it lives, glog writes errors only: Paddle's message that the processor has bf16 ignores
/// DisableGlogInfo.
class QuietLog {
 public:
  QuietLog() : lock_(mutex()) {
    if (level_ == nullptr) return;
    before_ = *level_;
    *level_ = std::max(before_, kErrors);
  }
  QuietLog(const QuietLog&) = delete;
  QuietLog& operator=(const QuietLog&) = delete;
  ~QuietLog() {
    if (level_ != nullptr) *level_ = before_;
  }

 private:
  static constexpr std::int32_t kErrors = 2;
  static std::mutex& mutex() {
    static std::mutex one;
    return one;
  }

  std::lock_guard<std::mutex> lock_;
  std::int32_t* level_ = &fLI::FLAGS_minloglevel;
  std::int32_t before_ = 0;
};

// The newer names where headers and library have them.
template <typename Target>
auto enable_int8(Target& target, int) -> decltype(target.EnableOnednnInt8()) {
  is_paddle_3_1() ? target.EnableMkldnnInt8() : target.EnableOnednnInt8();
}
template <typename Target>
void enable_int8(Target& target, long) {
  target.EnableMkldnnInt8();
}
template <typename Target>
auto enable_bf16(Target& target, int) -> decltype(target.EnableOnednnBfloat16()) {
  is_paddle_3_1() ? target.EnableMkldnnBfloat16() : target.EnableOnednnBfloat16();
}
template <typename Target>
void enable_bf16(Target& target, long) {
  target.EnableMkldnnBfloat16();
}

void set_precision(paddle_infer::Config& target, const Config& config, const Model& model) {
  if (config.precision == Precision::Fp32) return;
  if (config.precision == Precision::Int8) {
    enable_int8(target, 0);
  } else {
    const QuietLog quiet;
    enable_bf16(target, 0);
    // Without a list Paddle takes elementwise_add too, and fails when one of its inputs is a
    // parameter, such as the bias of a convolution. A .json has passes of its own, which do not.
    if (model.format != ModelFormat::Json) target.SetBfloat16Op(bf16_operators());
  }
  // It makes one operator of fully connected layers that follow each other, which exists in
  // float32 only.
  target.DeletePass("repeated_fc_relu_fuse_pass");
}

/// What Paddle is to open.
struct Paths {
  std::string program;
  std::string params;
  std::string cache;  ///< a folder, for OpenVINO
};

void configure(paddle_infer::Config& target, const Config& config, const Model& model,
               const Paths& paths) {
  target.SetModel(paths.program, paths.params);
  target.DisableGpu();
  target.DisableGlogInfo();
  target.SetCpuMathLibraryNumThreads(config.threads);
  target.SwitchIrOptim(config.ir_optim ? 1 : 0);
  if (model.format == ModelFormat::Json) {
    // Without the new executor, memory optimization of a .json fails while loading. That the
    // program is in the new IR, Paddle 3.3 sees by itself; its documentation asks to say so all the
    // same.
    target.EnableNewExecutor(true);
    target.EnableNewIR(true);
  }
  target.EnableMemoryOptim(config.memory_optim);
  switch (config.accelerator) {
    case Accelerator::OneDnn:
      target.EnableONEDNN();
      target.SetOnednnCacheCapacity(0);  // onednn_cache.h
      if (model.traits.activation_fusing_faults) {
        target.DeletePass("conv_activation_onednn_fuse_pass");
      }
      // It leaves out what else reads a normalization that a relu follows, and Paddle faults.
      target.DeletePass("batch_norm_act_fuse_pass");
      // It overwrites values which operators of oneDNN, or outputs of the program, read later.
      target.DeletePass("inplace_pass");
      break;
    case Accelerator::OpenVino:
      target.DisableONEDNN();
      target.SetOptimCacheDir(paths.cache);
      target.EnableOpenVINOEngine(paddle_infer::PrecisionType::kFloat32);
      break;
    case Accelerator::Plain:
    case Accelerator::Auto:
      target.DisableONEDNN();
      break;
  }
  if (model.traits.folding_is_wrong) {
    for (const char* pass :
         {"conv_bn_fuse_pass", "conv_eltwiseadd_bn_fuse_pass", "conv_transpose_bn_fuse_pass",
          "conv_transpose_eltwiseadd_bn_fuse_pass", "conv2d_bn_fuse_pass"}) {
      target.DeletePass(pass);
    }
  }
  set_precision(target, config, model);
}

using PaddlePredictor = std::shared_ptr<paddle_infer::Predictor>;

void write_file(const std::string& path, const std::string& contents) {
  std::ofstream file(path, std::ios::binary);
  file.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  if (!file.flush()) throw Error(ErrorCode::BackendFailure, "cannot write '" + path + "'");
}

/// Makes, in `folder`, the model that OpenVINO loads.
///
/// Paddle keeps OpenVINO's engines in a table of the process (openvino_subgraph_pass.cc,
/// OVEngineManager); the keys are hashes of variable names in the order of memory addresses, and an
/// equal key frees the engine that another predictor still uses. Unique names keep them apart.
/// OpenVINO also looks for the parameters beside the program, whatever it is told.
void make_openvino_model(const std::string& folder, const Model& model, Paths& paths) {
  static std::atomic<std::uint64_t> loads{0};
  paths.program = folder + "/model.pdmodel";
  paths.params = folder + "/model.pdiparams";
  const std::string suffix = "_lenet" + std::to_string(++loads);
  write_file(paths.program, with_renamed_variables(model.program->contents(), suffix, model.path));
  fs::create_symlink(model.params->path(), paths.params);
}

PaddlePredictor load(const Config& config, const Model& model) {
  return guarded("loading the model", [&] {
    std::shared_ptr<TemporaryFolder> folder;
    Paths paths = {model.program->path(), model.params->path(), ""};
    if (config.accelerator == Accelerator::OpenVino) {
      folder = std::make_shared<TemporaryFolder>();
      make_openvino_model(folder->path(), model, paths);
      // By default OpenVINO keeps compiled models in ./__cache__: it would litter the user's
      // folder, and trust what somebody else may have left there.
      paths.cache = folder->path();
    } else if (model.format == ModelFormat::Json) {
      // Paddle knows the format by the suffix.
      folder = std::make_shared<TemporaryFolder>();
      const std::string link = folder->path() + "/model.json";
      fs::create_symlink(paths.program, link);
      paths.program = link;
    }
    paddle_infer::Config target;
    configure(target, config, model, paths);
    std::optional<NoOneDnnRun> guard;
    if (config.accelerator == Accelerator::OneDnn) guard.emplace();
    const PaddlePredictor predictor = paddle_infer::CreatePredictor(target);
    if (model.format != ModelFormat::Json) return predictor;
    // When it clones, Paddle reads a .json again.
    const auto kept =
        std::make_shared<std::pair<std::shared_ptr<TemporaryFolder>, PaddlePredictor>>(folder,
                                                                                       predictor);
    return PaddlePredictor(kept, kept->second.get());
  });
}

/// The predictors of one loaded model. Paddle frees the weights of a .pdmodel with whichever
/// predictor is destroyed first, so all are kept until the last is no longer used; one that is
/// given back before is lent again.
class Family {
 public:
  /// One that nobody uses, or else a new one of `make()`.
  template <typename Make>
  PaddlePredictor lend(Make&& make) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_.empty()) {
      PaddlePredictor predictor = std::move(idle_.back());
      idle_.pop_back();
      return predictor;
    }
    all_.reserve(all_.size() + 1);
    idle_.reserve(all_.capacity());
    all_.push_back(make());
    return all_.back();
  }

  void give_back(PaddlePredictor predictor) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    idle_.push_back(std::move(predictor));  // within the capacity reserved
  }

 private:
  std::mutex mutex_;
  std::vector<PaddlePredictor> all_;   // guarded by mutex_
  std::vector<PaddlePredictor> idle_;  // guarded by mutex_
};

/// The family of all predictors with these options and a model of these contents, kept for good.
///
/// Paddle never frees what OpenVINO compiled (its table of engines lasts as long as the process),
/// so that making and dropping predictors would add a compiled model each time. Kept, the
/// predictors are lent again instead.
std::shared_ptr<Family> openvino_family(const Config& config, const Model& model) {
  std::string key = sha256_hex(model.program->contents()) + sha256_hex(model.params->contents());
  for (const int option :
       {config.threads, static_cast<int>(config.ir_optim), static_cast<int>(config.memory_optim)}) {
    key += " " + std::to_string(option);
  }
  static std::mutex mutex;
  // Never destroyed: at the end of the process Paddle's own objects go first.
  static auto& families = *new std::map<std::string, std::shared_ptr<Family>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<Family>& family = families[key];
  if (!family) family = std::make_shared<Family>();
  return family;
}

/// While it lives, a predictor of a .json that runs for the first time is set up to keep its
/// intermediate results until the next run, as those of a .pdmodel do.
///
/// Otherwise Paddle's new executor hands each of them to another thread to be freed
/// (InterpreterCoreNoEventGarbageCollector), and waits for it: with oneDNN and one image that takes
/// longer than the network itself (docs/benchmark.md). The flag is the process's and is read at the
/// first run only, so it is put back.
class KeepIntermediateResults {
 public:
  KeepIntermediateResults() : lock_(mutex()) {
    if (flag_ == nullptr) return;
    before_ = *flag_;
    *flag_ = -1;
  }
  KeepIntermediateResults(const KeepIntermediateResults&) = delete;
  KeepIntermediateResults& operator=(const KeepIntermediateResults&) = delete;
  ~KeepIntermediateResults() {
    if (flag_ != nullptr) *flag_ = before_;
  }

 private:
  static std::mutex& mutex() {
    static std::mutex one;
    return one;
  }

  std::lock_guard<std::mutex> lock_;
  double* flag_ = &paddle_flags::FLAGS_eager_delete_tensor_gb;
  double before_ = 0;
};

class PaddleEngine final : public Engine {
 public:
  /// \param origin what to clone; null: the model is loaded
  PaddleEngine(const Config& config, const Model& model, std::shared_ptr<Family> family,
               const PaddlePredictor& origin)
      : config_(config), model_(model), family_(std::move(family)) {
    predictor_ = family_->lend([&] {
      if (origin) return PaddlePredictor(origin->Clone().release());
      return load(config_, model_);
    });
    const auto inputs = predictor_->GetInputNames();
    const auto outputs = predictor_->GetOutputNames();
    if (inputs.size() != 1 || outputs.empty()) {
      throw Error(ErrorCode::Unsupported,
                  "the model has " + std::to_string(inputs.size()) + " inputs and " +
                      std::to_string(outputs.size()) +
                      " outputs; classifiers with one input and at least one output are supported");
    }
    input_spec_ = {inputs[0], predictor_->GetInputTensorShape().at(inputs[0]), "float32"};
    const bool types = knows_types(model_.format);
    const auto is_float = [&](const auto& all, const std::string& name) {
      return !types || all.at(name) == paddle_infer::DataType::FLOAT32;
    };
    const auto require_float = [](bool is, const std::string& name) {
      if (is) return;
      throw Error(ErrorCode::Unsupported,
                  "'" + name +
                      "' is not float32; models with float32 input and output are "
                      "supported");
    };
    if (types) require_float(is_float(predictor_->GetInputTypes(), inputs[0]), inputs[0]);
    input_ = predictor_->GetInputHandle(inputs[0]);
    const auto shapes = predictor_->GetOutputTensorShape();
    const auto output_types =
        types ? predictor_->GetOutputTypes() : decltype(predictor_->GetOutputTypes()){};
    for (const std::string& name : outputs) {
      const bool is = is_float(output_types, name);
      if (output_specs_.empty()) require_float(is, name);
      if (!is) continue;
      output_specs_.push_back({name, shapes.at(name), "float32"});
      outputs_.push_back(predictor_->GetOutputHandle(name));
    }
  }

  ~PaddleEngine() override {
    if (!has_hook_) family_->give_back(predictor_);
  }

  TensorSpec input_spec() const override { return input_spec_; }
  std::vector<TensorSpec> output_specs() const override { return output_specs_; }
  std::int64_t largest_batch() const override { return kImagesPerThread * config_.threads; }

  void run(const TensorView& input, Outputs& outputs, RunControl& /*control*/) override {
    const auto run = [&] {
      if (!std::equal(input.shape.begin(), input.shape.end(), input_shape_.begin(),
                      input_shape_.end())) {
        input_shape_.assign(input.shape.begin(), input.shape.end());
        onednn_shape_key_ = onednn_shape_key(input_shape_);
      }
      std::optional<OneDnnRun> guard;
      if (config_.accelerator == Accelerator::OneDnn) guard.emplace(onednn_shape_key_);
      input_->Reshape(input_shape_);
      input_->CopyFromCpu(input.data);
      run_network();
    };
    guarded("running the model", run, config_.accelerator);
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      if (!outputs.wants(i)) continue;
      guarded("reading the output", [&] {
        const std::vector<int> shape = outputs_[i]->shape();
        outputs_[i]->CopyToCpu(outputs.place(i, Shape(shape.begin(), shape.end())));
      });
    }
  }

  std::unique_ptr<Engine> clone() const override {
    return guarded("cloning the predictor", [&] {
      // OpenVINO's clones share one infer request: side by side they would fail, or mix up outputs.
      const bool anew = config_.accelerator == Accelerator::OpenVino;
      return std::make_unique<PaddleEngine>(config_, model_, family_, anew ? nullptr : predictor_);
    });
  }

  bool has_layers() const override { return true; }

  /// Without an accelerator, Paddle's kernels are slower than those of the native engine.
  bool is_fastest() const override {
    return config_.accelerator != Accelerator::Plain || model_.traits.onednn_refusal.empty();
  }

  void set_layer_callback(LayerCallback callback) override {
    callback_ = std::move(callback);
    if (has_hook_ || !callback_) return;
    has_hook_ = true;  // for good: the next user must not get this predictor
    predictor_->RegisterOutputHook(
        [this](const std::string& op_type, const std::string& name, const paddle::Tensor& tensor) {
          if (!callback_) return;
          // An operator of a .json that works in place is said to give its input too, while that is
          // kept; there each name is the output of one operator.
          const bool again = !reported_.insert(name).second;
          if (again && model_.format == ModelFormat::Json) return;
          if (!tensor.initialized() || tensor.dtype() != phi::DataType::FLOAT32) return;
          callback_(op_type, name, {tensor.data<float>(), tensor.shape()});
        });
  }

 private:
  void run_network() {
    reported_.clear();
    std::optional<KeepIntermediateResults> keep;
    if (!has_run_ && model_.format == ModelFormat::Json && !config_.memory_optim) keep.emplace();
    if (!predictor_->Run()) {
      throw Error(ErrorCode::BackendFailure, "Paddle could not run the model");
    }
    has_run_ = true;
  }

  Config config_;
  const Model& model_;
  std::shared_ptr<Family> family_;
  PaddlePredictor predictor_;
  // Destroyed before the predictor, whose scope they point into.
  std::unique_ptr<paddle_infer::Tensor> input_;
  std::vector<std::unique_ptr<paddle_infer::Tensor>> outputs_;  ///< of output_specs_
  TensorSpec input_spec_;
  std::vector<TensorSpec> output_specs_;
  std::vector<int> input_shape_;
  std::string onednn_shape_key_;  ///< of input_shape_
  bool has_run_ = false;
  LayerCallback callback_;
  bool has_hook_ = false;
  std::set<std::string> reported_;  ///< to the callback, in this run
};

Engine* create(const Config& config, const Model& model) {
  return guarded("loading the model", [&] {
    auto family = config.accelerator == Accelerator::OpenVino ? openvino_family(config, model)
                                                              : std::make_shared<Family>();
    return new PaddleEngine(config, model, std::move(family), nullptr);
  });
}

}  // namespace
}  // namespace lenet

extern "C" {

__attribute__((visibility("default"))) const char* lenet_paddle_version() {
  static const std::string version = lenet::library_version();
  return version.c_str();
}

__attribute__((visibility("default"))) lenet::Engine* lenet_paddle_create(
    const lenet::Config& config, const lenet::Model& model) {
  return lenet::create(config, model);
}
}

#include <paddle_inference_api.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <sstream>
#include <utility>

#include "engines/paddle/plugin.h"
#include "lenet/error.h"

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
  for (std::string line; std::getline(lines, line);) {
    if (line.find_first_not_of("- \t\r") != std::string::npos) return line;
  }
  return "no reason given";
}

template <typename Action>
auto guarded(const char* doing, Action&& action) {
  try {
    return action();
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::BackendFailure, std::string("out of memory while ") + doing);
  } catch (const std::exception& error) {
    throw Error(ErrorCode::BackendFailure,
                std::string("Paddle failed while ") + doing + ": " + summary_of(error.what()));
  }
}

std::string dtype_name(paddle_infer::DataType type) {
  switch (type) {
    case paddle_infer::DataType::FLOAT32:
      return "float32";
    case paddle_infer::DataType::FLOAT64:
      return "float64";
    case paddle_infer::DataType::FLOAT16:
      return "float16";
    case paddle_infer::DataType::INT64:
      return "int64";
    case paddle_infer::DataType::INT32:
      return "int32";
    case paddle_infer::DataType::UINT8:
      return "uint8";
    case paddle_infer::DataType::INT8:
      return "int8";
    default:
      return "other";
  }
}

// Keeping the primitives of this many input shapes bounds oneDNN's cache, which otherwise grows
// with every new batch size.
constexpr int kOneDnnShapes = 16;

/// A private folder that is removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_((fs::temp_directory_path() / "lenet-XXXXXX").string()) {
    if (mkdtemp(path_.data()) == nullptr) {
      throw Error(ErrorCode::BackendFailure,
                  "cannot make a temporary folder: " + std::string(std::strerror(errno)));
    }
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void configure(paddle_infer::Config& target, const Config& config, const ModelFiles& files,
               const std::string& cache) {
  if (files.format == ModelFormat::Separate) {
    target.SetModel(files.directory);
  } else {
    target.SetModel(files.program, files.params);
  }
  target.DisableGpu();
  target.DisableGlogInfo();
  target.SetCpuMathLibraryNumThreads(config.threads);
  target.SwitchIrOptim(config.ir_optim ? 1 : 0);
  if (files.format == ModelFormat::Json) {
    target.EnableNewExecutor(true);
    target.EnableNewIR(true);
  } else {
    target.EnableMemoryOptim(config.memory_optim);
  }
  switch (config.accelerator) {
    case Accelerator::OneDnn:
      target.EnableONEDNN();
      target.SetOnednnCacheCapacity(kOneDnnShapes);
      break;
    case Accelerator::OpenVino:
      target.DisableONEDNN();
      target.SetOptimCacheDir(cache);
      target.EnableOpenVINOEngine(paddle_infer::PrecisionType::kFloat32);
      break;
    case Accelerator::Plain:
    case Accelerator::Auto:
      target.DisableONEDNN();
      break;
  }
}

class PaddleEngine final : public Engine {
 public:
  PaddleEngine(std::shared_ptr<paddle_infer::Predictor> predictor,
               std::shared_ptr<TemporaryFolder> cache,
               std::shared_ptr<paddle_infer::Predictor> root = nullptr)
      : cache_(std::move(cache)), root_(std::move(root)), predictor_(std::move(predictor)) {
    const auto inputs = predictor_->GetInputNames();
    const auto outputs = predictor_->GetOutputNames();
    if (inputs.size() != 1 || outputs.empty()) {
      throw Error(ErrorCode::Unsupported,
                  "the model has " + std::to_string(inputs.size()) + " inputs and " +
                      std::to_string(outputs.size()) +
                      " outputs; classifiers with one input and at least one output are supported");
    }
    input_spec_ = {inputs[0], predictor_->GetInputTensorShape().at(inputs[0]),
                   dtype_name(predictor_->GetInputTypes().at(inputs[0]))};
    output_spec_ = {outputs[0], predictor_->GetOutputTensorShape().at(outputs[0]),
                    dtype_name(predictor_->GetOutputTypes().at(outputs[0]))};
    for (const TensorSpec* spec : {&input_spec_, &output_spec_}) {
      if (spec->dtype != "float32") {
        throw Error(ErrorCode::Unsupported,
                    "'" + spec->name + "' is " + spec->dtype +
                        "; models with float32 input and output are supported");
      }
    }
    input_ = predictor_->GetInputHandle(inputs[0]);
    output_ = predictor_->GetOutputHandle(outputs[0]);
  }

  TensorSpec input_spec() const override { return input_spec_; }
  TensorSpec output_spec() const override { return output_spec_; }

  Shape run(const TensorView& input) override {
    return guarded("running the model", [&] {
      input_shape_.assign(input.shape.begin(), input.shape.end());
      input_->Reshape(input_shape_);
      input_->CopyFromCpu(input.data);
      if (!predictor_->Run()) {
        throw Error(ErrorCode::BackendFailure, "Paddle could not run the model");
      }
      const std::vector<int> shape = output_->shape();
      return Shape(shape.begin(), shape.end());
    });
  }

  void copy_output(float* destination) override {
    guarded("reading the output", [&] { output_->CopyToCpu(destination); });
  }

  std::unique_ptr<Engine> clone() const override {
    return guarded("cloning the predictor", [&] {
      auto predictor = std::shared_ptr<paddle_infer::Predictor>(predictor_->Clone().release());
      return std::make_unique<PaddleEngine>(std::move(predictor), cache_,
                                            root_ ? root_ : predictor_);
    });
  }

  void set_layer_callback(LayerCallback callback) override {
    predictor_->RegisterOutputHook([callback = std::move(callback)](const std::string& op_type,
                                                                    const std::string& name,
                                                                    const paddle::Tensor& tensor) {
      if (!tensor.initialized() || tensor.dtype() != phi::DataType::FLOAT32) return;
      callback(op_type, name, {tensor.data<float>(), tensor.shape()});
    });
  }

 private:
  std::shared_ptr<TemporaryFolder> cache_;
  // The predictor that loaded the weights: Paddle frees them with it, clones or not.
  std::shared_ptr<paddle_infer::Predictor> root_;
  std::shared_ptr<paddle_infer::Predictor> predictor_;
  // Destroyed before the predictor, whose scope they point into.
  std::unique_ptr<paddle_infer::Tensor> input_;
  std::unique_ptr<paddle_infer::Tensor> output_;
  TensorSpec input_spec_;
  TensorSpec output_spec_;
  std::vector<int> input_shape_;
};

Engine* create(const Config& config, const ModelFiles& files) {
  // OpenVINO keeps compiled models on disk, by default in ./__cache__: it would litter the user's
  // folder, and trust what somebody else may have left there.
  std::shared_ptr<TemporaryFolder> cache;
  if (config.accelerator == Accelerator::OpenVino) cache = std::make_shared<TemporaryFolder>();
  paddle_infer::Config target;
  configure(target, config, files, cache ? cache->path() : "");
  return guarded("loading the model",
                 [&] { return new PaddleEngine(paddle_infer::CreatePredictor(target), cache); });
}

}  // namespace
}  // namespace lenet

extern "C" {

__attribute__((visibility("default"))) const char* lenet_paddle_version() {
  // "version: 3.3.1\ncommit: ...\nbranch: ..."
  static const std::string version = [] {
    std::istringstream words(paddle_infer::GetVersion());
    std::string key;
    std::string value;
    return words >> key >> value && key == "version:" ? value : std::string("unknown");
  }();
  return version.c_str();
}

__attribute__((visibility("default"))) lenet::Engine* lenet_paddle_create(
    const lenet::Config& config, const lenet::ModelFiles& files) {
  return lenet::create(config, files);
}
}

#include "engines/onnxruntime/engine.h"

#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "engines/onnxruntime/onnxruntime_library.h"
#include "io/file.h"
#include "lenet/error.h"

namespace lenet {
namespace {

/// Something of onnxruntime's, released by the function that `Member` names in its table.
template <typename T, auto Member>
class Owned {
 public:
  explicit Owned(const ort::Api& api) : api_(&api) {}
  Owned(Owned&& other) noexcept : api_(other.api_), value_(std::exchange(other.value_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(api_, other.api_);
    std::swap(value_, other.value_);
    return *this;
  }
  ~Owned() { reset(); }

  T* get() const { return value_; }
  /// Where a function of the library puts what it made.
  T** out() {
    reset();
    return &value_;
  }

 private:
  void reset() {
    if (value_ != nullptr) (api_->*Member)(value_);
    value_ = nullptr;
  }

  const ort::Api* api_;
  T* value_ = nullptr;
};

using Options = Owned<ort::SessionOptions, &ort::Api::ReleaseSessionOptions>;
using Session = Owned<ort::Session, &ort::Api::ReleaseSession>;
using Type = Owned<ort::TypeInfo, &ort::Api::ReleaseTypeInfo>;
using TensorInfo = Owned<ort::TensorInfo, &ort::Api::ReleaseTensorTypeAndShapeInfo>;
using Value = Owned<ort::Value, &ort::Api::ReleaseValue>;
using MemoryInfo = Owned<ort::MemoryInfo, &ort::Api::ReleaseMemoryInfo>;

/// \param opened what was opened in the place of `file`
void require_loaded(const ort::Api& api, ort::Status* status, const std::string& file,
                    const std::string& opened) {
  if (status == nullptr) return;
  const ort::ErrorCode code = api.GetErrorCode(status);
  std::string message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  const std::string prefix = "Load model from " + opened + " failed:";
  if (message.compare(0, prefix.size(), prefix) == 0) message.erase(0, prefix.size());
  message = plain_message(std::move(message));
  const auto says = [&](const char* text) { return message.find(text) != std::string::npos; };
  ErrorCode kind = ErrorCode::BadModel;
  if (code == ort::kNotImplemented || says("is not a registered function/op") ||
      says("No Op registered") || says("under development") ||
      says("nsupported model IR version")) {
    kind = ErrorCode::Unsupported;
  } else if (code == ort::kNoSuchFile) {
    kind = ErrorCode::FileNotFound;
  } else if (says("bad_alloc") || says("Failed to allocate memory")) {
    kind = ErrorCode::BackendFailure;
  }
  throw Error(kind, "onnxruntime cannot load '" + file + "': " + message);
}

/// Copies a model that is in several files to a folder: onnxruntime follows no links to memory.
/// \returns the program's path
std::string copy_model(const Model& model, const std::string& folder) {
  namespace fs = std::filesystem;
  const auto copy = [&](const MemoryFile& file, const fs::path& to) {
    std::error_code failed;
    fs::create_directories(to.parent_path(), failed);
    if (!failed) fs::copy_file(file.path(), to, failed);
    if (!failed) return;
    throw Error(ErrorCode::BackendFailure, "cannot copy the model to '" + to.string() +
                                               "': " + failed.message() +
                                               "; set TMPDIR to a folder with more room");
  };
  const fs::path root = fs::path(model.path).parent_path();
  for (const auto& [path, file] : model.external) {
    copy(*file, folder / fs::path(path).lexically_relative(root));
  }
  const std::string program = folder + "/lenet-program.onnx";
  copy(*model.program, program);
  return program;
}

/// A loaded model, which its clones share: a session may be run by any number of threads at once.
class LoadedModel {
 public:
  LoadedModel(const Config& config, const Model& model)
      : api_(*load_onnxruntime().api), memory_(api_), session_(api_) {
    const Options options = options_of(config);
    std::string program = model.program->path();
    std::optional<TemporaryFolder> folder;
    if (!model.external.empty()) program = copy_model(model, folder.emplace().path());
    require_loaded(api_,
                   api_.CreateSession(load_onnxruntime().environment, program.c_str(),
                                      options.get(), session_.out()),
                   model.path, program);
    require(api_.CreateCpuMemoryInfo(ort::kDeviceAllocator, ort::kDefaultMemory, memory_.out()));
    std::size_t inputs = 0;
    std::size_t outputs = 0;
    require(api_.SessionGetInputCount(session_.get(), &inputs));
    require(api_.SessionGetOutputCount(session_.get(), &outputs));
    if (inputs != 1 || outputs != 1) {
      throw Error(ErrorCode::Unsupported,
                  "'" + model.path + "' has " + std::to_string(inputs) + " inputs and " +
                      std::to_string(outputs) +
                      " outputs; classifiers with one input and one output are supported");
    }
    input_ = spec(api_.SessionGetInputName, api_.SessionGetInputTypeInfo, model.path);
    output_ = spec(api_.SessionGetOutputName, api_.SessionGetOutputTypeInfo, model.path);
    if (input_.shape.empty()) {
      throw Error(ErrorCode::Unsupported, "'" + model.path + "' does not say the shape of its " +
                                              "input '" + input_.name +
                                              "'; images in batches are supported");
    }
  }

  const ort::Api& api() const { return api_; }
  const TensorSpec& input() const { return input_; }
  const TensorSpec& output() const { return output_; }

  Value run(const TensorView& input) const {
    Value given(api_);
    // Never written to.
    auto* data = const_cast<float*>(input.data);
    require(api_.CreateTensorWithDataAsOrtValue(
        memory_.get(), data, element_count(input.shape) * sizeof(float), input.shape.data(),
        input.shape.size(), ort::kFloat, given.out()));
    const char* input_name = input_.name.c_str();
    const char* output_name = output_.name.c_str();
    const ort::Value* inputs[] = {given.get()};
    Value made(api_);
    require_success(
        api_,
        api_.Run(session_.get(), nullptr, &input_name, inputs, 1, &output_name, 1, made.out()),
        "running the model");
    return made;
  }

  Shape shape_of(const ort::Value* value) const {
    TensorInfo info(api_);
    require(api_.GetTensorTypeAndShape(value, info.out()));
    return shape_of(info.get());
  }

 private:
  Options options_of(const Config& config) const {
    Options options(api_);
    require(api_.CreateSessionOptions(options.out()));
    require(api_.SetIntraOpNumThreads(options.get(), config.threads));
    require(api_.SetInterOpNumThreads(options.get(), 1));
    require(api_.SetSessionLogSeverityLevel(options.get(), ort::kLogFatal));
    require(api_.SetSessionGraphOptimizationLevel(
        options.get(), config.ir_optim ? ort::kEnableAll : ort::kDisableAll));
    if (config.memory_optim) {
      // Both keep memory between runs for the next.
      require(api_.DisableCpuMemArena(options.get()));
      require(api_.DisableMemPattern(options.get()));
    }
    return options;
  }

  void require(ort::Status* status) const { require_success(api_, status, "loading the model"); }

  template <typename GetName, typename GetType>
  TensorSpec spec(GetName get_name, GetType get_type, const std::string& file) const {
    TensorSpec spec;
    ort::Allocator* allocator = nullptr;
    char* name = nullptr;
    require(api_.GetAllocatorWithDefaultOptions(&allocator));
    require(get_name(session_.get(), 0, allocator, &name));
    spec.name = name;
    require(api_.AllocatorFree(allocator, name));
    Type type(api_);
    const ort::TensorInfo* tensor = nullptr;
    ort::ElementType element = {};
    require(get_type(session_.get(), 0, type.out()));
    require(api_.CastTypeInfoToTensorInfo(type.get(), &tensor));
    if (tensor != nullptr) require(api_.GetTensorElementType(tensor, &element));
    if (element != ort::kFloat) {
      throw Error(ErrorCode::Unsupported,
                  "'" + file + "': '" + spec.name +
                      "' is not a float32 tensor; models with float32 input "
                      "and output are supported");
    }
    spec.dtype = "float32";
    spec.shape = shape_of(tensor);
    return spec;
  }

  Shape shape_of(const ort::TensorInfo* info) const {
    std::size_t rank = 0;
    require(api_.GetDimensionsCount(info, &rank));
    Shape shape(rank);
    require(api_.GetDimensions(info, shape.data(), rank));
    return shape;
  }

  const ort::Api& api_;
  MemoryInfo memory_;
  Session session_;
  TensorSpec input_;
  TensorSpec output_;
};

class OnnxRuntimeEngine final : public Engine {
 public:
  OnnxRuntimeEngine(std::shared_ptr<const LoadedModel> model, int threads)
      : model_(std::move(model)), threads_(threads), output_(model_->api()) {}

  TensorSpec input_spec() const override { return model_->input(); }
  TensorSpec output_spec() const override { return model_->output(); }
  std::int64_t largest_batch() const override { return kImagesPerThread * threads_; }

  const Shape& run(const TensorView& input) override {
    output_ = model_->run(input);
    shape_ = model_->shape_of(output_.get());
    return shape_;
  }

  void copy_output(float* destination) override {
    void* data = nullptr;
    require_success(model_->api(), model_->api().GetTensorMutableData(output_.get(), &data),
                    "reading the output");
    std::memcpy(destination, data, element_count(shape_) * sizeof(float));
  }

  std::unique_ptr<Engine> clone() const override {
    return std::make_unique<OnnxRuntimeEngine>(model_, threads_);
  }

  void set_layer_callback(LayerCallback) override {
    throw Error(
        ErrorCode::Unsupported,
        "onnxruntime does not show the output of each operator; the paddle engine does, for "
        "the model that lenet-cpp import makes");
  }

 private:
  std::shared_ptr<const LoadedModel> model_;
  int threads_;
  Value output_;  ///< of the last run
  Shape shape_;
};

}  // namespace

void require_onnxruntime_options(const Config& config) {
  if (config.precision != "fp32") {
    throw Error(ErrorCode::Unsupported,
                "the onnxruntime engine does not support precision " + config.precision +
                    ": a model runs in the arithmetic that it was exported with; use fp32");
  }
  if (config.accelerator != Accelerator::Auto && config.accelerator != Accelerator::Plain) {
    throw Error(ErrorCode::Unsupported,
                std::string("accelerator ") + to_string(config.accelerator) +
                    " belongs to the paddle engine; with onnxruntime use auto");
  }
}

std::unique_ptr<Engine> create_onnxruntime_engine(const Config& config, const Model& model) {
  return std::make_unique<OnnxRuntimeEngine>(std::make_shared<const LoadedModel>(config, model),
                                             config.threads);
}

}  // namespace lenet

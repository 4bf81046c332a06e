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

using RunOptions = Owned<ort::RunOptions, &ort::Api::ReleaseRunOptions>;
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
    if (inputs != 1 || outputs == 0) {
      throw Error(ErrorCode::Unsupported, "'" + model.path + "' has " + std::to_string(inputs) +
                                              " inputs and " + std::to_string(outputs) +
                                              " outputs; classifiers with one input and at least "
                                              "one output are supported");
    }
    input_ = spec(0, api_.SessionGetInputName, api_.SessionGetInputTypeInfo);
    require_float(input_, model.path);
    for (std::size_t i = 0; i < outputs; ++i) {
      TensorSpec output = spec(i, api_.SessionGetOutputName, api_.SessionGetOutputTypeInfo);
      if (i == 0) require_float(output, model.path);
      if (!output.dtype.empty()) outputs_.push_back(std::move(output));
    }
    if (input_.shape.empty()) {
      throw Error(ErrorCode::Unsupported, "'" + model.path + "' does not say the shape of its " +
                                              "input '" + input_.name +
                                              "'; images in batches are supported");
    }
  }

  const ort::Api& api() const { return api_; }
  const TensorSpec& input() const { return input_; }
  const std::vector<TensorSpec>& outputs() const { return outputs_; }

  /// \returns an output for each of the names
  std::vector<Value> run(const TensorView& input, const std::vector<const char*>& names,
                         const ort::RunOptions* options) const {
    Value given(api_);
    // Never written to.
    auto* data = const_cast<float*>(input.data);
    require(api_.CreateTensorWithDataAsOrtValue(
        memory_.get(), data, element_count(input.shape) * sizeof(float), input.shape.data(),
        input.shape.size(), ort::kFloat, given.out()));
    const char* input_name = input_.name.c_str();
    const ort::Value* inputs[] = {given.get()};
    std::vector<ort::Value*> values(names.size());
    require_success(api_,
                    api_.Run(session_.get(), options, &input_name, inputs, 1, names.data(),
                             names.size(), values.data()),
                    "running the model");
    std::vector<Value> made;
    for (ort::Value* value : values) *made.emplace_back(api_).out() = value;
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

  static void require_float(const TensorSpec& spec, const std::string& file) {
    if (!spec.dtype.empty()) return;
    throw Error(ErrorCode::Unsupported, "'" + file + "': '" + spec.name +
                                            "' is not a float32 tensor; models with float32 input "
                                            "and output are supported");
  }

  /// \returns without a shape and a dtype what is no float32 tensor
  template <typename GetName, typename GetType>
  TensorSpec spec(std::size_t index, GetName get_name, GetType get_type) const {
    TensorSpec spec;
    ort::Allocator* allocator = nullptr;
    char* name = nullptr;
    require(api_.GetAllocatorWithDefaultOptions(&allocator));
    require(get_name(session_.get(), index, allocator, &name));
    spec.name = name;
    require(api_.AllocatorFree(allocator, name));
    Type type(api_);
    const ort::TensorInfo* tensor = nullptr;
    ort::ElementType element = {};
    require(get_type(session_.get(), index, type.out()));
    require(api_.CastTypeInfoToTensorInfo(type.get(), &tensor));
    if (tensor != nullptr) require(api_.GetTensorElementType(tensor, &element));
    if (element != ort::kFloat) return spec;
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
  std::vector<TensorSpec> outputs_;
};

class OnnxRuntimeEngine final : public Engine {
 public:
  OnnxRuntimeEngine(std::shared_ptr<const LoadedModel> model, int threads)
      : model_(std::move(model)), threads_(threads), options_(model_->api()) {
    require(model_->api().CreateRunOptions(options_.out()));
  }

  TensorSpec input_spec() const override { return model_->input(); }
  std::vector<TensorSpec> output_specs() const override { return model_->outputs(); }
  std::int64_t largest_batch() const override { return kImagesPerThread * threads_; }

  void run(const TensorView& input, Outputs& outputs, RunControl& control) override {
    std::vector<std::size_t> wanted;
    std::vector<const char*> names;
    for (std::size_t i = 0; i < model_->outputs().size(); ++i) {
      if (!outputs.wants(i)) continue;
      wanted.push_back(i);
      names.push_back(model_->outputs()[i].name.c_str());
    }
    const std::vector<Value> values = run_until_stopped(input, names, control);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const Shape shape = model_->shape_of(values[i].get());
      void* data = nullptr;
      require(model_->api().GetTensorMutableData(values[i].get(), &data));
      std::memcpy(outputs.place(wanted[i], shape), data, element_count(shape) * sizeof(float));
    }
  }

  std::unique_ptr<Engine> clone() const override {
    return std::make_unique<OnnxRuntimeEngine>(model_, threads_);
  }

  void set_layer_callback(LayerCallback callback) override {
    if (!callback) return;
    throw Error(
        ErrorCode::Unsupported,
        "onnxruntime does not show the output of each operator; the paddle engine does, for "
        "the model that lenet-cpp import makes");
  }

 private:
  std::vector<Value> run_until_stopped(const TensorView& input,
                                       const std::vector<const char*>& names, RunControl& control) {
    const ort::Api& api = model_->api();
    require(api.RunOptionsUnsetTerminate(options_.get()));
    const RunControl::Watch watch(control, [this, &api] {
      api.RunOptionsSetTerminate(options_.get());  // fails for null alone
    });
    try {
      return model_->run(input, names, options_.get());
    } catch (const Error&) {
      control.require_running();  // says more
      throw;
    }
  }

  void require(ort::Status* status) const {
    require_success(model_->api(), status, "running the model");
  }

  std::shared_ptr<const LoadedModel> model_;
  int threads_;
  RunOptions options_;
};

}  // namespace

std::unique_ptr<Engine> create_onnxruntime_engine(const Config& config, const Model& model) {
  return std::make_unique<OnnxRuntimeEngine>(std::make_shared<const LoadedModel>(config, model),
                                             config.threads);
}

}  // namespace lenet

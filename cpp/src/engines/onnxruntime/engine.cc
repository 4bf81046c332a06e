#include "engines/onnxruntime/engine.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <mutex>
#include <numeric>
#include <optional>
#include <string_view>
#include <utility>

#include "compat/onnxruntime_api.h"
#include "config_option.h"
#include "engines/foreign_load.h"
#include "engines/shared_library.h"
#include "io/file.h"
#include "lenet/error.h"
#include "model/element_types.h"
#include "model/graph.h"
#include "model/rules/support.h"
#include "platform/platform.h"

namespace lenet {
namespace {

// ---- the library, opened when a predictor first asks for it

constexpr const char* kFileName = "libonnxruntime.so";
constexpr std::pair kOldest = {1, 17};

[[noreturn]] void fail(ErrorCode code, const std::string& message) {
  throw Error(code, message +
                        "; install it (pip install 'onnxruntime>=1.19'), or set "
                        "LENET_ONNXRUNTIME_LIBRARY to the library file (libonnxruntime.so)");
}

/// In the folder that was known at build time; the wheel has its version in the file's name.
std::string built_with() {
  std::string ignored;
  std::vector<std::string> found;
  for (std::string& path : platform::list_folder(LENET_ONNXRUNTIME_DIR, ignored)) {
    if (platform::name_of(path).rfind(kFileName, 0) == 0) found.push_back(std::move(path));
  }
  return found.empty() ? "" : *std::min_element(found.begin(), found.end());
}

void* open_library(const std::string& named) {
  if (!named.empty() && !platform::exists(named)) {
    fail(ErrorCode::FileNotFound, "there is no onnxruntime library '" + named + "'");
  }
  const std::string chosen = named.empty() ? built_with() : named;
  void* handle =
      platform::open_library(chosen.empty() ? platform::library_name("onnxruntime", 1) : chosen);
  if (handle != nullptr) return handle;
  const std::string reason = platform::last_library_error();
  if (chosen.empty()) {
    fail(ErrorCode::Unsupported,
         "the onnxruntime engine needs the library of that name, which was not found");
  }
  fail(ErrorCode::BackendFailure, "cannot load the onnxruntime library: " + reason);
}

/// Without "/onnxruntime_src/FILE:LINE SIGNATURE ".
std::string without_place(std::string text) {
  const auto begin = text.find("/onnxruntime_src/");
  if (begin == std::string::npos) return text;
  // A signature may have several parentheses, such as operator()(const T&).
  auto end = text.find('(', begin);
  for (int depth = 0; end < text.size() && (depth > 0 || text[end] == '('); ++end) {
    if (text[end] == '(') ++depth;
    if (text[end] == ')') --depth;
  }
  if (end >= text.size()) return text;
  constexpr std::string_view kConst = " const";
  if (text.compare(end, kConst.size(), kConst) == 0) end += kConst.size();
  return text.erase(begin, text.find_first_not_of(' ', end) - begin);
}

/// What goes wrong is told by an Error; the library's own log would only repeat it.
void ignore_log(void*, ort::LogLevel, const char*, const char*, const char*, const char*) {}

/// What a status says in one line, without places in onnxruntime's sources. Releases it.
std::string take_message(const ort::Api& api, ort::Status* status) {
  std::string message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  // Of the errors of CUDA's libraries the end says what happened, with a place behind it.
  for (const char* library : {"CUDA", "CUDNN_FE", "CUDNN", "CUBLAS"}) {
    const auto begin = message.find(std::string(library) + " failure ");
    if (begin != std::string::npos) message.erase(0, begin);
  }
  message.resize(std::min({message.find('\n'), message.find(" ; GPU="), message.size()}));
  // An error inside another says all that there is to say: "[ONNXRuntimeError] : CODE : NAME : ".
  constexpr std::string_view kColon = " : ";
  auto inner = message.rfind("[ONNXRuntimeError]");
  for (int i = 0; i < 3 && inner != std::string::npos; ++i) inner = message.find(kColon, inner + 1);
  if (inner != std::string::npos) message.erase(0, inner + kColon.size());
  return without_place(std::move(message));
}

struct OnnxRuntimeLibrary {
  const ort::Api* api = nullptr;
  ort::Env* environment = nullptr;  ///< one for the process, never released; prints nothing
  std::string version;
};

OnnxRuntimeLibrary open(const std::string& path) {
  void* handle = open_library(path);
  const auto get_base =
      reinterpret_cast<ort::GetApiBase>(platform::find_symbol(handle, ort::kGetApiBaseSymbol));
  if (get_base == nullptr) {
    fail(ErrorCode::BackendFailure,
         "the library that was named is not onnxruntime: " + platform::last_library_error());
  }
  OnnxRuntimeLibrary opened;
  opened.version = get_base()->GetVersionString();
  const std::string name = "onnxruntime " + opened.version;
  if (parse_version(opened.version) < kOldest) {
    fail(ErrorCode::VersionMismatch, name + " was found, 1.17 or later is needed");
  }
  opened.api = get_base()->GetApi(ort::kApiVersion);
  if (opened.api == nullptr) {
    fail(ErrorCode::VersionMismatch, name + " has no longer the API of 1.17");
  }
  ort::Status* status = opened.api->CreateEnvWithCustomLogger(&ignore_log, nullptr, ort::kLogFatal,
                                                              "lenet", &opened.environment);
  if (status != nullptr) {
    fail(ErrorCode::BackendFailure, name + " does not start: " + take_message(*opened.api, status));
  }
  return opened;
}

LazyLibrary<OnnxRuntimeLibrary> library("LENET_ONNXRUNTIME_LIBRARY", open);

// ---- models

/// The limit of the names of classes, which onnxruntime copies for each image that it runs at once.
constexpr std::int64_t kMaxNameBytes = std::int64_t{1} << 26;

const ort::Api& api() {
  static const ort::Api& loaded = *library.get().api;
  return loaded;
}

template <auto Function>
struct Release {
  template <typename T>
  void operator()(T* value) const {
    (api().*Function)(value);
  }
};

using RunOptions = std::unique_ptr<ort::RunOptions, Release<&ort::Api::ReleaseRunOptions>>;
using Options = std::unique_ptr<ort::SessionOptions, Release<&ort::Api::ReleaseSessionOptions>>;
using Session = std::unique_ptr<ort::Session, Release<&ort::Api::ReleaseSession>>;
using Type = std::unique_ptr<ort::TypeInfo, Release<&ort::Api::ReleaseTypeInfo>>;
using TensorInfo =
    std::unique_ptr<ort::TensorInfo, Release<&ort::Api::ReleaseTensorTypeAndShapeInfo>>;
using Value = std::unique_ptr<ort::Value, Release<&ort::Api::ReleaseValue>>;
using MemoryInfo = std::unique_ptr<ort::MemoryInfo, Release<&ort::Api::ReleaseMemoryInfo>>;

void require_success(ort::Status* status, const char* doing = "loading the model") {
  if (status == nullptr) return;
  std::string message = take_message(api(), status);
  const auto says = [&](const char* text) { return message.find(text) != std::string::npos; };
  if (says("Available memory of") || says("out of memory")) {
    message += "; run fewer images at once (max_batch_size), or raise gpu_mem where it is set";
  }
  throw Error(ErrorCode::BackendFailure,
              std::string("onnxruntime failed while ") + doing + ": " + message);
}

/// What a function of onnxruntime gives in its last argument.
template <typename T, typename Function, typename... Arguments>
T result(Function function, Arguments... arguments) {
  T value{};
  require_success(function(arguments..., &value));
  return value;
}

/// \param opened what was opened in the place of `file`
void require_loaded(ort::Status* status, const std::string& file, const std::string& opened) {
  if (status == nullptr) return;
  const ort::ErrorCode code = api().GetErrorCode(status);
  std::string message = take_message(api(), status);
  const std::string prefix = "Load model from " + opened + " failed:";
  if (message.compare(0, prefix.size(), prefix) == 0) message.erase(0, prefix.size());
  const auto says = [&](const char* text) { return message.find(text) != std::string::npos; };
  ErrorCode kind = ErrorCode::BadModel;
  if (code == ort::kNotImplemented || says("is not a registered function/op") ||
      says("No Op registered") || says("under development") ||
      says("nsupported model IR version") || says("CUDA failure")) {
    // Memory of a GPU may be free later; a driver or a device is missing for good.
    kind = says("out of memory") ? ErrorCode::BackendFailure : ErrorCode::Unsupported;
  } else if (code == ort::kNoSuchFile) {
    kind = ErrorCode::FileNotFound;
  } else if (says("bad_alloc") || says("Failed to allocate memory")) {
    kind = ErrorCode::BackendFailure;
  }
  throw Error(kind, "onnxruntime cannot load '" + file + "': " + message);
}

/// Copies a model to a folder: one in several files, for onnxruntime follows no links to memory,
/// and each where a file in memory has no path.
/// \returns the program's path
std::string copy_model(const Model& model, const std::string& folder) {
  const auto copy = [&](const MemoryFile& file, const std::string& name) {
    for (auto end = name.find('/'); end != std::string::npos; end = name.find('/', end + 1)) {
      platform::make_folder(folder + "/" + name.substr(0, end));
    }
    try {
      write_atomically(folder + "/" + name, {file.contents()});
    } catch (const Error& error) {
      throw Error(ErrorCode::BackendFailure, "cannot copy the model: " + std::string(error.what()) +
                                                 "; set TMPDIR to a folder with more room");
    }
  };
  constexpr const char* kProgram = "lenet-program.onnx";
  const std::size_t location = platform::begin_of_name(model.path);  // all begin with its folder
  for (const auto& [path, file] : model.external) copy(*file, path.substr(location));
  copy(*model.program, kProgram);
  return folder + "/" + kProgram;
}

/// Appends a provider, of which the table of functions has these four.
/// \throws Error Unsupported: why this onnxruntime cannot compute there
template <typename Provider, auto kCreate, auto kUpdate, auto kAppend, auto kRelease>
void append_provider(ort::SessionOptions* session, const Config& config, const char* needs,
                     const std::vector<std::pair<const char*, std::string>>& settings) {
  const auto require = [&](ort::Status* status) {
    if (status == nullptr) return;
    std::string why = take_message(api(), status);
    if (!why.empty() && why.back() == '.') why.pop_back();
    std::string remedy = std::string("install ") + needs;
    const auto number = why.find("Invalid device ID");
    if (number != std::string::npos) why.erase(0, number);
    if (number != std::string::npos || why.find("CUDA failure") != std::string::npos) {
      remedy = "nvidia-smi lists the GPUs and their driver";
    }
    throw Error(ErrorCode::Unsupported, "device " + config.device + ": onnxruntime " +
                                            library.get().version + ": " + why + "; " + remedy);
  };
  Provider* made = nullptr;
  require((api().*kCreate)(&made));
  const std::unique_ptr<Provider, Release<kRelease>> options(made);
  for (const auto& [name, text] : settings) {
    const char* const value = text.c_str();
    require((api().*kUpdate)(made, &name, &value, 1));
  }
  require((api().*kAppend)(session, made));
}

void use_gpu(ort::SessionOptions* session, const Config& config, int number) {
  using ort::Api;
  std::vector<std::pair<const char*, std::string>> settings = {
      {"device_id", std::to_string(number)}};
  if (config.accelerator == Accelerator::TensorRt) {
    append_provider<ort::TensorRtOptions, &Api::CreateTensorRTProviderOptions,
                    &Api::UpdateTensorRTProviderOptions,
                    &Api::SessionOptionsAppendExecutionProvider_TensorRT_V2,
                    &Api::ReleaseTensorRTProviderOptions>(
        session, config, "onnxruntime-gpu with TensorRT, or use accelerator auto", settings);
  }
  // TF32 keeps 10 of the 23 bits of what it multiplies. 1.18 is the first to ask.
  if (parse_version(library.get().version) >= std::pair(1, 18)) {
    settings.emplace_back("use_tf32", config.precision == Precision::Tf32 ? "1" : "0");
  }
  if (config.gpu_mem > 0) {
    settings.emplace_back("gpu_mem_limit", std::to_string(std::int64_t{config.gpu_mem} << 20));
  }
  append_provider<
      ort::CudaOptions, &Api::CreateCUDAProviderOptions, &Api::UpdateCUDAProviderOptions,
      &Api::SessionOptionsAppendExecutionProvider_CUDA_V2, &Api::ReleaseCUDAProviderOptions>(
      session, config, "onnxruntime-gpu with CUDA and cuDNN in its place, or use device cpu",
      settings);
}

Session open_session(const Config& config, const Model& model) {
  const Options options(result<ort::SessionOptions*>(api().CreateSessionOptions));
  require_success(api().SetIntraOpNumThreads(options.get(), config.threads));
  require_success(api().SetInterOpNumThreads(options.get(), 1));
  require_success(api().SetSessionLogSeverityLevel(options.get(), ort::kLogFatal));
  require_success(api().SetSessionGraphOptimizationLevel(
      options.get(), config.ir_optim ? ort::kEnableAll : ort::kDisableAll));
  const int gpu = gpu_number(config.device);
  if (gpu >= 0) use_gpu(options.get(), config, gpu);
  if (config.memory_optim) {
    // Both keep memory between runs for the next.
    require_success(api().DisableCpuMemArena(options.get()));
    require_success(api().DisableMemPattern(options.get()));
  }
  std::optional<TemporaryFolder> folder;
  const bool copies = !model.external.empty() || !MemoryFile::kHasPath;
  const std::string program =
      copies ? copy_model(model, folder.emplace().path()) : model.program->path();
  ort::Session* session = nullptr;
  require_loaded(
      api().CreateSession(library.get().environment, platform::native_path(program).c_str(),
                          options.get(), &session),
      model.path, program);
  return Session(session);
}

Shape shape_of(const ort::TensorInfo* info) {
  Shape shape(result<std::size_t>(api().GetDimensionsCount, info));
  require_success(api().GetDimensions(info, shape.data(), shape.size()));
  return shape;
}

/// \returns without a shape and a dtype what is no tensor of numbers that we take
TensorSpec spec_of(const Session& session, std::size_t index,
                   decltype(ort::Api::SessionGetInputName) get_name,
                   decltype(ort::Api::SessionGetInputTypeInfo) get_type) {
  auto* const allocator = result<ort::Allocator*>(api().GetAllocatorWithDefaultOptions);
  auto* const name = result<char*>(get_name, session.get(), index, allocator);
  TensorSpec spec;
  spec.name = name;
  require_success(api().AllocatorFree(allocator, name));
  const Type type(result<ort::TypeInfo*>(get_type, session.get(), index));
  const auto* tensor = result<const ort::TensorInfo*>(api().CastTypeInfoToTensorInfo, type.get());
  if (tensor == nullptr) return spec;
  const ElementType& element =
      onnx_element_type(result<ort::ElementType>(api().GetTensorElementType, tensor));
  if (is_output(element.dtype)) {
    spec.dtype = element.name;
    spec.shape = shape_of(tensor);
  }
  return spec;
}

/// Tells a scalar from an output of a shape that onnxruntime does not know, by the check.
void take_shape(const Model& model, TensorSpec& output) {
  if (model.refusal) return;
  for (const std::size_t index : model.graph.outputs) {
    const lenet::Value& known = model.graph.values[index];
    if (known.name != output.name || !known.has_shape) continue;
    output.shape = known.shape;
    output.by_image = !known.shape.empty();
  }
}

/// How the maps that a ZipMap gives become rows of scores.
struct MapRows {
  std::vector<std::string> names;    ///< that the maps have, in their order, which is sorted
  Integers numbers;                  ///< in place of names
  std::vector<std::size_t> columns;  ///< of each name or number, in that order
};

/// \throws Error Unsupported: two classes have one name, and onnxruntime gives one score of them.
MapRows rows_of(const NamedClasses& classes, const Model& model) {
  MapRows rows;
  const auto sort = [&](const auto& keys, auto& sorted) {
    rows.columns.resize(keys.size());
    std::iota(rows.columns.begin(), rows.columns.end(), 0);
    const auto is_before = [&](std::size_t a, std::size_t b) { return keys[a] < keys[b]; };
    std::stable_sort(rows.columns.begin(), rows.columns.end(), is_before);
    for (const std::size_t column : rows.columns) sorted.push_back(keys[column]);
    const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
    if (twice == sorted.end()) return;
    const auto at = static_cast<std::size_t>(twice - sorted.begin());
    refuse_model(model, " calls two classes '" + classes.names[rows.columns[at]] +
                            "', of which onnxruntime gives one score");
  };
  if (classes.numbers.empty()) {
    sort(classes.names, rows.names);
  } else {
    sort(classes.numbers, rows.numbers);
  }
  return rows;
}

/// What a session gives as one of its outputs.
struct GivenOutput {
  int dtype = kFloat32;         ///< given as float32
  std::optional<MapRows> rows;  ///< of a list of maps
};

/// What clones share: a session may be run by any number of threads at once.
struct LoadedModel {
  Session session;
  MemoryInfo memory;  ///< that of the processor
  TensorSpec input;
  std::vector<TensorSpec> outputs;
  std::vector<GivenOutput> given;  ///< in the order of `outputs`
  std::int64_t name_bytes = 1;     ///< at least, of the names of classes, which each image gets
};

/// Adds the outputs that are tensors of numbers, or maps that a ZipMap makes of one.
/// \param real whether to add those of floating-point numbers, or the others
void add_outputs(const Model& model, std::size_t count, bool real, LoadedModel& loaded) {
  for (std::size_t i = 0; i < count; ++i) {
    TensorSpec output =
        spec_of(loaded.session, i, api().SessionGetOutputName, api().SessionGetOutputTypeInfo);
    GivenOutput given;
    given.dtype = element_type_named(output.dtype).dtype;
    const auto& named = model.graph.named_classes;
    const auto classes = std::find_if(named.begin(), named.end(), [&](const NamedClasses& each) {
      return each.is_map && model.graph.values[each.value].name == output.name;
    });
    if (given.dtype < 0 && classes != named.end()) {
      given.dtype = kFloat32;
      if (real) given.rows = rows_of(*classes, model);
      for (const std::string& name : classes->names) {
        loaded.name_bytes += static_cast<std::int64_t>(sizeof(name) + name.size());
      }
      output.shape = {-1, static_cast<std::int64_t>(classes->names.size())};
    }
    if (given.dtype < 0 || is_real(given.dtype) != real) continue;
    if (given.rows) {
      output.dtype = "float32";
    } else if (output.shape.empty()) {
      take_shape(model, output);
    }
    loaded.given.push_back(std::move(given));
    loaded.outputs.push_back(std::move(output));
  }
}

std::shared_ptr<const LoadedModel> load(const Config& config, const Model& model) {
  for (const Operator& op : model.graph.operators) {
    const bool aborts =
        op.type == "com.microsoft.QLinearSigmoid" || op.type == "com.microsoft.QLinearLeakyRelu";
    if (aborts && op.inputs.size() < 5) {  // an assertion of onnxruntime 1.32
      refuse_model(model, " has a " + op.type + " without the zero point of its result; write one");
    }
  }
  auto loaded = std::make_shared<LoadedModel>();
  loaded->session = open_session(config, model);
  const Session& session = loaded->session;
  loaded->memory.reset(result<ort::MemoryInfo*>(api().CreateCpuMemoryInfo, ort::kDeviceAllocator,
                                                ort::kDefaultMemory));
  const auto inputs = result<std::size_t>(api().SessionGetInputCount, session.get());
  const auto outputs = result<std::size_t>(api().SessionGetOutputCount, session.get());
  require_one_input(model, inputs, outputs);
  loaded->input = spec_of(session, 0, api().SessionGetInputName, api().SessionGetInputTypeInfo);
  if (!is_number(element_type_named(loaded->input.dtype).dtype)) {
    refuse_model(model, " has an input '" + loaded->input.name +
                            "' that is no tensor of float32, float64, uint8, int32, int64, "
                            "float16 or bfloat16 values");
  }
  for (const bool real : {true, false}) {  // integers and bools come last
    add_outputs(model, outputs, real, *loaded);
  }
  if (loaded->outputs.empty()) {
    refuse_model(model, std::string(" has no output of ") + kOutputTypes + " values");
  }
  if (loaded->input.shape.empty()) {
    refuse_model(model, " does not say the shape of its input '" + loaded->input.name +
                            "'; images in batches are supported");
  }
  return loaded;
}

std::size_t count_elements(const ort::Value* list) {
  return result<std::size_t>(api().GetValueCount, list);
}

Value element_of(const ort::Value* value, std::size_t index) {
  auto* const allocator = result<ort::Allocator*>(api().GetAllocatorWithDefaultOptions);
  return Value(result<ort::Value*>(api().GetValue, value, static_cast<int>(index), allocator));
}

/// The tensor of a map's keys or values, of which there must be so many, of that type.
Value part_of_map(const ort::Value* map, std::size_t part, std::size_t count,
                  ort::ElementType type) {
  Value tensor = element_of(map, part);
  const TensorInfo info(result<ort::TensorInfo*>(api().GetTensorTypeAndShape, tensor.get()));
  const auto found = result<ort::ElementType>(api().GetTensorElementType, info.get());
  if (found != type || element_count(shape_of(info.get())) != count) {
    throw Error(ErrorCode::BackendFailure, "onnxruntime gives other maps than the model has");
  }
  return tensor;
}

/// Whether a map has the keys that it must have.
bool has_keys(const ort::Value* map, const MapRows& rows) {
  const std::size_t count = rows.columns.size();
  if (rows.names.empty()) {
    const Value keys = part_of_map(map, 0, count, ort::kLong);
    const auto* numbers =
        static_cast<const std::int64_t*>(result<void*>(api().GetTensorMutableData, keys.get()));
    return std::equal(rows.numbers.begin(), rows.numbers.end(), numbers);
  }
  const Value keys = part_of_map(map, 0, count, ort::kText);
  std::string texts(result<std::size_t>(api().GetStringTensorDataLength, keys.get()), '\0');
  std::vector<std::size_t> begins(count);
  require_success(
      api().GetStringTensorContent(keys.get(), texts.data(), texts.size(), begins.data(), count));
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t end = i + 1 < count ? begins[i + 1] : texts.size();
    if (begins[i] > end || end > texts.size()) return false;
    if (texts.compare(begins[i], end - begins[i], rows.names[i]) != 0) return false;
  }
  return true;
}

/// Writes the scores of each image, in the order of the classes.
/// \param list of maps, one for each image
void read_maps(const ort::Value* list, std::size_t images, const MapRows& rows, float* scores) {
  const std::size_t count = rows.columns.size();
  for (std::size_t image = 0; image < images; ++image, scores += count) {
    const Value map = element_of(list, image);
    if (!has_keys(map.get(), rows)) {
      throw Error(ErrorCode::BackendFailure, "onnxruntime gives other classes than the model has");
    }
    const Value values = part_of_map(map.get(), 1, count, ort::kFloat);
    const auto* from =
        static_cast<const float*>(result<void*>(api().GetTensorMutableData, values.get()));
    for (std::size_t i = 0; i < count; ++i) scores[rows.columns[i]] = from[i];
  }
}

/// Refuses images that may end the process (Graph::require_room). Clones share it; any thread may
/// call it.
class SizeCheck {
 public:
  explicit SizeCheck(std::shared_ptr<const Model> model) : model_(std::move(model)) {}

  /// \throws Error BadInput.
  void require(const Shape& images) {
    if (!model_->graph.require_room || was_taken(images)) return;
    model_->graph.require_room(images);
    const std::lock_guard lock(mutex_);
    taken_.push_back(images);
    if (taken_.size() > kRemembered) taken_.pop_front();
  }

 private:
  static constexpr std::size_t kRemembered = 64;

  bool was_taken(const Shape& images) {
    const std::lock_guard lock(mutex_);
    return std::find(taken_.begin(), taken_.end(), images) != taken_.end();
  }

  std::shared_ptr<const Model> model_;
  std::mutex mutex_;
  std::deque<Shape> taken_;  ///< the last shapes of inputs
};

class OnnxRuntimeEngine final : public Engine {
 public:
  OnnxRuntimeEngine(std::shared_ptr<const LoadedModel> model, std::shared_ptr<SizeCheck> sizes,
                    Accelerator accelerator)
      : model_(std::move(model)),
        sizes_(std::move(sizes)),
        accelerator_(accelerator),
        options_(result<ort::RunOptions*>(api().CreateRunOptions)) {}

  TensorSpec input_spec() const override { return model_->input; }
  std::vector<TensorSpec> output_specs() const override { return model_->outputs; }
  bool reads_numbers() const override { return true; }
  std::int64_t largest_batch(int threads) const override {
    const std::int64_t most = Engine::largest_batch(threads);
    return std::clamp<std::int64_t>(kMaxNameBytes / model_->name_bytes, 1, most);
  }

  void run(const TensorView& input, Outputs& outputs, RunControl& control) override {
    sizes_->require(input.shape);
    std::vector<std::size_t> wanted;
    std::vector<const char*> names;
    for (std::size_t i = 0; i < model_->outputs.size(); ++i) {
      if (!outputs.wants(i)) continue;
      wanted.push_back(i);
      names.push_back(model_->outputs[i].name.c_str());
    }
    constexpr const char* kDoing = "running the model";
    const ElementType& type = element_type_named(model_->input.dtype);
    const std::size_t count = element_count(input.shape);
    const void* const numbers = input.numbers != nullptr ? input.numbers : input.data;
    void* const data = const_cast<void*>(numbers);  // never written to
    const Value given(result<ort::Value*>(
        api().CreateTensorWithDataAsOrtValue, model_->memory.get(), data, count * type.size,
        input.shape.data(), input.shape.size(), static_cast<ort::ElementType>(type.onnx)));
    const char* input_name = model_->input.name.c_str();
    const ort::Value* inputs[] = {given.get()};
    std::vector<ort::Value*> made(names.size());
    require_success(api().RunOptionsUnsetTerminate(options_.get()), kDoing);
    const RunControl::Watch watch(control, [this] {
      api().RunOptionsSetTerminate(options_.get());  // fails for null alone
    });
    const auto run_once = [&] {
      return api().Run(model_->session.get(), options_.get(), &input_name, inputs, 1, names.data(),
                       names.size(), made.data());
    };
    try {
      ort::Status* status = run_once();
      // CUDA keeps the error of an allocation that failed before in this process, and the first
      // kernel of another model was seen to take it for its own (onnxruntime 1.31.1).
      constexpr std::string_view kStale = "CUDA error cudaErrorMemoryAllocation";
      if (status != nullptr &&
          std::string_view(api().GetErrorMessage(status)).find(kStale) != std::string_view::npos) {
        api().ReleaseStatus(status);
        status = run_once();
      }
      require_success(status, kDoing);
    } catch (const Error&) {
      control.require_running();  // says more
      throw;
    }
    const std::vector<Value> values(made.begin(), made.end());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const GivenOutput& known = model_->given[wanted[i]];
      if (known.rows) {
        const std::size_t images = count_elements(values[i].get());
        const Shape shape = {static_cast<std::int64_t>(images),
                             static_cast<std::int64_t>(known.rows->columns.size())};
        read_maps(values[i].get(), images, *known.rows, outputs.place(wanted[i], shape));
        continue;
      }
      const TensorInfo info(result<ort::TensorInfo*>(api().GetTensorTypeAndShape, values[i].get()));
      const Shape shape = shape_of(info.get());
      const void* from = result<void*>(api().GetTensorMutableData, values[i].get());
      lenet::Value contents;
      contents.data_dtype = known.dtype;
      contents.data = {static_cast<const char*>(from),
                       element_count(shape) * element_size(contents.data_dtype)};
      float* const to = outputs.place(wanted[i], shape);
      copy_floats(contents, to);
      require_exact(model_->outputs[wanted[i]], to, element_count(shape));
    }
  }

  std::unique_ptr<Engine> clone() const override {
    return std::make_unique<OnnxRuntimeEngine>(model_, sizes_, accelerator_);
  }
  Accelerator accelerator(std::int64_t /*images*/) const override { return accelerator_; }

 private:
  std::shared_ptr<const LoadedModel> model_;
  std::shared_ptr<SizeCheck> sizes_;
  Accelerator accelerator_;
  RunOptions options_;
};

}  // namespace

const EngineLibrary kOnnxRuntimeLibrary = {kFileName,
                                           [](const std::string& path) { library.set_path(path); },
                                           [] { return library.get().version; }};

bool takes_onnx_model(const Config& /*config*/, const Model& model) {
  const Graph& graph = model.graph;
  const auto is_tensor_of_numbers = [&](std::size_t index) {
    return is_number(graph.values[index].dtype);
  };
  // What another domain's operators are, no onnxruntime knows by itself.
  const auto is_known = [](const Operator& op) {
    const std::size_t end = op.type.rfind('.');
    return end == std::string::npos ||
           has_word("ai.onnx.ml com.microsoft ai.onnx.preview", op.type.substr(0, end));
  };
  // It has kernels of few operators for bfloat16.
  return graph.inputs.size() == 1 && graph.half != "bfloat16" &&
         is_tensor_of_numbers(graph.inputs[0]) && !graph.values[graph.inputs[0]].shape.empty() &&
         std::any_of(graph.outputs.begin(), graph.outputs.end(), is_tensor_of_numbers) &&
         std::all_of(graph.operators.begin(), graph.operators.end(), is_known);
}

std::unique_ptr<Engine> create_onnxruntime_engine(const Config& config,
                                                  const std::shared_ptr<const Model>& model) {
  library.get();  // in this thread, as what a library does once may refer to its thread
  return load_in_time(config, *model, [config, model](const GivenUp&) {
    return std::make_unique<OnnxRuntimeEngine>(
        load(config, *model), std::make_shared<SizeCheck>(model),
        config.accelerator == Accelerator::Auto ? Accelerator::Plain : config.accelerator);
  });
}

}  // namespace lenet

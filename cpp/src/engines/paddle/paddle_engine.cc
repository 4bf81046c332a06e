#include <paddle_inference_api.h>

#include <cstring>
#include <exception>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <sstream>
#include <tuple>
#include <utility>

#include "config_option.h"
#include "engines/paddle/load_predictor.h"
#include "engines/paddle/onednn_cache.h"
#include "engines/paddle/paddle.h"
#include "model/element_types.h"
#include "model/hash_check.h"

namespace lenet {
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

/// The type as the program names it; -1 of one that no output may have.
int dtype_of_paddle(paddle_infer::DataType type) {
  using paddle_infer::DataType;
  switch (type) {
    case DataType::FLOAT32:
      return kFloat32;
    case DataType::FLOAT64:
      return kFloat64;
    case DataType::FLOAT16:
      return kFloat16;
    case DataType::INT64:
      return kInt64;
    case DataType::INT32:
      return kInt32;
    case DataType::UINT8:
      return kUint8;
    case DataType::BOOL:
      return kBool;
    default:
      return -1;
  }
}

/// The predictors of one loaded model. Paddle frees the weights of a .pdmodel with whichever
/// predictor is destroyed first, so all are kept until the last is no longer used; one that is
/// given back before is lent again.
class Family {
 public:
  /// One that nobody uses, or else a new one of `make()`.
  template <typename Make>
  PaddlePredictor lend(Make&& make) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      for (Member& one : all_) {
        if (std::exchange(one.is_idle, false)) return one.predictor;
      }
    }
    // Without the lock, which others need to run and to end: a load may never end.
    std::list<Member> made(1);
    made.front().predictor = make();
    const std::lock_guard<std::mutex> lock(mutex_);
    all_.splice(all_.begin(), made);
    return all_.front().predictor;
  }

  void give_back(const PaddlePredictor& predictor) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (Member& one : all_) {
      if (one.predictor == predictor) one.is_idle = true;
    }
  }

  /// A thread holds this while it clones a predictor: Paddle does not document that several threads
  /// may clone one predictor at the same time.
  std::mutex cloning;

 private:
  struct Member {
    PaddlePredictor predictor;
    bool is_idle = false;
  };
  std::mutex mutex_;
  std::list<Member> all_;  // guarded by mutex_
};

/// The family of all predictors with these options and a model of these contents, kept for good.
///
/// Paddle never frees what OpenVINO compiled (its table of engines lasts as long as the process),
/// so that making and dropping predictors would add a compiled model each time. Kept, the
/// predictors are lent again instead.
std::shared_ptr<Family> openvino_family(const Config& config, const Model& model) {
  auto key = std::tuple(sha256_hex(model.program->contents()), sha256_hex(model.params->contents()),
                        config.threads, config.ir_optim, config.memory_optim);
  static std::mutex mutex;
  // Never destroyed: at the end of the process Paddle's own objects go first.
  static auto& families = *new std::map<decltype(key), std::shared_ptr<Family>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<Family>& family = families[std::move(key)];
  if (!family) family = std::make_shared<Family>();
  return family;
}

class PaddleEngine final : public Engine {
 public:
  /// \param origin what to clone; null: the model is loaded
  PaddleEngine(const Config& config, const Model& model, const ProgramTraits& traits,
               std::shared_ptr<Family> family, const PaddlePredictor& origin,
               const GivenUp& given_up = nullptr)
      : config_(config), model_(model), traits_(traits), family_(std::move(family)) {
    const auto load = [&] {
      if (!origin) return load_predictor(config_, model_, traits_, given_up);
      const std::lock_guard<std::mutex> lock(family_->cloning);
      return PaddlePredictor(origin->Clone().release());
    };
    predictor_ = family_->lend([&] {
      if (model_.format != ModelFormat::Json || config_.accelerator == Accelerator::OneDnn) {
        return load();
      }
      // Where they are set, a .json would run with oneDNN, whatever the accelerator. With its first
      // predictor, Paddle sets them as the environment says: then it is loaded once more.
      for (bool again = false;; again = true) {
        const ProcessFlag<bool> former(&paddle_flags::FLAGS_use_mkldnn, false);
        const ProcessFlag<bool> current(&paddle_flags::FLAGS_use_onednn, false);
        auto made = load();
        if (again || (!former.has_changed() && !current.has_changed())) return made;
      }
    });
    const auto inputs = predictor_->GetInputNames();
    const auto outputs = predictor_->GetOutputNames();
    require_one_input(model, inputs.size(), outputs.size());
    // In Paddle 3.1 the queries for element types crash on a .json program.
    using Types = decltype(predictor_->GetInputTypes());
    const bool known = model.format != ModelFormat::Json || !is_paddle_3_1();
    const Types input_types = known ? predictor_->GetInputTypes() : Types();
    // What Paddle 3.3 says of a .json is float32 for int64 too, and it throws where an output of a
    // .pdmodel is bool: the program knows better.
    const auto is_told = [&](std::size_t i) {
      return i < model.graph.outputs.size() &&
             is_output(model.graph.values[model.graph.outputs[i]].dtype);
    };
    bool all_told = true;
    for (std::size_t i = 0; i < outputs.size(); ++i) all_told = all_told && is_told(i);
    const Types output_types = known && !all_told ? predictor_->GetOutputTypes() : Types();
    const auto dtype_of = [](const Types& types, const std::string& name) {
      const auto type = types.find(name);
      return type == types.end() ? kFloat32 : dtype_of_paddle(type->second);
    };
    // What Paddle 3.3 says of a .json is float32 whatever the input is: the program knows better.
    const Graph& program = model.graph;
    input_dtype_ = program.inputs.size() == 1 ? declared_dtype(program.values[program.inputs[0]])
                                              : dtype_of(input_types, inputs[0]);
    if (!takes_input(input_dtype_)) {
      refuse_model(model, " has an input '" + inputs[0] + "' that is no tensor of " + kInputTypes +
                              " values");
    }
    input_spec_ = {inputs[0], predictor_->GetInputTensorShape().at(inputs[0]),
                   element_type(input_dtype_).name};
    input_ = predictor_->GetInputHandle(inputs[0]);
    const auto shapes = predictor_->GetOutputTensorShape();
    for (const bool real : {true, false}) {
      for (std::size_t i = 0; i < outputs.size(); ++i) {
        const int dtype = is_told(i) ? declared_dtype(program.values[program.outputs[i]])
                                     : dtype_of(output_types, outputs[i]);
        if (!is_output(dtype) || is_real(dtype) != real) continue;
        output_specs_.push_back({outputs[i], shapes.at(outputs[i]), element_type(dtype).name});
        outputs_.push_back(predictor_->GetOutputHandle(outputs[i]));
      }
    }
    if (outputs_.empty()) {
      refuse_model(model, std::string(" has no output of ") + kOutputTypes + " values");
    }
  }

  ~PaddleEngine() override {
    if (!has_hook_) family_->give_back(predictor_);
  }

  TensorSpec input_spec() const override { return input_spec_; }
  std::vector<TensorSpec> output_specs() const override { return output_specs_; }
  bool reads_numbers() const override { return true; }

  void run(const TensorView& input, Outputs& outputs, RunControl& /*control*/) override {
    const auto run = [&] {
      const std::vector<int> shape(input.shape.begin(), input.shape.end());
      std::optional<OneDnnRun> guard;
      if (config_.accelerator == Accelerator::OneDnn) guard.emplace(shape, config_.threads);
      input_->Reshape(shape);
      copy_input(input);
      run_network();
    };
    guarded("running the model", run, config_.accelerator);
    guarded("reading the output", [&] {
      for (std::size_t i = 0; i < outputs_.size(); ++i) {
        if (!outputs.wants(i)) continue;
        const std::vector<int> sizes = outputs_[i]->shape();
        const Shape shape(sizes.begin(), sizes.end());
        float* const to = outputs.place(i, shape);
        copy_output(*outputs_[i], element_count(shape), to);
        require_exact(output_specs_[i], to, element_count(shape));
      }
    });
  }

  std::unique_ptr<Engine> clone() const override {
    return guarded("cloning the predictor", [&] {
      // OpenVINO's clones share one infer request: side by side they would fail, or mix up outputs.
      const bool anew = config_.accelerator == Accelerator::OpenVino;
      return std::make_unique<PaddleEngine>(config_, model_, traits_, family_,
                                            anew ? nullptr : predictor_);
    });
  }

  /// Of a GPU they lie in its memory.
  bool has_layers() const override { return gpu_number(config_.device) < 0; }

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
          if (tensor.layout() != phi::DataLayout::ONEDNN) {
            callback_(op_type, name, {tensor.data<float>(), tensor.shape()});
            return;
          }
          // Only a copy puts the values in the order of their shape.
          const auto values = predictor_->GetOutputHandle(name);
          const std::vector<int> sizes = values->shape();
          Tensor copy{{}, {sizes.begin(), sizes.end()}};
          copy.data.resize(element_count(copy.shape));
          values->CopyToCpu(copy.data.data());
          callback_(op_type, name, copy.view());
        });
  }

 private:
  void copy_input(const TensorView& input) {
    if (input_dtype_ == kFloat32) return input_->CopyFromCpu(input.data);
    if (input_dtype_ == kFloat64) copy_numbers<double>(input);
    if (input_dtype_ == kInt64) copy_numbers<std::int64_t>(input);
    if (input_dtype_ == kInt32) copy_numbers<std::int32_t>(input);
    if (input_dtype_ == kUint8) copy_numbers<std::uint8_t>(input);
  }

  template <typename Number>
  void copy_numbers(const TensorView& input) {
    input_->CopyFromCpu(static_cast<const Number*>(input.numbers));
  }

  void copy_output(const paddle_infer::Tensor& from, std::size_t count, float* to) {
    using paddle_infer::DataType;
    // OpenVINO may give shorter integers than the program says.
    switch (from.type()) {
      case DataType::FLOAT32:
        return from.CopyToCpu(to);
      case DataType::FLOAT64:
        return copy_converted<double>(from, count, to);
      case DataType::FLOAT16:
        return copy_converted<phi::dtype::float16>(from, count, to);
      case DataType::INT64:
        return copy_converted<std::int64_t>(from, count, to);
      case DataType::INT32:
        return copy_converted<std::int32_t>(from, count, to);
      case DataType::UINT8:
        return copy_converted<std::uint8_t>(from, count, to);
      case DataType::BOOL:
        return copy_converted<bool>(from, count, to);
      default:
        refuse_model(
            model_, " gives the output '" + from.name() + "' in a type other than " + kOutputTypes);
    }
  }

  template <typename Number>
  static void copy_converted(const paddle_infer::Tensor& from, std::size_t count, float* to) {
    const auto numbers = std::make_unique<Number[]>(count);
    from.CopyToCpu(numbers.get());
    Value contents;
    contents.data_dtype = dtype_of_paddle(from.type());
    contents.data = {reinterpret_cast<const char*>(numbers.get()), count * sizeof(Number)};
    copy_floats(contents, to);
  }

  void run_network() {
    reported_.clear();
    // At its first run, a predictor of a .json is set up to keep its intermediate results until the
    // next run, as those of a .pdmodel do. Otherwise Paddle's new executor hands each of them to
    // another thread to be freed (InterpreterCoreNoEventGarbageCollector), and waits for it: with
    // oneDNN and one image that takes longer than the network itself (docs/benchmark.md). The flag
    // is read at the first run only. Some operators that no rule checks, such as index_put, write
    // into the result of the run before as if they had made it.
    std::optional<ProcessFlag<double>> keep;
    const bool keeps = config_.check_program && !config_.memory_optim;
    if (!has_run_ && model_.format == ModelFormat::Json && keeps) {
      keep.emplace(&paddle_flags::FLAGS_eager_delete_tensor_gb, -1);
    }
    if (!predictor_->Run()) {
      throw Error(ErrorCode::BackendFailure, "Paddle could not run the model");
    }
    has_run_ = true;
  }

  Config config_;
  const Model& model_;
  const ProgramTraits traits_;
  std::shared_ptr<Family> family_;
  PaddlePredictor predictor_;
  // Destroyed before the predictor, whose scope they point into.
  std::unique_ptr<paddle_infer::Tensor> input_;
  std::vector<std::unique_ptr<paddle_infer::Tensor>> outputs_;  ///< of output_specs_
  TensorSpec input_spec_;
  int input_dtype_ = kFloat32;
  std::vector<TensorSpec> output_specs_;
  bool has_run_ = false;
  LayerCallback callback_;
  bool has_hook_ = false;
  std::set<std::string> reported_;  ///< to the callback, in this run
};

Engine* create(const Config& config, const Model& model, const ProgramTraits& traits,
               const GivenUp& given_up) {
  return guarded("loading the model", [&] {
    auto family = config.accelerator == Accelerator::OpenVino ? openvino_family(config, model)
                                                              : std::make_shared<Family>();
    return new PaddleEngine(config, model, traits, std::move(family), nullptr, given_up);
  });
}

}  // namespace
}  // namespace lenet

extern "C" __attribute__((visibility("default"))) const lenet::PaddlePlugin* lenet_paddle_plugin() {
  static const lenet::PaddlePlugin plugin = {lenet::create, lenet::paddle_version()};
  return &plugin;
}

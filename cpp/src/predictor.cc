#include "lenet/predictor.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "engines/engine.h"
#include "engines/precision.h"
#include "finite.h"
#include "io/file.h"

namespace lenet {
namespace {

constexpr int kMaxThreads = 1024;

void require_options(const Config& config) {
  if (config.threads < 1 || config.threads > kMaxThreads) {
    throw Error(ErrorCode::BadInput, "threads is " + std::to_string(config.threads) +
                                         "; expected 1 to " + std::to_string(kMaxThreads));
  }
  if (config.max_batch_size < 0) {
    throw Error(ErrorCode::BadInput, "max_batch_size is " + std::to_string(config.max_batch_size) +
                                         "; expected 1 or more, or 0 for 64 a thread");
  }
}

void require_shape(const Shape& given, const TensorSpec& spec) {
  bool fits = given.size() == spec.shape.size();
  for (std::size_t i = 0; fits && i < given.size(); ++i) {
    fits = given[i] >= 0 && (i == 0 || spec.shape[i] < 0 || given[i] == spec.shape[i]);
  }
  // A fixed number of images a run is met by several runs.
  const std::int64_t fixed = spec.shape.empty() ? -1 : spec.shape[0];
  if (!fits || (fixed > 0 && given[0] % fixed != 0)) {
    throw Error(
        ErrorCode::BadInput,
        "input '" + spec.name + "' has shape " + to_string(given) + "; the model expects " +
            to_string(spec.shape) +
            (fixed > 1 && fits ? ", or a multiple of " + std::to_string(fixed) + " images" : ""));
  }
}

/// What an engine gives is compared with what the model itself declares.
void require_output(const Shape& given, const TensorSpec& spec, std::int64_t images) {
  bool fits = !given.empty() && given[0] == images && given.size() == spec.shape.size();
  for (std::size_t i = 1; fits && i < given.size(); ++i) {
    fits = spec.shape[i] < 0 || given[i] == spec.shape[i];
  }
  // An .onnx need not declare one.
  if (fits || (spec.shape.empty() && !given.empty() && given[0] == images)) return;
  throw Error(ErrorCode::BackendFailure, "the output '" + spec.name + "' for " +
                                             std::to_string(images) + " images has shape " +
                                             to_string(given) + "; the model declares " +
                                             to_string(spec.shape));
}

void require_finite(const float* values, std::size_t count, const std::string& name) {
  if (all_finite(values, count)) return;
  throw Error(ErrorCode::BadInput, "input '" + name +
                                       "' holds NaN or infinity; clean the data, or set "
                                       "check_finite to false to let it through");
}

}  // namespace

struct Predictor::State {
  Config config;
  std::shared_ptr<const Model> model;     // outlives the engines
  std::vector<const EngineKind*> choice;  // the others are tried when the first is not the one
  const EngineKind* kind = nullptr;
  std::string reason;    // for the engine
  std::string refusals;  // of other engines, each in parentheses
  TensorSpec input;
  TensorSpec output;
  LayerCallback callback;
  ProgramTraits traits;     // the model's, and what leave_out has added
  std::mutex traits_mutex;  // guards traits, for accelerator()
  std::string failures;     // of accelerators that Auto has left out since, each in parentheses
  // Auto needs more than one; each is loaded when a run first asks for it.
  std::map<Accelerator, std::unique_ptr<Engine>> engines;
};

Predictor::Predictor(const Config& config) : state_(std::make_unique<State>()) {
  state_->config = config;
  load(nullptr);
}

Predictor::Predictor(const Config& config, const ModelBytes& model)
    : state_(std::make_unique<State>()) {
  state_->config = config;
  load(&model);
}

void Predictor::load(const ModelBytes* bytes) {
  State& state = *state_;
  Config& config = state.config;
  require_options(config);
  const ModelFiles files =
      bytes == nullptr ? find_model_files(config) : find_model_files(config, *bytes);
  state.choice = find_engines(config, files);
  for (const EngineKind* kind : state.choice) kind->require_options(config);
  state.model = bytes == nullptr ? load_model(files, config) : load_model(files, *bytes, config);
  state.traits = state.model->traits;
  if (config.precision == "int8") require_quantized(*state.model);
  const bool named = config.engine != "auto";
  if (bytes == nullptr) {
    config.model_file = files.program;
    config.params_file = files.params;
    config.model_dir.clear();
  }
  choose_engine();
  const Engine& engine = engine_for(1);
  state.reason = named                 ? "the one that was named"
                 : engine.is_fastest() ? "auto: the fastest that runs this model"
                                       : "auto: no faster one runs this model" + state.refusals;
  state.input = engine.input_spec();
  state.output = engine.output_spec();
}

Predictor::Predictor(std::unique_ptr<State> state) : state_(std::move(state)) {}

Predictor::~Predictor() = default;
Predictor::Predictor(Predictor&&) noexcept = default;
Predictor& Predictor::operator=(Predictor&&) noexcept = default;

Tensor Predictor::run(const TensorView& input) {
  Tensor output;
  run(input, output);
  return output;
}

void Predictor::run(const TensorView& input, Tensor& output) {
  require_shape(input.shape, state_->input);
  const std::size_t count = element_count(input.shape);
  if (count > 0 && input.data == nullptr) {
    throw Error(ErrorCode::BadInput, "input '" + state_->input.name + "' has no data");
  }
  // Later images of the input would be overwritten, or freed, when it is run in pieces.
  const std::less<const float*> before;
  const float* const memory = output.data.data();
  if (before(input.data, memory + output.data.capacity()) && before(memory, input.data + count)) {
    output = run(input);
    return;
  }
  if (state_->config.check_finite) require_finite(input.data, count, state_->input.name);

  const std::int64_t images = input.shape.empty() ? 1 : input.shape[0];
  if (images == 0) {
    output.shape = state_->output.shape;
    if (output.shape.empty()) output.shape.push_back(0);
    // What else is free is not known without a run.
    for (std::int64_t& size : output.shape) size = std::max<std::int64_t>(size, 0);
    output.shape[0] = 0;
    output.data.clear();
    return;
  }
  const std::size_t image_size = count / static_cast<std::size_t>(images);
  Engine* engine = &engine_for(images);
  const Config& config = state_->config;
  const std::int64_t fixed = state_->input.shape.empty() ? -1 : state_->input.shape[0];
  const std::int64_t most = fixed > 0                   ? fixed
                            : config.max_batch_size > 0 ? config.max_batch_size
                                                        : engine->largest_batch();
  // After `done` images of others.
  const auto run_batch = [&](const TensorView& batch, std::int64_t done) {
    const std::int64_t part = batch.shape[0];
    const auto run_engine = [&]() -> const Shape& {
      for (;;) {
        try {
          const Shape& shape = engine->run(batch);
          require_output(shape, state_->output, part);
          return shape;
        } catch (const Error& error) {
          leave_out(accelerator(images), error);
          engine = &engine_for(images);
        }
      }
    };
    const Shape& shape = run_engine();
    const std::size_t row = element_count(shape) / static_cast<std::size_t>(part);
    try {
      output.data.resize(row * static_cast<std::size_t>(images));
    } catch (const std::bad_alloc&) {
      throw Error(ErrorCode::BackendFailure,
                  "out of memory for the output of " + std::to_string(images) + " images");
    }
    output.shape = shape;
    output.shape[0] = images;
    engine->copy_output(output.data.data() + row * static_cast<std::size_t>(done));
  };
  if (images <= most) return run_batch(input, 0);
  TensorView batch{input.data, input.shape};
  for (std::int64_t done = 0; done < images; done += batch.shape[0]) {
    batch.shape[0] = std::min(most, images - done);
    batch.data = input.data + static_cast<std::size_t>(done) * image_size;
    run_batch(batch, done);
  }
}

void Predictor::choose_engine() {
  State& state = *state_;
  const EngineKind* slower = nullptr;
  std::map<Accelerator, std::unique_ptr<Engine>> engines_of_slower;
  std::string& refusals = state.refusals;
  const auto take = [&](const EngineKind* kind) {
    state.kind = kind;
    state.config.engine = kind->name;
    state.engines.clear();
  };
  for (const EngineKind* kind : state.choice) {
    const bool last = kind == state.choice.back();
    take(kind);
    try {
      if (engine_for(1).is_fastest() || (last && slower == nullptr)) return;
      if (slower == nullptr) {
        slower = kind;
        engines_of_slower = std::move(state.engines);
      }
    } catch (const Error& error) {
      if (last && slower == nullptr) {
        throw refusals.empty() ? error : Error(error.code(), error.what() + refusals);
      }
      // What is wrong with the model is so for each engine.
      if (slower == nullptr && error.code() != ErrorCode::Unsupported) throw;
      refusals += std::string(" (engine ") + kind->name + ": " + error.what() + ")";
    }
  }
  take(slower);
  state.engines = std::move(engines_of_slower);
}

Engine& Predictor::engine_for(std::int64_t images) {
  State& state = *state_;
  std::unique_ptr<Engine>& engine = state.engines[accelerator(images)];
  if (!engine) {
    Config config = state.config;
    config.accelerator = accelerator(images);
    try {
      engine = state.kind->create(config, *state.model);
    } catch (const Error& error) {
      leave_out(config.accelerator, error);
      return engine_for(images);
    }
    if (state.callback) engine->set_layer_callback(state.callback);
  }
  return *engine;
}

Accelerator Predictor::accelerator(std::int64_t images) const {
  if (state_->config.accelerator != Accelerator::Auto) return state_->config.accelerator;
  const std::lock_guard<std::mutex> lock(state_->traits_mutex);
  return state_->kind->choose_accelerator(state_->config, *state_->model, state_->traits, images);
}

/// Makes Auto go on without an accelerator that has failed, for good: the same model would fail
/// again. \throws Error `error` itself where another accelerator does not help.
void Predictor::leave_out(Accelerator failed, const Error& error) {
  State& state = *state_;
  ProgramTraits& traits = state.traits;
  std::string* refusal = failed == Accelerator::OpenVino ? &traits.openvino_refusal
                         : failed == Accelerator::OneDnn ? &traits.onednn_refusal
                                                         : nullptr;
  const bool other =
      state.config.accelerator == Accelerator::Auto && refusal != nullptr && refusal->empty() &&
      state.config.precision == "fp32" &&
      (error.code() == ErrorCode::BackendFailure || error.code() == ErrorCode::Unsupported);
  if (!other) {
    throw state.failures.empty() ? error : Error(error.code(), error.what() + state.failures);
  }
  {
    const std::lock_guard<std::mutex> lock(state.traits_mutex);
    *refusal = "what failed before";
  }
  state.failures +=
      std::string(" (accelerator ") + to_string(failed) + " failed before: " + error.what() + ")";
  state.engines.erase(failed);
}

Predictor Predictor::clone() const {
  auto state = std::make_unique<State>();
  state->config = state_->config;
  state->model = state_->model;
  state->traits = state_->traits;
  state->choice = state_->choice;
  state->kind = state_->kind;
  state->reason = state_->reason;
  state->failures = state_->failures;
  state->input = state_->input;
  state->output = state_->output;
  for (const auto& [accelerator, engine] : state_->engines) {
    if (engine) state->engines[accelerator] = engine->clone();
  }
  return Predictor(std::move(state));
}

void Predictor::set_layer_callback(LayerCallback callback) {
  State& state = *state_;
  // No engine shows those of an .onnx.
  const auto fits = [&] {
    return state.model->format == ModelFormat::Onnx || state.kind == state.choice.back() ||
           engine_for(1).has_layers();
  };
  if (!fits()) {
    const std::vector<const EngineKind*> choice = state.choice;
    const EngineKind* kind = state.kind;
    auto engines = std::exchange(state.engines, {});
    try {
      do {
        state.choice.erase(state.choice.begin());
        choose_engine();
      } while (!fits());
    } catch (...) {  // and goes on running as it did
      state.choice = choice;
      state.kind = kind;
      state.config.engine = kind->name;
      state.engines = std::move(engines);
      throw;
    }
  }
  for (const auto& [accelerator, engine] : state_->engines) {
    if (engine) engine->set_layer_callback(callback);
  }
  state_->callback = std::move(callback);
}

Profile Predictor::profile(std::int64_t images, int runs) {
  constexpr std::int64_t kMaxImages = std::int64_t{1} << 20;
  constexpr int kMaxRuns = 10'000;  // the times of each are kept
  const std::int64_t fixed = state_->input.shape.empty() ? -1 : state_->input.shape[0];
  const bool fits = fixed <= 0 || images == fixed;
  if (images < 1 || images > kMaxImages || runs < 0 || runs > kMaxRuns || !fits) {
    throw Error(ErrorCode::BadInput,
                "cannot profile " + std::to_string(runs) + " runs of " + std::to_string(images) +
                    " images; expected 0 to " + std::to_string(kMaxRuns) + " runs, of " +
                    (fixed > 0 ? std::to_string(fixed) : "1 to " + std::to_string(kMaxImages)) +
                    " images");
  }
  Profile profile = engine_for(images).profile(images, runs);
  profile.engine = state_->config.engine;
  profile.reason = state_->reason;
  profile.precision = state_->config.precision;
  profile.model_file = state_->config.model_file;
  profile.threads = state_->config.threads;
  return profile;
}

const TensorSpec& Predictor::input_spec() const noexcept { return state_->input; }
const TensorSpec& Predictor::output_spec() const noexcept { return state_->output; }
const Config& Predictor::config() const noexcept { return state_->config; }
bool Predictor::quantized() const noexcept { return state_->model->traits.quantized; }

}  // namespace lenet

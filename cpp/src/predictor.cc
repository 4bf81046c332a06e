#include "lenet/predictor.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <utility>

#include "engines/engine.h"
#include "engines/file_stamp.h"
#include "io/file.h"

namespace lenet {
namespace {

constexpr int kMaxThreads = 1024;

/// What can be said without the model; the rest says create_engine.
void require_precision(const Config& config) {
  const std::string& precision = config.precision;
  if (precision == "fp32") return;
  if (precision != "bf16" && precision != "int8") {
    throw Error(ErrorCode::Unsupported,
                "precision '" + precision + "' is not available; this build has: fp32, bf16, int8");
  }
  if (config.accelerator != Accelerator::Auto && config.accelerator != Accelerator::OneDnn) {
    throw Error(ErrorCode::BadInput, "precision " + precision +
                                         " is computed by oneDNN: set accelerator to onednn or " +
                                         "auto, not to " + to_string(config.accelerator));
  }
  if (!config.ir_optim) {
    throw Error(ErrorCode::BadInput,
                "precision " + precision + " comes of rewriting operators: set ir_optim to true");
  }
}

void require_options(const Config& config) {
  if (config.threads < 1 || config.threads > kMaxThreads) {
    throw Error(ErrorCode::BadInput, "threads is " + std::to_string(config.threads) +
                                         "; expected 1 to " + std::to_string(kMaxThreads));
  }
  require_precision(config);
  if (config.max_batch_size < 0) {
    throw Error(ErrorCode::BadInput, "max_batch_size is " + std::to_string(config.max_batch_size) +
                                         "; expected 1 or more, or 0 for 64 a thread");
  }
}

void require_shape(const Shape& given, const TensorSpec& spec) {
  bool fits = given.size() == spec.shape.size();
  for (std::size_t i = 0; fits && i < given.size(); ++i) {
    fits = given[i] >= 0 && (spec.shape[i] < 0 || given[i] == spec.shape[i]);
  }
  if (!fits) {
    throw Error(ErrorCode::BadInput, "input '" + spec.name + "' has shape " + to_string(given) +
                                         "; the model expects " + to_string(spec.shape));
  }
}

void require_finite(const float* values, std::size_t count, const std::string& name) {
  // On the bits, so that the loop vectorizes: the exponent of NaN and infinity is all ones.
  constexpr std::uint32_t kExponent = 0x7f800000U;
  std::uint32_t found = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, values + i, sizeof(bits));
    found |= static_cast<std::uint32_t>((bits & kExponent) == kExponent);
  }
  if (found != 0) {
    throw Error(ErrorCode::BadInput, "input '" + name +
                                         "' holds NaN or infinity; clean the data, or set "
                                         "check_finite to false to let it through");
  }
}

}  // namespace

struct Predictor::State {
  Config config;
  ModelFiles files;
  std::string stamp;
  TensorSpec input;
  TensorSpec output;
  LayerCallback callback;
  bool without_openvino = false;  // set when Auto finds that it cannot load the program
  // Auto needs more than one; each is loaded when a run first asks for it.
  std::map<Accelerator, std::unique_ptr<Engine>> engines;
};

Predictor::Predictor(const Config& config) : state_(std::make_unique<State>()) {
  require_options(config);
  State& state = *state_;
  state.files = find_model_files(config);
  require_file(state.files.program);
  if (!state.files.params.empty()) require_file(state.files.params);
  state.stamp = stamp_of(state.files);
  const bool float_weights =
      check_model_files(state.files, config.check_hashes, config.check_program);
  state.files.traits =
      read_program_traits(state.files.program, state.files.format == ModelFormat::Json);
  state.files.traits.float_weights = float_weights;
  state.config = config;
  state.config.model_file = state.files.program;
  state.config.params_file = state.files.params;
  state.config.model_dir.clear();
  const Engine& engine = engine_for(1);
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
  if (state_->config.check_finite) require_finite(input.data, count, state_->input.name);

  const std::int64_t images = input.shape.empty() ? 1 : input.shape[0];
  if (images == 0) {
    output.shape = state_->output.shape;
    output.shape[0] = 0;
    output.data.clear();
    return;
  }
  const std::size_t image_size = count / static_cast<std::size_t>(images);
  Engine& engine = engine_for(images);
  const Config& config = state_->config;
  const std::int64_t most =
      config.max_batch_size > 0 ? config.max_batch_size : engine.largest_batch();
  TensorView batch{input.data, input.shape};
  for (std::int64_t done = 0; done < images; done += batch.shape[0]) {
    batch.shape[0] = std::min(most, images - done);
    batch.data = input.data + static_cast<std::size_t>(done) * image_size;
    Shape shape = engine.run(batch);
    if (shape.empty() || shape[0] != batch.shape[0]) {
      throw Error(ErrorCode::BackendFailure, "the model gave an output of shape " +
                                                 to_string(shape) + " for a batch of " +
                                                 std::to_string(batch.shape[0]));
    }
    const std::size_t row = element_count(shape) / static_cast<std::size_t>(shape[0]);
    shape[0] = images;
    output.data.resize(row * static_cast<std::size_t>(images));
    output.shape = std::move(shape);
    engine.copy_output(output.data.data() + row * static_cast<std::size_t>(done));
  }
}

Engine& Predictor::engine_for(std::int64_t images) {
  State& state = *state_;
  std::unique_ptr<Engine>& engine = state.engines[accelerator(images)];
  if (!engine) {
    require_unchanged(state.files, state.stamp);
    Config config = state.config;
    config.accelerator = accelerator(images);
    try {
      engine = create_engine(config, state.files);
    } catch (const Error& error) {
      // OpenVINO does not know every operator that Paddle's own kernels do.
      const bool other = state.config.accelerator == Accelerator::Auto &&
                         config.accelerator == Accelerator::OpenVino &&
                         error.code() == ErrorCode::BackendFailure && !state.without_openvino;
      if (!other) throw;
      state.without_openvino = true;
      return engine_for(images);
    }
    if (state.callback) engine->set_layer_callback(state.callback);
  }
  return *engine;
}

Accelerator Predictor::accelerator(std::int64_t images) const {
  if (state_->config.accelerator != Accelerator::Auto) return state_->config.accelerator;
  const Accelerator chosen = choose_accelerator(state_->config, state_->files, images);
  const bool refused = chosen == Accelerator::OpenVino && state_->without_openvino;
  return refused ? Accelerator::OneDnn : chosen;
}

Predictor Predictor::clone() const {
  auto state = std::make_unique<State>();
  state->config = state_->config;
  state->files = state_->files;
  state->without_openvino = state_->without_openvino;
  state->stamp = state_->stamp;
  state->input = state_->input;
  state->output = state_->output;
  for (const auto& [accelerator, engine] : state_->engines) {
    if (engine) state->engines[accelerator] = engine->clone();
  }
  return Predictor(std::move(state));
}

void Predictor::set_layer_callback(LayerCallback callback) {
  state_->callback = callback;
  for (const auto& [accelerator, engine] : state_->engines) {
    if (engine) engine->set_layer_callback(callback);
  }
}

const TensorSpec& Predictor::input_spec() const noexcept { return state_->input; }
const TensorSpec& Predictor::output_spec() const noexcept { return state_->output; }
const Config& Predictor::config() const noexcept { return state_->config; }
bool Predictor::quantized() const noexcept { return state_->files.traits.quantized; }

}  // namespace lenet
